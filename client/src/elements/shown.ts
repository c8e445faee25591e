// From what is known to what is shown: words, how full the bar is, what may move. Pure: no page, no clock of its own.

import type { ConnectionState, Run } from "../index.ts";
import { kindOfAll, percentOf, progressOf, tallyOf, type Tally } from "./progress.ts";
import { isOver, kindOf, KINDS, type Kind } from "./statuses.ts";
import type { Voice } from "./words.ts";

/** What is known. */
export interface Told {
  /** One run, or several together. */
  single: boolean;
  runs: ReadonlyMap<string, Run>;
  /** Whether `runs` is everything, as of some moment. */
  complete: boolean;
  /** Whether that can be said to be so and so far: not of the newest of many, and not of what has no end. */
  whole: boolean;
  /** The client's word for its connection, or `given` for what the page itself put in (`.data`). */
  state: ConnectionState["state"] | "given";
  /** When it was the truth; null when that is not known. */
  asOf: Date | null;
  /** Why access was denied, in words. */
  reason: string;
  /** What it is about, before that is known better: an id, or tags. */
  subject: string;
}

export interface Bar {
  /** 0 to 100; null when nobody knows. */
  percent: number | null;
  /** What it is filled with. */
  parts: [Kind, number][];
}

export interface Step {
  text: string;
  /** RFC 3339, or "" when that is not known. */
  at: string;
  kind: Kind | "todo";
}

export interface Shown {
  /** null when nothing is known of it, or there is nothing. */
  kind: Kind | null;
  name: string;
  status: string;
  bar: Bar | null;
  /** How far it is, as far as it says so. */
  detail: string;
  /** How long it takes or took. */
  time: string;
  error: string;
  steps: Step[];
  /** What is wrong with what is shown: it is old, or could not be had. */
  note: string;
  /** Whether it is known to go on at this moment: only then may anything move. */
  moves: boolean;
  /** For the ears: when `mark` changes, `spoken` is worth saying; when `alarm` does, at once. */
  mark: string;
  spoken: string;
  alarm: string;
}

type Known = Omit<Shown, "note" | "moves" | "mark" | "spoken" | "alarm">;
const NOTHING: Known = { kind: null, name: "", status: "", bar: null, detail: "", time: "", error: "", steps: [] };

/** @param now in milliseconds @param label a name that the page gave */
export function shownOf(told: Told, voice: Voice, now: number, label: string): Shown {
  const { single, runs, complete, state, asOf, reason, subject } = told;
  const sure = isSure(told);
  const [first] = runs.values();
  const known = first ? (single ? ofRun(first, told, voice, now) : ofAll(told, voice)) : { ...NOTHING };
  if (!first && complete) known.status = voice.say(single ? "unknown" : "none");
  const { kind, status, bar, detail, error } = known;
  const name = label || known.name || subject || voice.say(single ? "run" : "runs");
  const trouble = sure ? "" : voice.say(state);
  const denied = state === "denied";
  const note = joined(trouble, denied && reason, first && !sure && asOf && voice.say("asOf", voice.ago(+asOf, now)));
  const wrong = denied ? note : single && kind === "bad" && joined(status, error);
  return {
    ...known,
    name,
    note,
    moves: sure && kind === "working",
    // A status, a quarter of the way, or that nothing is heard any more. Of several also how many failed.
    mark: joined(
      single ? status : `${kind} ${tallyOf(runs.values()).get("bad")}`,
      bar && `${Math.floor((bar.percent ?? 0) / 25)}`,
      trouble,
    ),
    spoken: joined(name, status, detail, trouble),
    alarm: wrong ? joined(name, wrong) : "",
  };
}

/** Whether what is shown is the truth, or the last word. */
export const isSure = ({ state }: Told): boolean => /^(live|ended|given)$/.test(state);

function ofRun(run: Run, told: Told, voice: Voice, now: number): Known {
  const kind = kindOf(run.status);
  const percent = percentOf(run);
  const over = isOver(kind);
  const began = moment(run.startedAt) || (!over && moment(run.queuedAt ?? run.createdAt));
  // Of what may be old it is known only how long it had taken by then.
  const until = over ? moment(run.finishedAt) : isSure(told) ? now : told.asOf;
  return {
    kind,
    name: shortName(run),
    status: voice.say(run.status),
    bar: percent === null && over ? null : { percent, parts: percent === null ? [] : [[kind, percent]] },
    detail: over ? "" : detailOf(run, voice),
    time: began && until ? voice.span(+until - began) : "",
    error: errorOf(run),
    steps: stepsOf(run, kind, voice),
  };
}

function ofAll({ runs, complete, whole }: Told, voice: Voice): Known {
  const tally = tallyOf(runs.values());
  const over = (["ok", "bad", "stopped"] as const).reduce((sum, kind) => sum + (tally.get(kind) ?? 0), 0);
  const share = (n: number): number => (100 * n) / runs.size;
  const counts = countsOf(tally, voice);
  const known = complete && whole;
  return {
    ...NOTHING,
    kind: kindOfAll(tally),
    status: known ? voice.say("finished", over, runs.size) : counts.join(BETWEEN),
    // What ended, then what is at work; how much of that is done is another question.
    bar: known ? { percent: share(over), parts: PARTS.map((kind) => [kind, share(tally.get(kind) ?? 0)]) } : null,
    detail: known ? counts.join(BETWEEN) : "",
    steps: KINDS.filter((kind) => tally.has(kind)).map((kind, i) => ({ text: counts[i] ?? "", at: "", kind })),
  };
}

const PARTS = ["ok", "bad", "stopped", "working"] as const;

/** `3 running`, `9 waiting`: of each kind that there is. */
export function countsOf(tally: Tally, voice: Voice): string[] {
  return KINDS.filter((kind) => tally.has(kind)).map((kind) => voice.say(kind, tally.get(kind) ?? 0));
}

/** What a run says of its progress. Rounded down: what is not done does not read 100 %. */
export function detailOf(run: Run, voice: Voice): string {
  const { current, total, percent, text } = progressOf(run);
  return joined(
    percent !== null && voice.number(Math.floor(percent), "percent"),
    current !== null && (total === null ? voice.number(current) : voice.say("of", current, total)),
    text,
    (run.attempt ?? 1) > 1 && voice.say("attempt", run.attempt ?? 1),
  );
}

/** The first line of what went wrong. */
export function errorOf({ error }: Run): string {
  return [error?.name, error?.message?.trim().split("\n")[0]].filter(Boolean).join(": ");
}

/** Milliseconds since 1970, or 0 when it is not known. */
export const moment = (text: string | undefined): number => (text && Date.parse(text)) || 0;

/** A task's name without the module it is in. */
export const shortName = ({ taskIdentifier, id }: Run): string => taskIdentifier?.split(".").pop() || id;

/** The stages that a run names in its metadata (`stages`, and in `stage` the one it is in), or else the statuses it had. */
function stepsOf({ metadata, transitions = [] }: Run, kind: Kind, voice: Voice): Step[] {
  const stages = metadata?.["stages"];
  if (Array.isArray(stages)) {
    const current = kind === "ok" ? stages.length : stages.indexOf(metadata?.["stage"]);
    return stages.map((name, i) => ({
      text: `${name}`,
      at: "",
      kind: i < current ? "ok" : i > current ? "todo" : kind,
    }));
  }
  const steps = transitions.map(({ status, attempt, at }, i): Step => {
    const before = transitions[i - 1];
    // The same again: it failed, and another attempt follows.
    const again = before?.status === status && before.attempt === attempt;
    return { text: voice.say(again ? "retry" : status), at, kind: transitions[i + 1] ? "ok" : kind };
  });
  return isOver(kind) ? steps : [...steps, { text: voice.say("finish"), at: "", kind: "todo" }];
}

const BETWEEN = " · ";
const joined = (...parts: (string | false | null | undefined)[]): string => parts.filter(Boolean).join(BETWEEN);
