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
  begin?: number;
  /** The run of a run feed, or of a stream that was read to its end, reached this final status. */
  end?: Status;
  /** The feed can't be told on from here: it was forgotten, and must be asked for from its beginning. */
  outOfStep?: boolean;
}

const news = (more?: Partial<News>): News => ({ ids: [], transitions: [], ...more });

/** The runs of one feed. Outlives connections. */
export class RunMirror {
  /** Those that changed last come last. A run is never changed in place. */
  readonly runs = new Map<string, Run>();
  /** Everything up to here is known; null when nothing may be built upon. */
  cursor: string | null = null;
  /** Whether `runs` has been the whole feed, since it was last replaced. */
  complete = false;
  truncated = false;
  /** How often all of it was replaced: the first time, and whenever the gateway lost data or we were out of step. */
  resyncs = 0;
  ended: Status | null = null;
  /** Runs from before a snapshot that replaces all, until its last page says which of them are gone. */
  #replaced = new Map<string, Run>();

  apply(message: Snapshot | Update | End): News {
    if (message.type === "snapshot") return this.#snapshot(message);
    if (!this.cursor) return news(); // of a subscription that began with what we have given up since
    return message.type === "update" ? this.#update(message) : this.#end(message);
  }

  /** Everything up to `cursor` was told. */
  advance(cursor: string): void {
    if (!covers(this.cursor, cursor)) this.cursor = cursor;
  }

  #snapshot({ runs, replaces, complete, truncated, cursor }: Snapshot): News {
    const told = news();
    if (replaces) {
      this.#forget();
      this.resyncs++;
    } else if (!this.cursor) return told;
    // Where another connection was faster, its news is newer than these.
    if (replaces || !covers(this.cursor, cursor)) for (const run of runs) this.#put(run, told);
    this.advance(cursor);
    if (complete) {
      this.complete = true;
      this.truncated = truncated;
      for (const id of this.#replaced.keys()) if (!this.runs.has(id)) told.ids.push(id);
      this.#replaced.clear();
    }
    return told;
  }

  #update({ run, whole, metadata, transition, cursor }: Update): News {
    const told = news();
    if (covers(this.cursor, cursor)) return told;
    const before = this.runs.get(run.id);
    if (!whole && !before) {
      this.#forget();
      return news({ outOfStep: true });
    }
    const next = { ...(whole ? null : before), ...run } as Run;
    if (metadata && !whole) {
      next.metadata = { ...before!.metadata, ...metadata.changed };
      for (const key of metadata.deleted ?? []) delete next.metadata[key];
    }
    this.#put(next, told, transition);
    this.advance(cursor);
    return told;
  }

  #end({ status }: End): News {
    const again = this.ended === status; // each reconnect tells it again
    this.ended = status;
    return news(again ? {} : { end: status });
  }

  #put(run: Run, told: News, heard?: Transition): void {
    const { id } = run;
    const here = this.runs.get(id);
    const before = here ?? this.#replaced.get(id);
    for (const name in run) if (run[name as keyof Run] === null) delete run[name as keyof Run];
    // A run that was created again under the same id has a history of its own, and what was known before a snapshot
    // that replaces all may never have happened.
    const known = here?.createdAt === run.createdAt ? (here?.transitions ?? []) : [];
    const all = new Map(
      [...known, ...(run.transitions ?? []), ...(heard ? [heard] : [])].map((each) => [each.sequence, each]),
    );
    if (all.size) run.transitions = [...all.values()].sort((a, b) => a.sequence - b.sequence);
    const seen = new Set(before?.transitions?.map(named));
    for (const each of run.transitions ?? []) if (!seen.has(named(each))) told.transitions.push([run, each]);
    this.runs.delete(id);
    this.runs.set(id, run);
    told.ids.push(id);
    if (!isFinal(run.status)) this.ended = null;
    if (this.runs.size > MAX_RUNS) this.#makeRoom(told);
  }

  /** Forgets the run that ended longest ago, if any did. Should it change after all, the feed begins anew. */
  #makeRoom(told: News): void {
    for (const { id, status } of this.runs.values()) {
      if (isFinal(status)) {
        this.runs.delete(id);
        told.ids.push(id);
        return;
      }
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

  /** @param cursor what the reader has already; null to begin at the start, or now. */
  constructor(public cursor: string | null) {}

  apply(message: StreamMessage | End): News {
    const { cursor = this.cursor! } = message;
    switch (message.type) {
      case "begin":
        // Told to another reader of the same connection, who began later than we.
        if (covers(this.cursor, cursor) && message.firstIndex <= this.#next) return news();
        this.cursor = cursor;
        this.#next = message.firstIndex;
        return news({ begin: this.#next });
      case "chunk":
        if (!this.cursor || covers(this.cursor, cursor) || message.index < this.#next) return news();
        this.cursor = cursor;
        this.#next = message.index + 1;
        return news({ chunk: { index: message.index, value: message.chunk, cursor } });
      case "end":
        this.cursor = cursor;
        return news({ end: message.status });
    }
  }
}
