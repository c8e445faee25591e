/**
 * The runs of a list: which pass its filters, in which order, and how many have which status.
 *
 * A change costs what it changes: with 10,000 runs and hundreds of changes a second nothing is ever filtered or counted
 * anew, but for when the filters change. No DOM here.
 */

import type { Run } from "../client/src/index.ts";
import { type Filters, matcher } from "./filters.ts";

export interface Entry {
  readonly id: string;
  /** When the run was created, in unix milliseconds: what the list is sorted by. */
  readonly created: number;
  run: Run;
  /** Whether it passes all filters but that of statuses. */
  passes: boolean;
  /** Whether it is in the list. */
  listed: boolean;
}

export class RunTable {
  readonly #entries = new Map<string, Entry>();
  readonly #counts = new Map<string, number>();
  #listed: Entry[] = [];
  #passing = 0;
  #matches: (run: Run) => boolean = () => true;
  #statuses: ReadonlySet<string> = new Set();

  /** Those that pass every filter, the newest first. */
  get listed(): readonly Entry[] {
    return this.#listed;
  }

  /** How many runs are known, whether they pass or not. */
  get known(): number {
    return this.#entries.size;
  }

  /** How many pass all filters but that of statuses. */
  get passing(): number {
    return this.#passing;
  }

  /** How many of those have each status. */
  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  get(id: string): Run | undefined {
    return this.#entries.get(id)?.run;
  }

  /** Whether a run is known that passes all filters but that of statuses. */
  passes(id: string): boolean {
    return this.#entries.get(id)?.passes ?? false;
  }

  *runs(): Iterable<Run> {
    for (const { run } of this.#entries.values()) yield run;
  }

  /** Judge every run anew. */
  filter(filters: Filters): void {
    this.#matches = matcher(filters);
    this.#statuses = new Set(filters.statuses);
    this.#counts.clear();
    this.#passing = 0;
    for (const entry of this.#entries.values()) {
      entry.passes = this.#matches(entry.run);
      entry.listed = entry.passes && this.#hasStatus(entry.run);
      if (entry.passes) this.#count(entry.run.status, 1);
    }
    this.#listed = [...this.#entries.values()].filter((entry) => entry.listed).sort(newestFirst);
  }

  /** A run is new, or another than before. */
  put(run: Run): void {
    const known = this.#entries.get(run.id);
    const created = Date.parse(run.createdAt ?? "") || 0;
    // Redis forgets runs; one that was created again under the same id belongs in another place.
    if (known !== undefined && known.created !== created) this.remove(run.id);
    const entry = this.#entries.get(run.id);
    if (entry === undefined) this.#add({ id: run.id, created, run, passes: false, listed: false });
    else this.#change(entry, run);
  }

  remove(id: string): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    this.#entries.delete(id);
    if (entry.passes) this.#count(entry.run.status, -1);
    if (entry.listed) this.#unlist(entry);
  }

  clear(): void {
    this.#entries.clear();
    this.#counts.clear();
    this.#listed = [];
    this.#passing = 0;
  }

  /** Where a listed run stands; -1 when it is not listed. */
  place(id: string): number {
    const entry = this.#entries.get(id);
    return entry?.listed ? this.#search(entry) : -1;
  }

  #add(entry: Entry): void {
    this.#entries.set(entry.id, entry);
    this.#judge(entry);
  }

  #change(entry: Entry, run: Run): void {
    if (entry.passes) this.#count(entry.run.status, -1);
    entry.run = run;
    this.#judge(entry);
  }

  /** Count and list a run that is not counted at the moment. */
  #judge(entry: Entry): void {
    entry.passes = this.#matches(entry.run);
    if (entry.passes) this.#count(entry.run.status, 1);
    const listed = entry.passes && this.#hasStatus(entry.run);
    if (listed === entry.listed) return;
    if (listed) this.#list(entry);
    else this.#unlist(entry);
  }

  #hasStatus(run: Run): boolean {
    return this.#statuses.size === 0 || this.#statuses.has(run.status);
  }

  #count(status: string, by: number): void {
    this.#passing += by;
    const count = (this.#counts.get(status) ?? 0) + by;
    if (count === 0) this.#counts.delete(status);
    else this.#counts.set(status, count);
  }

  #list(entry: Entry): void {
    entry.listed = true;
    this.#listed.splice(this.#search(entry), 0, entry);
  }

  #unlist(entry: Entry): void {
    entry.listed = false;
    this.#listed.splice(this.#search(entry), 1);
  }

  /** The place of an entry in the list, or the one where it belongs. */
  #search(entry: Entry): number {
    let [low, high] = [0, this.#listed.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (newestFirst(this.#listed[middle]!, entry) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** By creation, and by id where that is the same: every run has one place, which no change moves. */
function newestFirst(one: Entry, other: Entry): number {
  return other.created - one.created || (one.id < other.id ? 1 : one.id > other.id ? -1 : 0);
}
