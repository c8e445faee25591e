// How far a run is, as far as it says so; how many of several runs have come how far. Nothing here is guessed.

import type { Run } from "../index.ts";
import { isOver, kindOf, type Kind } from "./statuses.ts";

/** What a run says of its progress in the metadata key `progress`, in which users may have put anything. */
export interface Progress {
  current: number | null;
  /** Of how many; null when the run does not know, or does not say. */
  total: number | null;
  /** 0 to 100, or null when it is not known. */
  percent: number | null;
  text: string;
}

export function progressOf(run: Run): Progress {
  const said: unknown = run.metadata?.["progress"];
  // A bare number is a percentage.
  const told = (typeof said === "object" ? (said ?? {}) : { percent: said }) as Record<string, unknown>;
  const [current, total, percent] = [number(told["current"]), number(told["total"]), number(told["percent"])];
  const known = percent ?? (current !== null && total ? (100 * current) / total : null);
  const text = told["text"];
  return {
    current,
    total,
    percent: known && Math.min(Math.max(known, 0), 100),
    text: typeof text === "string" ? text : "",
  };
}

/** 0 to 100, or null when nobody knows. What completed is done, whatever it said last. */
export const percentOf = (run: Run): number | null => (run.status === "COMPLETED" ? 100 : progressOf(run).percent);

const number = (value: unknown): number | null => (Number.isFinite(value) ? (value as number) : null);

/** How many runs there are of each kind; kinds that there are none of are not in it. */
export type Tally = Map<Kind, number>;

export function tallyOf(runs: Iterable<Run>): Tally {
  const tally: Tally = new Map();
  for (const { status } of runs) tally.set(kindOf(status), (tally.get(kindOf(status)) ?? 0) + 1);
  return tally;
}

/** How several runs stand together: at work for as long as any is, and good only when all were. */
export function kindOfAll(tally: Tally): Kind {
  const any = (kind: Kind): boolean => tally.has(kind);
  const begun = [...tally.keys()].some(isOver);
  if (any("working") || (any("waiting") && begun)) return "working";
  return (["waiting", "bad", "stopped"] as const).find(any) ?? "ok";
}
