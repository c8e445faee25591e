/** What each status is called, its icon, and which of five kinds it is: a colour alone tells nothing to many people. */

export type Kind = "waiting" | "working" | "good" | "bad" | "stopped";

export interface StatusLook {
  /** A plain shape, which most fonts have and no system replaces by a picture. */
  icon: string;
  kind: Kind;
  text: string;
}

/** In the order in which they are counted and offered. */
export const STATUSES: Readonly<Record<string, StatusLook>> = {
  EXECUTING: { icon: "◑", kind: "working", text: "running" },
  DEQUEUED: { icon: "◔", kind: "working", text: "starting" },
  QUEUED: { icon: "○", kind: "waiting", text: "queued" },
  WAITING: { icon: "◷", kind: "waiting", text: "waiting" },
  DELAYED: { icon: "◷", kind: "waiting", text: "delayed" },
  PENDING_VERSION: { icon: "◷", kind: "waiting", text: "waiting for a version" },
  COMPLETED: { icon: "✓", kind: "good", text: "completed" },
  FAILED: { icon: "✕", kind: "bad", text: "failed" },
  CRASHED: { icon: "✹", kind: "bad", text: "crashed" },
  SYSTEM_FAILURE: { icon: "⚠\uFE0E", kind: "bad", text: "system failure" },
  TIMED_OUT: { icon: "◕", kind: "bad", text: "timed out" },
  EXPIRED: { icon: "◌", kind: "bad", text: "expired" },
  CANCELED: { icon: "⊘", kind: "stopped", text: "canceled" },
};

/** In the order in which a batch is drawn: what has ended comes first. */
export const KINDS: readonly Kind[] = ["good", "bad", "stopped", "working", "waiting"];

/** How a status is shown; one that a newer gateway has made up is shown by its name. */
export function look(status: string | undefined): StatusLook {
  return STATUSES[status ?? ""] ?? { icon: "?", kind: "waiting", text: (status ?? "unknown").toLowerCase() };
}

/** Whether a run with this status has ended. A new attempt may open it again. */
export function isFinal(status: string | undefined): boolean {
  const { kind } = look(status);
  return kind === "good" || kind === "bad" || kind === "stopped";
}
