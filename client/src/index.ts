// Follows runs from a page, a worker or a server:
//
//     const runcast = connect({ getToken: async () => (await fetch("/token")).json() });
//     const run = runcast.run("run_1");
//     run.on("change", (view) => show(view.run, view.connection));
//
// Everything that a page follows with one token goes over one connection, which tabs share where they can.

import type { Feed, Reader } from "./feeds.ts";
import type { Transport } from "./conversation.ts";
import { linkTo, type Link } from "./link.ts";
import type { Wish } from "./messages.ts";
import { StreamPlace } from "./mirror.ts";
import { GATEWAY } from "./gateway.ts";
import type { Chunk, Run } from "./run.ts";
import { subscribe, type Subscription } from "./subscription.ts";
import { tokensOf, type TokenOptions } from "./tokens.ts";

export { RuncastError } from "./errors.ts";
export type { Transport } from "./conversation.ts";
export type { ConnectionState } from "./link.ts";
export { isFinal } from "./run.ts";
export type { Chunk, FinalStatus, Run, RunError, Status, Transition } from "./run.ts";
export type { Events, Subscription, View } from "./subscription.ts";

export type RunSubscription = Subscription<Run>;
export type StreamSubscription = Subscription<Chunk>;

export interface Options extends TokenOptions {
  /** Where the gateway is. By default where this script came from, or else the page. */
  url?: string | undefined;
  /** What to try, the best first. By default all that this place has. */
  transports?: Transport[] | undefined;
  /** Whether tabs of one origin whose tokens claim the same have one connection, where the browser can. It is so by default. */
  share?: boolean | undefined;
}

export interface FeedOptions {
  /** Only runs created within this age when it begins: `1h`, or seconds. */
  since?: string | number;
  /** At most so many to begin with, those that changed last. */
  limit?: number;
  /** Columns that are not wanted, such as `payload` and `output`. */
  skipColumns?: string[];
}

/** Finds a connection for `reader`: nearly always the first. A feed can be followed in one way on each. */
type FindLink = (name: string, wish: Wish, reader: Reader, refused?: Link) => [Link, Feed];

/** The connections of all who say the same of where they are to and with which token. */
interface Connections {
  name: string;
  getToken: Options["getToken"];
  links: Link[];
  findLink: FindLink;
}

const all: Connections[] = [];

/** What to subscribe with. Nothing is connected before the first subscription, nor after the last. */
export interface Runcast {
  /** One run. It need not exist yet. */
  run(run: string, options?: Pick<FeedOptions, "skipColumns">): RunSubscription;
  /** The runs that carry all of these tags. */
  tags(tags: string | string[], options?: FeedOptions): RunSubscription;
  batch(batch: string, options?: FeedOptions): RunSubscription;
  task(task: string, options?: FeedOptions): RunSubscription;
  /** Every run of the environment. */
  all(options?: FeedOptions): RunSubscription;
  /** The chunks that a run writes under a key: from the first one on, from now on, or after the one with `cursor`. */
  stream(run: string, key: string, options?: { from?: "start" | "now"; cursor?: string }): StreamSubscription;
  /** Ends all that was subscribed to here. */
  close(): void;
}

function runcastOn(findLink: FindLink): Runcast {
  const all = new Set<{ close(): void }>();

  function follow<Item>(name: string, wish: Wish, place?: StreamPlace): Subscription<Item> {
    const subscription = subscribe<Item>(
      (reader, refused) => findLink(name, wish, reader, refused),
      () => all.delete(subscription),
      place,
    );
    all.add(subscription);
    return subscription;
  }

  const by = (kind: "run" | "batch" | "task") => (id: string, options?: FeedOptions) =>
    follow<Run>(`${kind}:${id}`, { [kind]: id, ...options });

  return {
    run: by("run"),
    batch: by("batch"),
    task: by("task"),
    tags(given, options) {
      const tags = [...new Set([given].flat())].sort();
      return follow("tag:" + tags, { tags, ...options });
    },
    all: (options) => follow("all", { all: true, ...options }),
    stream: (run, key, { from, cursor } = {}) =>
      follow(`stream:${run},${key}`, { stream: { run, key }, from }, new StreamPlace(cursor)),
    close: () => all.forEach((each) => each.close()),
  };
}

/** Connects to a gateway, once for all in this page who ask with the same options. */
export function connect(options: Options = {}): Runcast {
  const { url = GATEWAY ?? globalThis.location?.origin, getToken, token, tokenUrl } = options;
  const { transports = ["websocket", "sse", "poll"], share = true } = options;
  if (!url) throw TypeError("no url");
  const name = JSON.stringify([url, token, tokenUrl, transports, share]);
  const same = all.find(
    (each) => each.name === name && each.getToken === getToken && !each.links.some(({ refusal }) => refusal),
  );
  if (same) return runcastOn(same.findLink);
  const tokens = tokensOf(options);
  const links: Link[] = [];
  const findLink: FindLink = (name, wish, reader, refused) => {
    for (let number = refused?.nth ?? -1; ; ) {
      const link = (links[++number] ??= linkTo(url.replace(/\/+$/, ""), tokens, transports, share, number));
      const feed = link.add(name, wish, reader);
      if (feed) return [link, feed];
    }
  };
  all.push({ name, getToken, links, findLink });
  return runcastOn(findLink);
}
