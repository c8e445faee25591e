/**
 * How many runs ended in each of the last moments. Made of the times that the runs themselves carry, so it is right at
 * once, also for what happened before the page was opened, and after a reconnect. No DOM here.
 */

import type { Run } from "../client/src/index.ts";
import { look } from "./statuses.ts";

export const BINS = 60;
export const BIN_MILLISECONDS = 5_000;

export interface Bin {
  good: number;
  other: number;
}

export class Throughput {
  /** Bin number since 1970 → what ended in it. */
  readonly #bins = new Map<number, Bin>();
  /** Runs that are counted, and in which bin: a new attempt takes the run out again. */
  readonly #counted = new Map<string, { bin: number; good: boolean }>();

  #newest = 0;

  put(run: Run): void {
    const bin = run.finishedAt ? Math.floor(Date.parse(run.finishedAt) / BIN_MILLISECONDS) : Number.NaN;
    const good = look(run.status).kind === "good";
    const before = this.#counted.get(run.id);
    if (before?.bin === bin && before.good === good) return;
    this.remove(run.id);
    if (Number.isNaN(bin)) return;
    this.#counted.set(run.id, { bin, good });
    this.#add({ bin, good }, 1);
  }

  /** As if it had never ended. */
  remove(id: string): void {
    const before = this.#counted.get(id);
    if (before !== undefined) this.#add(before, -1);
    this.#counted.delete(id);
  }

  clear(): void {
    this.#bins.clear();
    this.#counted.clear();
  }

  /** The last bins up to *now* (unix milliseconds), the oldest first; the last one is not over yet. */
  last(now: number): Bin[] {
    const newest = Math.floor(now / BIN_MILLISECONDS);
    // Not in every frame: there may be many.
    if (newest !== this.#newest) this.#forget(newest - BINS);
    this.#newest = newest;
    return Array.from({ length: BINS }, (_, i) => this.#bins.get(newest - BINS + 1 + i) ?? { good: 0, other: 0 });
  }

  #add({ bin, good }: { bin: number; good: boolean }, by: number): void {
    const found = this.#bins.get(bin) ?? { good: 0, other: 0 };
    found[good ? "good" : "other"] += by;
    this.#bins.set(bin, found);
  }

  /** What is too old to be drawn need not be kept. */
  #forget(upTo: number): void {
    for (const [id, { bin }] of this.#counted) if (bin <= upTo) this.#counted.delete(id);
    for (const bin of this.#bins.keys()) if (bin <= upTo) this.#bins.delete(bin);
  }
}
