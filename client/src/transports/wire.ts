// What all transports are to the rest: a wire on which things are said and heard.

import type { Ending } from "../errors.ts";
import type { Feed } from "../feeds.ts";
import type { Message, Said } from "../messages.ts";

export interface Wire {
  /** Says something; about `feed`, if about one. Before the wire is open, and after, nobody hears it. */
  say(said: Said, feed?: Feed): void;
  /** Ends it. */
  close(): void;
  /** Whether it finds out by itself that nobody is at the other end. */
  watched?: boolean;
}

/** What a transport is given. */
export interface Surroundings {
  /** Where the gateway is, without a slash at the end. */
  url: string;
  token: string;
  /** The wire is open: it is time to ask for everything. */
  opened(): void;
  hear(message: Message): void;
  /** Called once, when the wire ended by itself. */
  over(ending: Ending): void;
}

export type Open = (surroundings: Surroundings) => Wire;
