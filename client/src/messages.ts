// What is said between a viewer and a gateway (docs/protocol.md, version 1), whatever carries it.

import type { Run, Status, Transition } from "./run.ts";

/** What a viewer wants to follow, and how, as `subscribe` says it. */
export interface Wish {
  run?: string;
  tags?: readonly string[];
  batch?: string;
  task?: string;
  all?: true;
  stream?: { run: string; key: string };
  since?: string | number;
  limit?: number;
  skipColumns?: readonly string[];
  from?: "start" | "now" | undefined;
}

export type Said =
  | ({ type: "subscribe"; cursor?: string } & Wish)
  | { type: "unsubscribe"; feed: string }
  | { type: "authenticate"; token: string }
  | { type: "hello" };

export interface Snapshot {
  type: "snapshot";
  feed: string;
  runs: Run[];
  cursor: string;
  replaces: boolean;
  complete: boolean;
  truncated: boolean;
}

export interface Update {
  type: "update";
  feed: string;
  /** `id` and what changed; null for a field that was emptied. */
  run: Partial<Run> & { id: string };
  /** Whether `run` is all of it. */
  whole?: boolean;
  metadata?: { changed?: Record<string, unknown>; deleted?: string[] };
  transition?: Transition;
  cursor: string;
}

export interface End {
  type: "end";
  feed: string;
  status: Status;
  cursor?: string;
}

export type StreamMessage =
  | { type: "begin"; feed: string; firstIndex: number; cursor: string }
  | { type: "chunk"; feed: string; index: number; chunk: unknown; cursor: string };

export interface Heartbeat {
  type: "heartbeat";
  state: "live" | "stale";
  asOf?: string;
  cursor?: string;
  /** Why it is stale, in words for people. */
  reason?: string | undefined;
  /** Of a tab that lost the connection which it has for others: whether it can't come back at once. */
  down?: boolean | undefined;
}

export interface Welcome {
  type: "welcome";
  connection?: string;
  heartbeatSeconds?: number;
  /** How long the token lasts; absent if it has no end, or if its renewal is no business of ours. */
  expiresInSeconds?: number | undefined;
}

export type Message =
  | Snapshot
  | Update
  | End
  | StreamMessage
  | Heartbeat
  | Welcome
  | { type: "error"; code: string; message: string; retry?: boolean; feed?: string; afterMilliseconds?: number }
  | { type: "unsubscribed"; feed: string }
  | { type: "reconnect"; afterMilliseconds: number; reason: string };
