// What a page has of a feed that it follows: its newest state, and what it is told.

import type { RuncastError } from "./errors.ts";
import type { Feed, Reader } from "./feeds.ts";
import type { ConnectionState, Link } from "./link.ts";
import type { News, StreamPlace } from "./mirror.ts";
import type { Chunk, Run, Status, Transition } from "./run.ts";

/** A feed as it is shown. A new object whenever something changed, and the same in between. */
export interface View {
  /** Each run is a new object when it changed. The map goes on with the feed. */
  runs: ReadonlyMap<string, Run>;
  /** Of a run feed: the run; null while it does not exist. */
  run: Run | null;
  /** Whether the feed has been seen as a whole: before that, nothing can be said of what is not in it. */
  complete: boolean;
  /** Whether more runs match than the limit. */
  truncated: boolean;
  /** Rises whenever all runs were replaced, because what was known before may never have happened. */
  resyncs: number;
  connection: ConnectionState;
  /** Runs that changed, came or went since the view before. */
  changed: ReadonlySet<string>;
}

export interface Events {
  /** The newest state, at most once per animation frame. */
  change: [view: View];
  /** Every status of every run, in order, each once. */
  transition: [run: Run, transition: Transition];
  /** Every chunk of a stream, in order, each once. */
  chunk: [chunk: Chunk];
  /** A stream is told from the chunk of this number on; what came before is void. */
  begin: [firstIndex: number];
  /** The run reached its final status. A new attempt may open it again. */
  end: [status: Status, run: Run | null];
  /** The feed is refused for good. */
  error: [error: RuncastError];
  /** How things stand with the connection, when that is another. */
  connection: [connection: ConnectionState];
}

/** Also for those who iterate: what they are to be given next, or that there is nothing more. */
interface Told extends Events {
  item: [key?: unknown, item?: unknown];
}

type Listener<Name extends keyof Told> = (...told: Told[Name]) => void;

/** How long a change waits for an animation frame. In a hidden page there are none. */
const FRAME = 250;

export class Subscription<Item = Run> implements Reader {
  readonly place: StreamPlace | undefined;
  /** The final run, or null for a stream that was read to its end. Rejects when it is refused, or closed before. */
  readonly ended: Promise<Run | null>;
  #feed!: Feed;
  #link!: Link;
  #view!: View;
  readonly #listeners: { [Name in keyof Told]?: Set<Listener<Name>> } = {};
  #changed = new Set<string>();
  #due = false;
  #told!: ConnectionState;
  /** Whether nothing more is expected, and whether nothing more is wanted. */
  #over = false;
  #closed = false;
  #error: Error | undefined;
  #settle!: (run: Run | null) => void;
  #fail!: (error: Error) => void;

  /** @param findLink finds a connection for this reader, after `refused`, where it could not be had */
  constructor(
    readonly findLink: (reader: Reader, refused?: Link) => [Link, Feed],
    place?: StreamPlace,
    private forget?: () => void,
  ) {
    this.place = place;
    this.ended = new Promise((settle, fail) => {
      this.#settle = settle;
      this.#fail = fail;
    });
    this.ended.catch(() => {}); // whoever waits for it hears of it
    this.#follow();
  }

  /** Tells `listener` what happens from now on, until what is returned is called. */
  on<Name extends keyof Events>(name: Name, listener: Listener<Name>): () => void {
    const listeners = ((this.#listeners[name] as Set<Listener<Name>> | undefined) ??= new Set() as never);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  get view(): View {
    return this.#view;
  }

  /** How things stand now. */
  get connection(): ConnectionState {
    const now = this.#link.state(this.#feed);
    return this.#error ? { ...now, state: "denied", reason: this.#error.message } : now;
  }

  /** Follows it no more. */
  close(): void {
    this.#leave(new Error("the subscription was closed"));
  }

  /** What is known, and then what changes: runs as they are now, or every chunk. Ends as the run or the stream does. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Item, void, undefined> {
    const items = new Map<unknown, unknown>(this.#feed.mirror.runs);
    let wake = () => {};
    const take: Listener<"item"> = (key, item) => {
      items.delete(key); // so that what changed last comes last
      if (item) items.set(key, item);
      wake();
    };
    const stop = this.on("item" as never, take as never);
    try {
      for (;;) {
        for (const [key, item] of items) {
          items.delete(key);
          yield item as Item;
        }
        if (this.#error) throw this.#error;
        if (this.#over) return;
        await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      stop();
    }
  }

  // What the feed tells (feeds.ts: Reader).

  hear({ ids, transitions, chunk, from, end }: News): void {
    const { runs, complete } = this.#feed.mirror;
    const news = ids.length || complete !== this.#view.complete;
    if (from != null) this.#emit("begin", from);
    for (const [run, transition] of transitions) this.#emit("transition", run, transition);
    for (const id of ids) {
      this.#changed.add(id);
      this.#emit("item", id, runs.get(id));
      this.#over = false; // a new attempt opens it again
    }
    if (chunk) {
      this.#emit("chunk", chunk);
      this.#emit("item", chunk.index, chunk);
    }
    if (end && !this.#over) {
      const run = this.#run;
      this.#over = true;
      this.#settle(run);
      this.#emit("end", end, run);
      this.#emit("item");
    }
    if (news || end) this.look();
    if (news) this.#showSoon();
  }

  look(): void {
    const { refusal } = this.#link;
    if (refusal) this.refuse(refusal);
    const now = this.connection;
    const { state, reason, transport } = this.#told;
    if (now.state === state && now.reason === reason && now.transport === transport) return;
    this.#told = now;
    this.#emit("connection", now);
    this.#showSoon();
  }

  refuse(error: RuncastError): void {
    if (this.#closed) return;
    if (error.code === "already_subscribed") return this.#follow(this.#link);
    this.#error = error;
    this.#emit("error", error);
    this.#leave(error);
    this.look();
  }

  #follow(refused?: Link): void {
    [this.#link, this.#feed] = this.findLink(this, refused);
    const { mirror } = this.#feed;
    this.#told = this.connection;
    this.#view = this.#look();
    // Others followed it before: what they were told is told to this one, once it listens.
    queueMicrotask(() => {
      const { ended } = mirror;
      const transitions: [Run, Transition][] = [];
      for (const run of mirror.runs.values()) for (const each of run.transitions ?? []) transitions.push([run, each]);
      this.hear({ ids: [...mirror.runs.keys()], transitions, ...(ended && { end: ended }) });
    });
  }

  get #run(): Run | null {
    return this.#feed.mirror.runs.get(this.#feed.wish.run!) ?? null;
  }

  #look(): View {
    const { runs, complete, truncated, resyncs } = this.#feed.mirror;
    const { connection } = this;
    const changed = this.#changed;
    this.#changed = new Set();
    return { runs, run: this.#run, complete, truncated, resyncs, connection, changed };
  }

  #showSoon(): void {
    if (this.#due) return;
    this.#due = true;
    const show = () => {
      if (!this.#due) return;
      this.#due = false;
      this.#view = this.#look();
      this.#emit("change", this.#view);
    };
    setTimeout(show, globalThis.requestAnimationFrame?.(show) && FRAME);
  }

  #emit<Name extends keyof Told>(name: Name, ...told: Told[Name]): void {
    for (const listener of this.#listeners[name] ?? []) {
      try {
        (listener as Listener<Name>)(...told);
      } catch (error) {
        // A mistake of one listener is reported as any other is, and no reason for the others to hear nothing.
        setTimeout(() => {
          throw error;
        });
      }
    }
  }

  #leave(why: Error): void {
    if (this.#closed) return;
    this.#closed = this.#over = true;
    this.#link.remove(this.#feed, this);
    this.#fail(why);
    this.#emit("item");
    this.forget?.();
  }
}
