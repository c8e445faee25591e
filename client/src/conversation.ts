// What is said on one connection, and what is made of what is heard there. Does no I/O and never waits.
//
// It asks for every feed where it stands, tells the feeds what comes, asks afresh for one that is out of step, and
// remembers what the next connection must know. Feeds may come and go meanwhile.

import { RuncastError, type Ending } from "./errors.ts";
import type { Feed, FeedMessage } from "./feeds.ts";
import type { Heartbeat, Message, Said } from "./messages.ts";
import type { Wire } from "./transports/wire.ts";

export type Transport = "websocket" | "sse" | "poll";

/** Who makes one beside the connection in use hears what becomes of it. */
export interface Trial {
  heard(talk: Conversation): void;
  failed(): void;
}

/** Why what is known may be old, in words for people, and whether nobody at all answers. */
export interface Trouble {
  reason?: string | undefined;
  down?: boolean | undefined;
}

export class Conversation {
  /** What it goes over, once that is open. */
  wire: Wire | undefined;
  /** What was shown for it, once there is one. */
  token: string | undefined;
  /** When something was heard last (milliseconds since 1970), once somebody was asked. */
  heard: number | undefined;
  /** How long it may be silent, in milliseconds. A transport that connects and does not say welcome is no use. */
  patience = 5_000;
  /** When it was welcomed (milliseconds since 1970), once it was. */
  since: number | undefined;
  /** None from the welcome on, as long as the gateway sees the data; before that, what the trouble was till now. */
  trouble: Trouble | undefined;
  /** When the newest thing that was told was true. */
  asOf: Date | null;
  /** Why to end this connection, if so. */
  over: Ending | undefined;
  /** The last error that concerned the whole connection: it says more than a close code. */
  last: Ending | undefined;
  /** Feeds that this connection has brought up to date, and each change of which it brings. */
  readonly caughtUp = new Set<Feed>();
  /** Feeds that are left, until the gateway says so. What comes of them before was given up. */
  readonly #leaving = new Set<string>();

  /**
   * @param feeds those that are wanted; one that is refused leaves it
   * @param before the one that came to its end
   */
  constructor(
    readonly feeds: Map<string, Feed>,
    public transport: Transport | "tab",
    readonly trial?: Trial,
    before?: Conversation,
  ) {
    this.trouble = before?.trouble ?? {};
    this.asOf = before?.asOf ?? null;
  }

  say(said: Said, feed?: Feed): void {
    this.wire?.say(said, feed);
  }

  /** Asks for a feed from where it stands. */
  subscribe(feed: Feed): void {
    if (!this.#leaving.has(feed.name)) this.say(feed.asking, feed);
  }

  /** Leaves a feed. If it is still wanted then, it is asked for from where it stands then. */
  leave(feed: Feed): void {
    const { name } = feed;
    if (this.#leaving.has(name)) return;
    this.#leaving.add(name);
    this.caughtUp.delete(feed);
    this.say({ type: "unsubscribe", feed: name }, feed);
  }

  /** Whether what is known of a feed is the truth, as far as anyone can tell. */
  isLive(feed: Feed): boolean {
    return !this.trouble && (!!feed.wish.stream || this.caughtUp.has(feed));
  }

  /** Takes in a message. Returns whether it says how things stand: other tabs that share them hear it then. */
  receive(message: Message): boolean | void {
    switch (message.type) {
      case "welcome":
        if (!this.since) this.trouble = undefined; // it may also answer another token
        this.since ||= Date.now();
        this.last = undefined;
        this.patience = 2000 * (message.heartbeatSeconds ?? 15);
        return true;
      case "heartbeat":
        this.#heartbeat(message);
        return true;
      case "unsubscribed":
        return this.#left(message.feed);
      case "reconnect":
        this.over = { reason: message.reason, after: message.afterMilliseconds };
        return;
      case "error":
        return this.#error(message);
      default:
        return this.#tell(message);
    }
  }

  #heartbeat({ state, reason, down, asOf, cursor }: Heartbeat): void {
    this.trouble = state === "live" ? undefined : { reason, down };
    if (down !== undefined) this.caughtUp.clear(); // the tab that has the connection has lost it
    if (asOf) this.asOf = new Date(asOf);
    // It speaks for the feeds that the gateway knows of. One that has not caught up here may be on its way there
    // still: with this cursor, what it missed would never come.
    if (cursor) for (const { mirror } of this.caughtUp) mirror.advanceTo(cursor);
  }

  /** The feed of this name, unless what comes of it is given up. */
  #wanted(name: string): Feed | undefined {
    return this.#leaving.has(name) ? undefined : this.feeds.get(name);
  }

  #tell(message: FeedMessage): boolean | void {
    const feed = this.#wanted(message.feed);
    if (!feed) return;
    if (message.type === "snapshot" && message.complete) {
      this.caughtUp.add(feed);
      this.asOf = new Date();
    } else if (message.type === "update") {
      const at = new Date(message.run.updatedAt ?? 0);
      if (at > (this.asOf ?? 0)) this.asOf = at;
    }
    if (feed.takeIn(message)) this.leave(feed);
    return true;
  }

  #left(name: string): void {
    this.#leaving.delete(name);
    const feed = this.#wanted(name);
    if (feed) this.subscribe(feed);
  }

  #error({ feed: name, code, message, retry, afterMilliseconds }: Extract<Message, { type: "error" }>): boolean | void {
    // What is refused because there is too much of it may be had later. Everybody is told the same time.
    const ending = { code, reason: message, after: afterMilliseconds && afterMilliseconds * (1 + Math.random()) };
    if (!name) this.last = ending;
    else if (code === "not_subscribed")
      this.#left(name); // it was refused, and left, at the same time
    else {
      const feed = this.#wanted(name);
      if (!feed) return;
      if (retry)
        this.over = ending; // on another connection, after a pause, it may be had
      else {
        this.feeds.delete(name);
        feed.refusal = new RuncastError(code, message);
        feed.readers.forEach((reader) => reader.look());
        return true;
      }
    }
  }
}
