// What is said on one connection, and what is made of what is heard there. Does no I/O and never waits.
//
// It asks for every feed where it stands, tells the feeds what comes, asks afresh for one that is out of step, and
// remembers what the next connection must know. Feeds may come and go meanwhile.

import { RuncastError, type Ending } from "./errors.ts";
import type { Feed, FeedMessage } from "./feeds.ts";
import type { Heartbeat, Message, Said } from "./messages.ts";

export class Conversation {
  heartbeatMs = 15_000;
  welcomed = false;
  /** Whether something came that only a gateway in working order sends. */
  gotData = false;
  /** Whether the gateway has lost sight of the data. */
  stale = false;
  /** When the newest thing that was told was true. */
  asOf: Date | null = null;
  /** Feeds that this connection has brought up to date, and each change of which it brings. */
  readonly caughtUp = new Set<string>();
  /** Why to end this connection, if so. */
  over: Ending | null = null;
  /** The last error that concerned the whole connection: it says more than a close code. */
  last: Ending = { reason: "" };
  /** Of the connection that another tab has: how it was lost. */
  lost: { down: boolean; reason: string } | null = null;
  /** By feed: how many answers to `unsubscribe` are on their way. Until then what comes of it was given up. */
  readonly #leaving = new Map<string, number>();

  /**
   * @param feeds those that are wanted; one that is refused leaves it
   * @param say called with what is to be sent, and the feed that it concerns
   */
  constructor(
    readonly feeds: Map<string, Feed>,
    readonly say: (said: Said, feed?: Feed) => void,
  ) {}

  /** The connection is open: ask for everything. */
  begin(): void {
    for (const feed of this.feeds.values()) this.subscribe(feed);
  }

  subscribe(feed: Feed): void {
    this.say(feed.request, feed);
  }

  unsubscribe(feed: Feed): void {
    const { name } = feed;
    this.#leaving.set(name, (this.#leaving.get(name) ?? 0) + 1);
    this.caughtUp.delete(name);
    this.say({ type: "unsubscribe", feed: name }, feed);
  }

  /** Asks for a feed from where it stands now, instead of where it stood. */
  restart(feed: Feed): void {
    this.unsubscribe(feed);
    this.subscribe(feed);
  }

  /** Whether what is known of a feed is the truth, as far as anyone can tell. */
  isLive({ name, wish }: Feed): boolean {
    return this.welcomed && !this.stale && !this.lost && (!!wish.stream || this.caughtUp.has(name));
  }

  /** Takes in a message. Returns whether it says something of the feeds: other tabs that share them hear it then. */
  receive(message: Message): boolean {
    switch (message.type) {
      case "welcome":
        this.welcomed = true;
        this.last = { reason: "" };
        if (message.heartbeatSeconds) this.heartbeatMs = message.heartbeatSeconds * 1000;
        break;
      case "heartbeat":
        this.#heartbeat(message);
        return true;
      case "unsubscribed":
        this.#left(message.feed);
        break;
      case "reconnect":
        this.over = { reason: message.reason, after: message.afterMilliseconds };
        break;
      case "lost":
        this.lost = message;
        this.caughtUp.clear();
        break;
      case "error":
        return this.#error(message);
      case "snapshot":
      case "update":
      case "end":
      case "begin":
      case "chunk":
        return this.#tell(message);
    }
    return false;
  }

  #tell(message: FeedMessage): boolean {
    const feed = this.feeds.get(message.feed);
    if (!feed || this.#leaving.has(feed.name)) return false;
    this.gotData = true;
    this.lost = null;
    if (message.type === "snapshot" && message.complete) {
      this.caughtUp.add(feed.name);
      this.asOf = new Date();
    } else if (message.type === "update") {
      const at = new Date(message.run.updatedAt ?? 0);
      if (at > (this.asOf ?? 0)) this.asOf = at;
    }
    if (feed.apply(message)) this.restart(feed);
    return true;
  }

  #heartbeat({ state, asOf, cursor }: Heartbeat): void {
    this.stale = state === "stale";
    this.lost = null;
    if (asOf) this.asOf = new Date(asOf);
    // It speaks for the feeds that the gateway knows of. One that has not caught up here may be on its way there
    // still: with this cursor, what it missed would never come.
    if (cursor) for (const name of this.caughtUp) this.feeds.get(name)?.mirror.advance(cursor);
  }

  #left(name: string): void {
    const left = this.#leaving.get(name)! - 1;
    if (left > 0) this.#leaving.set(name, left);
    else this.#leaving.delete(name);
  }

  #error({ feed: name, code, message, retry, afterMilliseconds }: Extract<Message, { type: "error" }>): boolean {
    const feed = this.feeds.get(name!);
    // What is refused because there is too much of it may be had later. Everybody is told the same time.
    const after = afterMilliseconds && afterMilliseconds * (1 + Math.random());
    if (this.#leaving.has(name!)) {
      if (code === "not_subscribed") this.#left(name!); // it was refused, and left, at the same time
    } else if (!name) {
      this.last = { code, reason: message, after };
    } else if (!feed) {
      return false;
    } else if (retry) {
      this.over = { code, reason: message, after }; // on another connection, after a pause, it may be had
    } else {
      this.feeds.delete(feed.name);
      for (const reader of feed.readers) reader.refuse(new RuncastError(code, message));
      return true;
    }
    return false;
  }
}
