/** The gateway itself: who is connected, how late it is, and how its Redis does (`GET /v1/gateway`). */

import type { ConnectionState } from "../client/src/index.ts";
import { ApiError, request } from "./api.ts";
import { element, Keyed, setAttribute, setText } from "./dom.ts";
import type { Page } from "./page.ts";
import type { Session } from "./session.ts";
import { bytes, clockTime, count, duration, roughly } from "./words.ts";

const ASK_MILLISECONDS = 2_000;
/** What was said longer ago than this is old. */
const FRESH_MILLISECONDS = 3 * ASK_MILLISECONDS;

interface Quantiles {
  p50: number | null;
  p99: number | null;
  count: number | null;
}

type Number_ = number | null | undefined;

/** As the gateway answers; what it does not know is null. */
interface Told {
  version?: string;
  python?: string;
  startedAt?: string | null;
  uptimeSeconds?: Number_;
  workers?: Number_;
  environments?: Number_;
  viewers?: Record<string, number>;
  connectionsTotal?: Number_;
  feedsFollowed?: Number_;
  streamsFollowed?: Number_;
  changesHeardTotal?: Number_;
  deliveriesTotal?: Number_;
  catchUpsTotal?: Number_;
  fellBehindTotal?: Number_;
  refusalsTotal?: Number_;
  unsentBytes?: Number_;
  deliveryLag?: Quantiles;
  eventLoopLagLargestSeconds?: Number_;
  residentMemoryBytes?: Number_;
  cpuSeconds?: Number_;
  openFiles?: Number_;
  redis?: {
    up?: boolean | null;
    roundTripSeconds?: Quantiles;
    failuresTotal?: Number_;
    clockOffsetSeconds?: Number_;
    subscriptionsLostTotal?: Number_;
  };
}

type Fact = [name: string, value: string];

export class GatewayPage implements Page {
  readonly title = "Gateway";
  readonly #credential: string;
  readonly #problem = element("p", { class: "problem", hidden: true });
  readonly #viewers = new FactCard("Viewers", "Who is connected, by transport");
  readonly #delivery = new FactCard("Delivery", "From Redis to the viewers' sockets, since the start");
  readonly #redis = new FactCard("Redis", "The gateway's only store");
  readonly #process = new FactCard("Process", "The sum over all workers");
  readonly #cards = element(
    "div",
    { class: "cards", hidden: true },
    ...[this.#viewers, this.#delivery, this.#redis, this.#process].map((card) => card.element),
  );
  readonly element = element(
    "article",
    { class: "gateway-page" },
    element("h1", {}, "Gateway"),
    this.#problem,
    this.#cards,
  );
  readonly #abort = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #askedAt: Date | null = null;
  #before: { at: number; told: Told } | null = null;
  #refused: ApiError | null = null;

  constructor({ credential }: Session) {
    this.#credential = credential;
    void this.#ask();
  }

  connection(): ConnectionState {
    const asOf = this.#askedAt;
    const reason = this.#refused?.message ?? "";
    if (this.#refused !== null && (this.#refused.status === 401 || this.#refused.status === 403)) {
      return { state: "denied", asOf, reason, transport: null };
    }
    if (asOf === null) return { state: this.#refused ? "offline" : "connecting", asOf, reason, transport: null };
    const fresh = Date.now() - asOf.getTime() < FRESH_MILLISECONDS;
    return { state: fresh ? "live" : "offline", asOf, reason, transport: null };
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#abort.abort();
  }

  async #ask(): Promise<void> {
    try {
      const told = await request<Told>(this.#credential, "/v1/gateway", { signal: this.#abort.signal });
      this.#refused = null;
      this.#askedAt = new Date();
      this.#show(told);
    } catch (error) {
      if (this.#abort.signal.aborted) return;
      this.#refused = error instanceof ApiError ? error : new ApiError(0, "", String(error));
    }
    const final = this.connection().state === "denied";
    // The banner says what is refused; words here are for whoever sees nothing at all.
    this.#problem.hidden = this.#refused === null || this.#askedAt !== null || final;
    setText(this.#problem, this.#refused?.message ?? "");
    if (!final) this.#timer = setTimeout(() => void this.#ask(), ASK_MILLISECONDS);
  }

  #show(told: Told): void {
    this.#cards.hidden = false;
    const at = performance.now();
    const rate = (of: (told: Told) => Number_): string => this.#rate(told, at, of);
    const { viewers = {}, redis = {} } = told;
    this.#viewers.show([
      ...[...new Set([...Object.keys(TRANSPORTS), ...Object.keys(viewers)])].map((transport): Fact => [
        TRANSPORTS[transport] ?? transport,
        number(viewers[transport]),
      ]),
      ["Feeds followed", number(told.feedsFollowed)],
      ["Streams followed", number(told.streamsFollowed)],
      ["Connections since the start", number(told.connectionsTotal)],
      ["Refused since the start", number(told.refusalsTotal)],
    ]);
    this.#delivery.show([
      ["Lag, median", seconds(told.deliveryLag?.p50)],
      ["Lag, 99th percentile", seconds(told.deliveryLag?.p99)],
      ["Changes heard", rate((from) => from.changesHeardTotal)],
      ["Messages delivered", rate((from) => from.deliveriesTotal)],
      ["Brought up to date since the start", number(told.catchUpsTotal)],
      ["Fell behind since the start", number(told.fellBehindTotal)],
      ["Not taken by viewers yet", size(told.unsentBytes)],
    ]);
    this.#redis.show([
      ["Changes are heard", redis.up === null || redis.up === undefined ? UNKNOWN : redis.up ? "✓ yes" : "✕ no"],
      ["Round trip, median", seconds(redis.roundTripSeconds?.p50)],
      ["Round trip, 99th percentile", seconds(redis.roundTripSeconds?.p99)],
      ["Unanswered since the start", number(redis.failuresTotal)],
      ["Subscription lost since the start", number(redis.subscriptionsLostTotal)],
      ["Its clock minus ours", seconds(redis.clockOffsetSeconds)],
    ]);
    this.#process.show([
      ["Version", [told.version, told.python && `Python ${told.python}`].filter(Boolean).join(", ") || UNKNOWN],
      ["Running since", told.startedAt ? clockTime(told.startedAt) : UNKNOWN],
      [
        "For",
        told.uptimeSeconds === null || told.uptimeSeconds === undefined ? UNKNOWN : duration(told.uptimeSeconds * 1000),
      ],
      ["Workers", number(told.workers)],
      ["Environments", number(told.environments)],
      ["Memory", size(told.residentMemoryBytes)],
      ["Processor", this.#processor(told, at)],
      ["Event loop late by at most", seconds(told.eventLoopLagLargestSeconds)],
      ["Open files", number(told.openFiles)],
    ]);
    this.#before = { at, told };
  }

  /** How many a second, between this answer and the one before. */
  #rate(told: Told, at: number, of: (told: Told) => Number_): string {
    const [now, then] = [of(told), this.#before && of(this.#before.told)];
    if (now === null || now === undefined) return UNKNOWN;
    if (then === null || then === undefined || now < then || this.#before === null) return `${roughly(now)} in all`;
    return `${count(Math.round(((now - then) * 1000) / (at - this.#before.at)))} a second · ${roughly(now)}`;
  }

  #processor(told: Told, at: number): string {
    const [now, then] = [told.cpuSeconds, this.#before?.told.cpuSeconds];
    if (now === null || now === undefined) return UNKNOWN;
    if (then === null || then === undefined || now < then || this.#before === null)
      return `${count(Math.round(now))} s in all`;
    return `${Math.round(((now - then) * 100_000) / (at - this.#before.at))} % of a core`;
  }
}

const UNKNOWN = "not known";
const TRANSPORTS: Record<string, string> = {
  websocket: "WebSocket",
  sse: "Server-Sent Events",
  poll: "Long poll",
  shape: "Shape (Trigger.dev clients)",
};

const isKnown = (value: Number_): value is number => value !== null && value !== undefined;
const number = (value: Number_): string => (isKnown(value) ? count(value) : UNKNOWN);
const size = (value: Number_): string => (isKnown(value) ? bytes(value) : UNKNOWN);

/** A short time; the sign counts for clocks. */
function seconds(value: Number_): string {
  if (!isKnown(value)) return UNKNOWN;
  const milliseconds = value * 1000;
  const size = Math.abs(milliseconds);
  return size >= 1000 ? `${value.toFixed(1)} s` : `${milliseconds.toFixed(size < 10 ? 1 : 0)} ms`;
}

class FactCard {
  readonly #list = element("dl", { class: "facts numbers" });
  readonly element: HTMLElement;
  readonly #facts = new Keyed<Fact, HTMLElement>(
    this.#list,
    ([name]) => element("div", {}, element("dt", {}, name), element("dd")),
    (made, [, value]) => {
      const shown = made.lastElementChild;
      if (!shown) return;
      setText(shown, value);
      setAttribute(shown, "data-unknown", value === UNKNOWN);
    },
  );

  constructor(name: string, words: string) {
    this.element = element(
      "section",
      { class: "card" },
      element("h2", {}, name),
      element("p", { class: "quiet" }, words),
      this.#list,
    );
  }

  show(facts: readonly Fact[]): void {
    this.#facts.show(facts, ([name]) => name);
  }
}
