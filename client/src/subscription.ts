// What a page has of a feed that it follows: its newest state, and what it is told.

import type { RuncastError } from "./errors.ts";
import type { Feed, Reader } from "./feeds.ts";
import type { ConnectionState, Link } from "./link.ts";
import { nothing, type News, type StreamPlace } from "./mirror.ts";
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
  news: [news: News];
}

type Listener<Name extends keyof Told> = (...told: Told[Name]) => void;

/** How long a change waits for an animation frame. In a hidden page there are none. */
const FRAME = 250;

export interface Subscription<Item = Run> extends AsyncIterable<Item> {
  /** The newest state. */
  readonly view: View;
  /** How things stand now. */
  readonly connection: ConnectionState;
  /** The final run, or null for a stream that was read to its end. Rejects when it is refused, or closed before. */
  readonly ended: Promise<Run | null>;
  /** Tells `listener` what happens from now on, until what is returned is called. */
  on<Name extends keyof Events>(name: Name, listener: (...told: Events[Name]) => void): () => void;
  /** Follows it no more. */
  close(): void;
  /** What is known, and then what changes: runs as they are now, or every chunk. Ends as the run or the stream does. */
  [Symbol.asyncIterator](): AsyncGenerator<Item, void, undefined>;
}

/**
 * @param findLink finds a connection for this reader, after `refused`, where it could not be had
 * @param forget called when it is over
 */
export function subscribe<Item>(
  findLink: (reader: Reader, refused?: Link) => [Link, Feed],
  forget: () => void,
  place?: StreamPlace,
): Subscription<Item> {
  const reader: Reader = { place, hear, look };
  const listeners: { [Name in keyof Told]?: Set<Listener<Name>> } = {};
  let feed: Feed;
  let link: Link;
  let view: View;
  /** Runs that changed since. */
  let changed = new Set<string>();
  let due = false;
  /** What was said last of the connection, in short. */
  let said: string;
  /** Whether nothing more is expected, and whether nothing more is wanted. */
  let over = false;
  let closed = false;
  let denied: Error | undefined;
  let settle: (run: Run | null) => void;
  let fail: (error: Error) => void;

  function on<Name extends keyof Told>(name: Name, listener: Listener<Name>): () => void {
    const all = ((listeners[name] as Set<Listener<Name>> | undefined) ??= new Set() as never).add(listener);
    return () => all.delete(listener);
  }

  function emit<Name extends keyof Told>(name: Name, ...told: Told[Name]): void {
    (listeners[name] as Set<Listener<Name>> | undefined)?.forEach((listener) => {
      try {
        listener(...told);
      } catch (error) {
        // A mistake of one listener is reported as any other is, and no reason for the others to hear nothing.
        setTimeout(() => {
          throw error;
        });
      }
    });
  }

  async function* iterate(): AsyncGenerator<Item, void, undefined> {
    const items = new Map<unknown, unknown>(feed.mirror.runs);
    let wake = () => {};
    const stop = on("news", ({ ids, chunk, from }) => {
      if (from! >= 0) items.clear(); // what came before is void
      for (const id of ids) {
        items.delete(id); // so that what changed last comes last
        const run = feed.mirror.runs.get(id);
        if (run) items.set(id, run);
      }
      if (chunk) items.set(chunk.index, chunk);
      wake();
    });
    try {
      for (;;) {
        for (const [key, item] of items) {
          items.delete(key);
          yield item as Item;
        }
        if (denied) throw denied;
        if (over) return;
        await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      stop();
    }
  }

  // What the feed tells (feeds.ts: Reader).

  function hear(news: News): void {
    if (closed) return;
    const { ids, transitions, chunk, from, end } = news;
    const isNew = ids.length || feed.mirror.complete !== view.complete;
    if (from! >= 0) emit("begin", from!);
    for (const each of transitions) emit("transition", ...each);
    for (const id of ids) {
      changed.add(id);
      over = closed; // a new attempt opens it again
    }
    if (chunk) emit("chunk", chunk);
    if (end && !over) {
      const run = theRun();
      over = true;
      settle(run);
      emit("end", end, run);
    }
    emit("news", news);
    if (isNew || end) look();
    if (isNew) showSoon();
  }

  function look(): void {
    const refusal = link.refusal ?? feed.refusal;
    if (refusal && !closed) {
      if (refusal.code === "already_subscribed") return follow(link);
      denied = refusal;
      emit("error", refusal);
      leave(refusal);
    }
    const now = link.state(feed);
    if (said === (said = inShort(now))) return;
    emit("connection", now);
    showSoon();
  }

  function follow(refused?: Link): void {
    [link, feed] = findLink(reader, refused);
    const { mirror } = feed;
    said = inShort(link.state(feed));
    view = newest();
    // Others followed it before: what they were told is told to this one, once it listens.
    queueMicrotask(() => {
      const { runs, ended } = mirror;
      const transitions = [...runs.values()].flatMap((run) =>
        (run.transitions ?? []).map((each): [Run, Transition] => [run, each]),
      );
      hear({ ids: [...runs.keys()], transitions, ...(ended && { end: ended }) });
    });
  }

  const theRun = () => feed.mirror.runs.get(feed.wish.run!) ?? null;

  function newest(): View {
    const { cursor, ended, ...known } = feed.mirror;
    const view = { ...known, run: theRun(), connection: link.state(feed), changed };
    changed = new Set();
    return view;
  }

  const inShort = ({ state, reason, transport }: ConnectionState) => state + reason + transport;

  function showSoon(): void {
    if (due) return;
    due = true;
    const show = () => {
      if (!due) return;
      due = false;
      emit("change", (view = newest()));
    };
    setTimeout(show, globalThis.requestAnimationFrame?.(show) && FRAME);
  }

  function leave(why: Error): void {
    if (closed) return;
    closed = over = true;
    link.remove(feed, reader);
    fail(why);
    emit("news", nothing());
    forget();
  }

  const ended = new Promise<Run | null>((resolve, reject) => {
    settle = resolve;
    fail = reject;
  });
  ended.catch(() => {}); // whoever waits for it hears of it
  follow();
  return {
    get view() {
      return view;
    },
    get connection() {
      return link.state(feed);
    },
    ...{ ended, on: on as Subscription["on"], [Symbol.asyncIterator]: iterate },
    close: () => leave(Error("closed")),
  };
}
