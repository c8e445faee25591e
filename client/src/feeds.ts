// A feed that somebody in this page follows, or another tab: what is known of it, and who reads it.

import { earliest } from "./cursors.ts";
import type { RuncastError } from "./errors.ts";
import type { Message, Said, Snapshot, StreamMessage, Wish } from "./messages.ts";
import type { Status } from "./run.ts";
import { RunMirror, type News, type StreamPlace } from "./mirror.ts";

/** Somebody who reads a feed. */
export interface Reader {
  /** Of a stream: how much this reader has of it. */
  place?: StreamPlace | undefined;
  hear(news: News): void;
  /** The feed is perhaps refused, or the connection in another state. */
  look(): void;
}

/** A message that concerns one feed, and says something of its runs or chunks. */
export type FeedMessage = Extract<Message, { type: "snapshot" | "update" | "end" | "begin" | "chunk" }>;

export class Feed {
  readonly mirror = new RunMirror();
  readonly readers = new Set<Reader>();
  /** Whether its run ended, and nothing more is expected. */
  ended: Status | boolean | null | undefined;
  /** Whether anything of it was ever told. */
  known: boolean | undefined;
  /** Why it is not to be had. */
  refusal: RuncastError | undefined;

  constructor(
    readonly name: string,
    readonly wish: Wish,
  ) {}

  /** Where to go on, so that nobody misses anything; null to begin with a snapshot, or at the start of a stream. */
  get cursor(): string | null {
    return this.wish.stream ? earliest([...this.readers].map(({ place }) => place!.cursor)) : this.mirror.cursor;
  }

  /** What to say in order to follow it from here. */
  get asking(): Said {
    const { cursor, wish } = this;
    return { type: "subscribe", ...wish, ...(cursor && { cursor, from: undefined }) };
  }

  /** Takes in a message of the gateway. Returns whether it must be asked for from its beginning. */
  takeIn(message: FeedMessage): boolean | undefined {
    const { mirror, readers, wish } = this;
    this.known = true;
    const news = wish.stream ? null : mirror.takeIn(message as Snapshot);
    this.ended = news ? mirror.ended : message.type === "end";
    readers.forEach((reader) => reader.hear(news ?? reader.place!.takeIn(message as StreamMessage)));
    return news?.outOfStep;
  }
}
