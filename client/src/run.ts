// The public shape of a run (docs/protocol.md, "The run object"). A field that is absent is null.

/** Statuses after which nothing happens to a run, unless a new attempt begins. */
export type FinalStatus = "COMPLETED" | "CANCELED" | "FAILED" | "SYSTEM_FAILURE" | "CRASHED" | "EXPIRED" | "TIMED_OUT";

export type Status = "DELAYED" | "PENDING_VERSION" | "QUEUED" | "DEQUEUED" | "EXECUTING" | "WAITING" | FinalStatus;

export function isFinal(status: Status): status is FinalStatus {
  // By how they begin, which is shorter. A status of a later version counts as one that moves on.
  return /^(COM|CAN|FAIL|SYS|CRA|EXP|TIM)/.test(status);
}

/** One status that a run had. */
export interface Transition {
  status: Status;
  /** RFC 3339, UTC. */
  at: string;
  attempt: number;
  /** Its place among all changes of the environment. */
  sequence: number;
}

export interface RunError {
  name?: string;
  message?: string;
  stackTrace?: string;
}

/** A run as the gateway tells it. Times are RFC 3339, UTC. */
export interface Run<Payload = unknown, Output = unknown> {
  id: string;
  taskIdentifier: string;
  status: Status;
  createdAt: string;
  updatedAt: string;
  queuedAt?: string;
  startedAt?: string;
  finishedAt?: string;
  delayedUntil?: string;
  expiredAt?: string;
  attempt?: number;
  number?: number;
  tags?: string[];
  batchId?: string;
  parentRunId?: string;
  rootRunId?: string;
  idempotencyKey?: string;
  ttl?: string;
  maxDurationSeconds?: number;
  cancelRequestedAt?: string;
  cancelReason?: string;
  payload?: Payload;
  output?: Output;
  metadata?: Record<string, unknown>;
  error?: RunError;
  context?: Record<string, unknown>;
  /** Every status the run had, in order. */
  transitions?: Transition[];
  durationMs?: number;
  costInCents?: number;
  baseCostInCents?: number;
  isTest?: boolean;
  isQueued?: boolean;
  isExecuting?: boolean;
  isWaiting?: boolean;
  isCompleted?: boolean;
  isSuccess?: boolean;
  isFailed?: boolean;
  isCancelled?: boolean;
  realtimeStreams?: string[];
  traceparent?: string;
}

/** One chunk of a stream. `cursor` is where to go on after it. */
export interface Chunk<T = unknown> {
  /** Its number within the stream, from 0. */
  index: number;
  value: T;
  cursor: string;
}
