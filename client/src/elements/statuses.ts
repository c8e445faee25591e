// What kinds of statuses there are. A kind has a colour and an icon; each status has a word besides (words.ts).

/** How it stands, roughly. */
export type Kind = "waiting" | "working" | "ok" | "bad" | "stopped";

/** In the order in which they are told: what goes on first, then what ended. */
export const KINDS: readonly Kind[] = ["working", "waiting", "ok", "bad", "stopped"];

/** The kind of a status. One that is not known here, of a later version, has not ended as far as we know. */
export function kindOf(status: string): Kind {
  // By how they begin, which is shorter.
  if (/^(EXEC|DEQ)/.test(status)) return "working";
  if (/^COMP/.test(status)) return "ok";
  if (/^CANC/.test(status)) return "stopped";
  return /^(FAIL|SYS|CRASH|EXP|TIMED)/.test(status) ? "bad" : "waiting";
}

/** Whether a run of this kind has ended. */
export const isOver = (kind: Kind): boolean => KINDS.indexOf(kind) > 1;
