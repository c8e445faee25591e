// What a viewer knows of a feed (docs/protocol.md, "What the server says"). Does no I/O and never waits.
//
// Messages go in, out comes what each of them changed. Whatever the way there (updates, pages of a snapshot, a
// reconnect in between, two connections at once), the same history ends in the same runs, with the same statuses.

import { covers } from "./cursors.ts";
import type { End, Snapshot, StreamMessage, Update } from "./messages.ts";
import { isFinal, type Chunk, type Run, type Status, type Transition } from "./run.ts";

/** Runs kept of one feed. The gateway forgets old ones without a word; a page that is open for weeks must, too. */
const MAX_RUNS = 10_000;

/** What a message changed. */
export interface News {
  /** Runs that changed, came or went. */
  ids: string[];
  /** Statuses that this viewer had not heard of, in order, each with its run as it is now. */
  transitions: [Run, Transition][];
  chunk?: Chunk;
  /** A stream is told from the chunk of this number on; what came before is void. */
  from?: number;
  /** The run of a run feed, or of a stream that was read to its end, reached this final status. */
  end?: Status;
  /** The feed can't be told on from here: it was forgotten, and must be asked for from its beginning. */
  outOfStep?: boolean;
}

export const nothing = (): News => ({ ids: [], transitions: [] });

/** The runs of one feed. Outlives connections. */
export class RunMirror {
  /** Those that changed last come last. A run is never changed in place. */
  readonly runs = new Map<string, Run>();
  /** Everything up to here is known; null when nothing may be built upon. */
  cursor!: string | null;
  /** Whether `runs` has been the whole feed, since it was last replaced. */
  complete!: boolean;
  truncated = false;
  /** How often all of it was replaced: the first time, and whenever the gateway lost data or we were out of step. */
  resyncs = 0;
  ended!: Status | null;
  /** Runs from before a snapshot that replaces all, until its last page says which of them are gone. */
  #replaced = new Map<string, Run>();

  constructor() {
    this.#forget();
  }

  takeIn(message: Snapshot | Update | End): News {
    const told = nothing();
    const { type } = message;
    if (type === "snapshot" && message.replaces) {
      this.#forget();
      this.resyncs++;
    } else if (!this.cursor) return told; // of a subscription that began with what we have given up since
    if (type === "end") {
      // Each reconnect tells it again.
      if (this.ended !== message.status) told.end = this.ended = message.status;
    } else {
      // Where another connection was faster, its news is newer than this.
      const known = covers(this.cursor, message.cursor);
      if (type === "snapshot") this.#snapshot(message, known, told);
      else if (!known) this.#update(message, told);
    }
    return told;
  }

  /** Everything up to `cursor` was told. */
  advanceTo(cursor: string): void {
    if (!covers(this.cursor, cursor)) this.cursor = cursor;
  }

  #snapshot({ runs, complete, truncated, cursor }: Snapshot, known: boolean, told: News): void {
    if (!known) for (const run of runs) this.#put(run, told);
    this.advanceTo(cursor);
    if (!complete) return;
    this.complete = true;
    this.truncated = truncated;
    for (const id of this.#replaced.keys()) if (!this.runs.has(id)) told.ids.push(id);
    this.#replaced.clear();
  }

  #update({ run, whole, metadata, transition, cursor }: Update, told: News): void {
    const before = whole ? null : this.runs.get(run.id);
    if (before === undefined) {
      this.#forget();
      told.outOfStep = true;
      return;
    }
    const next = { ...before, ...run } as Run;
    if (before && metadata) {
      next.metadata = { ...before.metadata, ...metadata.changed };
      for (const key of metadata.deleted ?? []) delete next.metadata[key];
    }
    this.#put(next, told, transition);
    this.advanceTo(cursor);
  }

  #put(run: Run, told: News, heard?: Transition): void {
    const { id } = run;
    const { runs } = this;
    // One that was created again under the same id has a history of its own.
    const historyOf = (known?: Run): Transition[] => (known?.createdAt === run.createdAt && known.transitions) || [];
    const here = historyOf(runs.get(id));
    for (const name in run) if (run[name as keyof Run] === null) delete run[name as keyof Run];
    // What was known before a snapshot that replaces all may never have happened: it is only not told again.
    const history = here.concat(run.transitions ?? [], heard ?? []);
    const all = new Map(history.map((each) => [each.sequence, each]));
    if (all.size) run.transitions = [...all.values()].sort((a, b) => a.sequence - b.sequence);
    const seen = new Set(here.concat(historyOf(this.#replaced.get(id))).map(named));
    run.transitions?.forEach((each) => seen.has(named(each)) || told.transitions.push([run, each]));
    runs.delete(id);
    runs.set(id, run);
    told.ids.push(id);
    if (!isFinal(run.status)) this.ended = null;
    if (runs.size <= MAX_RUNS) return;
    // Forgets the run that ended longest ago, if any did. Should it change after all, the feed begins anew.
    for (const { id, status } of runs.values()) {
      if (!isFinal(status)) continue;
      runs.delete(id);
      told.ids.push(id);
      return;
    }
  }

  #forget(): void {
    for (const [id, run] of this.runs) this.#replaced.set(id, run);
    this.runs.clear();
    this.cursor = this.ended = null;
    this.complete = false;
  }
}

const named = ({ sequence, status }: Transition): string => sequence + status;

/** How much of a stream one reader has. The chunks themselves are handed on, not kept. */
export class StreamPlace {
  /** The number that the next chunk has at least. */
  #next = 0;

  /** @param cursor what the reader has already; none to begin at the start, or now. */
  constructor(public cursor?: string | null) {}

  takeIn(message: StreamMessage | End): News {
    const told = nothing();
    const { type, cursor = this.cursor! } = message;
    const known = covers(this.cursor, cursor);
    if (type === "end") told.end = message.status;
    else if (type === "begin") {
      // Known it is when it was told to another reader of the same connection, who began later than we.
      if (known && message.firstIndex <= this.#next) return told;
      told.from = this.#next = message.firstIndex;
    } else {
      const { index, chunk: value } = message;
      if (!this.cursor || known || index < this.#next) return told;
      this.#next = index + 1;
      told.chunk = { index, value, cursor };
    }
    this.cursor = cursor;
    return told;
  }
}
