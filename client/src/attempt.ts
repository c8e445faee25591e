// One attempt to be connected: a wire, and the talk on it.

import type { Conversation } from "./conversation.ts";
import { openPoll } from "./transports/poll.ts";
import { openEvents } from "./transports/sse.ts";
import { openSocket } from "./transports/websocket.ts";
import type { Open, Wire } from "./transports/wire.ts";

export type Transport = "websocket" | "sse" | "poll";

/** How things stand with a feed. */
export interface ConnectionState {
  /**
   * `connecting`: nothing is known yet. `live`: what is shown is the truth. `stale`: it may be old. `offline`: so it
   * may, and nobody answers. `ended`: every run ended, nothing more is expected. `denied`: it is refused for good.
   */
  state: "connecting" | "live" | "stale" | "offline" | "ended" | "denied";
  /** When what is shown was the truth; null before anything was. */
  asOf: Date | null;
  /** Why it is not live, in words for people. */
  reason: string;
  /** What carries it, `tab` when another tab has the connection; null when nothing does. */
  transport: Transport | "tab" | null;
}

export const OPENERS: Record<Transport, Open> = { websocket: openSocket, sse: openEvents, poll: openPoll };

/** One wire, and the talk on it. */
export interface Attempt {
  transport: Transport | "tab";
  talk: Conversation;
  wire?: Wire;
  token?: string;
  /** When something was heard last, and when it was welcomed (milliseconds since 1970). */
  heard: number;
  welcomed: number;
  /** Whether it was asked if it is there still. */
  asked?: boolean;
}
