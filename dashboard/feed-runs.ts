/** The runs of one feed, as they come: what the feed tells, and older ones that were read for it. No DOM here. */

import type { ConnectionState, Run, Runcast, RunSubscription, View } from "../client/src/index.ts";
import { Forgotten } from "./forgotten.ts";
import { type FeedChoice, type Filters, feedName, feedOf } from "./filters.ts";
import { MOST_RUNS, OlderRuns, SKIPPED } from "./older-runs.ts";
import { RunTable } from "./run-table.ts";
import { Throughput } from "./throughput.ts";

export const SNAPSHOT = 1_000;
/** So many runs the client keeps of a feed; over that it forgets some that ended. */
const KEPT = 10_000;
/** Of a status that is asked for, so many are read at once where more are there than the feed began with. */
const ENOUGH = 100;

export interface FeedRunsOptions {
  runcast: Runcast;
  credential: string;
  filters: Filters;
  isOffered?: (filters: Filters) => boolean;
}

export class FeedRuns {
  readonly table = new RunTable();
  readonly throughput = new Throughput();
  readonly #runcast: Runcast;
  readonly #credential: string;
  readonly #changed: () => void;
  readonly #isOffered: (filters: Filters) => boolean;
  #filters: Filters;
  #followed: RunSubscription | null = null;
  #older: OlderRuns;
  #forgotten: Forgotten | null = null;
  #broken = false;
  /** Whether older ones of the chosen statuses were asked for. */
  #filled = false;
  /** Whether runs were forgotten that are still there. */
  #forgot = false;
  /** From when on every run that ended is known, in unix milliseconds. */
  endingsKnownFrom = 0;
  /** Why older runs could not be read. */
  problem = "";

  constructor({ runcast, credential, filters, isOffered }: FeedRunsOptions, changed: () => void) {
    this.#runcast = runcast;
    this.#credential = credential;
    this.#changed = changed;
    this.#filters = filters;
    this.#isOffered = isOffered ?? (() => true);
    this.#older = new OlderRuns(credential, feedOf(filters), filters.statuses);
    this.#follow();
  }

  get filters(): Filters {
    return this.#filters;
  }

  get view(): View | null {
    return this.#followed?.view ?? null;
  }

  get connection(): ConnectionState | null {
    return this.#followed?.connection ?? null;
  }

  /** Whether every run of the feed is known that passes the filters. */
  get whole(): boolean {
    const view = this.view;
    return view !== null && view.complete && !this.#forgot && (!view.truncated || this.#older.exhausted);
  }

  /** Whether that is so for every status, which is what they are counted by. */
  get allStatusesWhole(): boolean {
    return this.whole && (this.view?.truncated === false || this.#filters.statuses.length === 0);
  }

  /** Whether older ones can be read here. */
  get hasOlder(): boolean {
    return this.view?.complete === true && !this.whole && this.#older.read < MOST_RUNS;
  }

  /** Whether some of those were read, so that nobody knows whether there are more. */
  get hasReadOlder(): boolean {
    return this.#older.read > 0;
  }

  get loadingOlder(): boolean {
    return this.#older.loading;
  }

  /** Show others. The feed is only left when it is not the narrowest any more. */
  setFilters(filters: Filters): void {
    const before = this.#filters;
    this.#filters = filters;
    if (feedName(feedOf(before)) !== feedName(feedOf(filters))) {
      this.#follow();
      return;
    }
    this.table.filter(filters);
    this.#countEndings();
    if (before.statuses.join() !== filters.statuses.join()) this.#forgetPlace();
    this.#fill();
    this.#changed();
  }

  async loadOlder(most?: number): Promise<void> {
    const older = this.#older;
    this.problem = "";
    const loading = older.load((run) => this.#putOlder(run), most);
    this.#changed();
    try {
      await loading;
    } catch (error) {
      if (older.closed) return;
      this.problem = error instanceof Error ? error.message : String(error);
    }
    if (older === this.#older) this.#changed();
  }

  close(): void {
    this.#followed?.close();
    this.#followed = null;
    this.#older.close();
    this.#forgotten?.close();
  }

  #follow(): void {
    this.close();
    this.table.clear();
    this.throughput.clear();
    this.table.filter(this.#filters);
    this.endingsKnownFrom = Number.POSITIVE_INFINITY;
    this.#broken = this.#forgot = false;
    this.#forgetPlace();
    if (!this.#isOffered(this.#filters)) return this.#changed();
    const followed = subscribe(this.#runcast, feedOf(this.#filters));
    this.#followed = followed;
    followed.on("change", (view) => this.#take(view));
    followed.on("connection", (state) => this.#connection(state));
    for (const run of followed.view.runs.values()) this.#put(run);
    this.#learnEndings(followed.view);
    this.#forgotten = new Forgotten(
      this.#credential,
      feedOf(this.#filters),
      () => (followed.connection.state === "live" ? this.table.runs() : []),
      (id) => {
        this.table.remove(id);
        this.#changed();
      },
    );
    this.#changed();
  }

  #take(view: View): void {
    for (const id of view.changed) {
      const run = view.runs.get(id);
      if (run !== undefined) {
        this.#put(run);
        continue;
      }
      this.table.remove(id);
      if (view.runs.size >= KEPT) this.#forgot = true;
    }
    this.#learnEndings(view);
    this.#fill();
    this.#changed();
  }

  #put(run: Run): void {
    this.table.put(run);
    this.#judge(run);
  }

  #judge(run: Run): void {
    if (this.table.passes(run.id)) this.throughput.put(run);
    else this.throughput.remove(run.id);
  }

  /** Whoever asks for what failed means all that failed, not that of the runs which happen to be loaded. */
  #fill(): void {
    if (this.#filled || this.#filters.statuses.length === 0 || !this.hasOlder) return;
    this.#filled = true;
    if (this.table.listed.length < ENOUGH) void this.loadOlder(ENOUGH);
  }

  /** What the feed says is newer than any page that was read meanwhile. */
  #putOlder(run: Run): boolean {
    if (this.view?.runs.has(run.id)) return false;
    const isNew = this.table.get(run.id) === undefined;
    if (isNew || !this.#older.closed) this.#put(run);
    return isNew;
  }

  /** Count anew those that pass other filters. Of what was forgotten nobody knows. */
  #countEndings(): void {
    this.throughput.clear();
    let oldest = Number.POSITIVE_INFINITY;
    for (const run of this.table.runs()) {
      this.#judge(run);
      if (run.finishedAt) oldest = Math.min(oldest, Date.parse(run.updatedAt));
    }
    if (this.#forgot) this.endingsKnownFrom = Math.max(this.endingsKnownFrom, oldest);
  }

  /** A snapshot that is cut off has the runs that changed last, so of what ended before them not all is known. */
  #learnEndings(view: View): void {
    if (!view.complete || this.endingsKnownFrom !== Number.POSITIVE_INFINITY) return;
    const oldest = (least: number, run: Run): number => Math.min(least, Date.parse(run.updatedAt ?? "") || least);
    this.endingsKnownFrom = view.truncated ? [...view.runs.values()].reduce(oldest, Date.now()) : 0;
  }

  #connection({ state }: ConnectionState): void {
    if (state === "stale" || state === "offline") this.#broken = true;
    else if (state === "live" && this.#broken) {
      this.#broken = false;
      this.#readAgain();
    }
    this.#changed();
  }

  /** What was read beside the feed may have changed unheard. */
  #readAgain(): void {
    const read = this.#older.read;
    const live = this.view?.runs;
    if (read === 0 || live === undefined) return;
    for (const { id } of [...this.table.runs()]) if (!live.has(id)) this.table.remove(id);
    this.#forgetPlace();
    void this.loadOlder(read);
  }

  #forgetPlace(): void {
    this.#older.close();
    this.#filled = false;
    this.#older = new OlderRuns(this.#credential, feedOf(this.#filters), this.#filters.statuses);
  }
}

function subscribe(runcast: Runcast, { tags, batch, task }: FeedChoice): RunSubscription {
  const options = { limit: SNAPSHOT, skipColumns: SKIPPED };
  if (batch !== undefined) return runcast.batch(batch, options);
  if (tags !== undefined) return runcast.tags(tags, options);
  return task === undefined ? runcast.all(options) : runcast.task(task, options);
}
