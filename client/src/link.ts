// One connection to a gateway that is kept up: opened, watched, renewed, and moved to another transport when it is bad.

import { OPENERS, type Attempt, type ConnectionState, type Transport } from "./attempt.ts";
import { Conversation } from "./conversation.ts";
import { RuncastError, verdictOf, type Ending } from "./errors.ts";
import { Feed, type Reader } from "./feeds.ts";
import type { Message, Wish } from "./messages.ts";
import { isHidden, watchPage } from "./page.ts";
import { Election, Host, openTab, shareName } from "./sharing.ts";
import { renewalIn, type Tokens } from "./tokens.ts";

/** Until a transport must have said welcome, in milliseconds. One that connects and then says nothing is no use. */
const WELCOME = 5_000;
const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 30_000;
/** A connection that lived so long does not count against its transport when it breaks. */
const GOOD_LIFE = 60_000;
/** How long to be content with a worse transport before a better one is tried again; twice that each time it fails. */
const FIRST_TRIAL = 10_000;
const LONGEST_TRIAL = 600_000;
/** How long a tab that holds the connection may take to say so. */
const TAB_WELCOME = 2_000;
const TICK = 1_000;
/** So long a hidden page goes on with a request. */
const HIDDEN = 10_000;
/** So many tokens in a row are refused, and we give up. */
const MOST_REFUSALS = 3;
/** How soon to ask again for a token that is not to be had. */
const RENEW_AGAIN = 2_000;
const LONGEST_TIMER = 2 ** 31 - 1;
/** A link that nobody needs any more stays for a moment, should somebody come. */
const LINGER = 100;

type Timer = ReturnType<typeof setTimeout> | undefined;

export class Link {
  readonly feeds = new Map<string, Feed>();
  denied: RuncastError | null = null;
  #asOf: Date | null = null;
  #current: Attempt | null = null;
  /** A better transport that is tried while a worse one goes on. */
  #trial: Attempt | null = null;
  #election: Election | null = null;
  /** While we hold the connection for other tabs, too. */
  #host: Host | null = null;
  /** Which of the transports is in use. */
  #index = 0;
  #strikes = 0;
  #failures = 0;
  /** Until when the gateway does not want us back (milliseconds since 1970). */
  #notBefore = 0;
  /** How often a token was refused since data came, and the last one that was. */
  #refusals = 0;
  #refused: string | undefined;
  #trialPause = FIRST_TRIAL;
  /** Whether the last attempt came to nothing. */
  #down = false;
  #reason = "";
  #running = false;
  /** Since when the page is hidden (milliseconds since 1970), 0 when it is seen. */
  #hiddenAt = 0;
  #timer: Timer;
  #trialTimer: Timer;
  #renewal: Timer;
  #ticking: ReturnType<typeof setInterval> | undefined;
  #unwatchPage: (() => void) | undefined;

  /**
   * @param url where the gateway is, without a slash at the end
   * @param shares whether tabs whose tokens claim the same have one connection
   * @param number of those of one page, which differ in how they follow a feed
   */
  constructor(
    readonly url: string,
    readonly tokens: Tokens,
    readonly transports: Transport[],
    private shares: boolean,
    readonly number: number,
  ) {}

  /** Follows a feed for `reader`. Undefined when it is followed here in another way already. */
  add(name: string, wish: Wish, reader: Reader): Feed | undefined {
    const known = this.feeds.get(name);
    const feed = known ?? new Feed(name, wish);
    if (JSON.stringify(feed.wish) !== JSON.stringify(wish)) return;
    const { place } = reader;
    if (place && wish.from === "now") place.cursor ??= feed.cursor;
    feed.readers.add(reader);
    this.feeds.set(name, feed);
    // Not at once: it has not said yet where it wants to hear what comes of it.
    queueMicrotask(() => {
      if (!feed.readers.has(reader)) return;
      if (this.denied) reader.refuse(this.denied);
      else if (!this.#running) this.#start();
      else if (!this.#current && !this.#timer) this.#open();
      else if (!known) this.#talk((talk) => talk.subscribe(feed));
      // Of a stream nothing is kept: what this reader lacks is told once more, and the others don't listen.
      else if (place) this.#talk((talk) => talk.restart(feed));
    });
    return feed;
  }

  remove(feed: Feed, reader: Reader): void {
    feed.readers.delete(reader);
    if (feed.readers.size || this.feeds.get(feed.name) !== feed) return;
    this.feeds.delete(feed.name);
    this.#talk((talk) => talk.unsubscribe(feed));
    setTimeout(() => this.feeds.size || this.#stop(), LINGER);
  }

  /** How things stand with a feed. */
  state(feed: Feed): ConnectionState {
    const { transport, talk } = this.#current ?? {};
    const lost = talk?.lost;
    const reason = lost?.reason ?? (talk?.stale ? "the gateway has lost sight of the data" : this.#reason);
    const live = talk?.isLive(feed);
    return {
      state: this.#stateOf(feed, live, lost ? lost.down : this.#down),
      asOf: this.#asOf,
      reason: live ? "" : reason,
      transport: transport ?? null,
    };
  }

  #stateOf(feed: Feed, live: boolean | undefined, down: boolean): ConnectionState["state"] {
    if (this.denied) return "denied";
    if (feed.ended) return "ended";
    if (live) return "live";
    if (down) return "offline";
    return feed.known ? "stale" : "connecting";
  }

  /** The talk on the connection that is in use. */
  get talk(): Conversation | undefined {
    return this.#current?.talk;
  }

  // What the page tells (page.ts: Patient).

  readonly pause = (): void => {
    if (!this.#running) return;
    this.#running = this.#down = false;
    clearInterval(this.#ticking);
    this.#drop();
    this.#resign();
    this.#tell();
  };

  readonly wake = (): void => {
    this.#hiddenAt = isHidden() ? Date.now() : 0;
    if (this.#hiddenAt) return;
    if (!this.#running) this.#start();
    else if (this.#current) this.#look();
    else if (Date.now() >= this.#notBefore) {
      this.#failures = 0;
      this.#open();
    }
  };

  readonly disconnect = (): void => {
    if (this.#current) this.#over(this.#current, { reason: "there is no network", unreachable: true });
  };

  /** Whether it has one of the six requests that all tabs together can have over HTTP/1.1. */
  get #holdsRequest(): boolean {
    return /sse|poll/.test(this.#current?.transport ?? "");
  }

  // The connection.

  #start(): void {
    if (this.denied || !this.feeds.size) return;
    this.#running = true;
    this.#hiddenAt = isHidden() ? Date.now() : 0;
    this.#unwatchPage ??= watchPage(this);
    this.#ticking = setInterval(() => this.#look(), TICK);
    this.#open();
  }

  #stop(): void {
    this.pause();
    this.#unwatchPage?.();
    this.#unwatchPage = undefined;
  }

  async #open(better?: Transport): Promise<void> {
    const talk = new Conversation(this.feeds, (said, feed) => attempt.wire?.say(said, feed));
    const attempt: Attempt = { transport: better ?? this.transports[this.#index]!, talk, heard: 0, welcomed: 0 };
    if (better) this.#trial = attempt;
    else {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      this.#current = attempt;
    }
    this.#tell();
    let token: string;
    try {
      token = attempt.token = await this.tokens.current(this.#refused);
    } catch (error) {
      const { status, code, message } = error as { status?: number; code?: string; message: string };
      const denied = status === 401 || status === 403 || !this.tokens.renewable;
      return this.#over(attempt, { reason: message, code: denied ? (code ?? "not_allowed") : "", after: 0 });
    }
    if (attempt !== this.#current && attempt !== this.#trial) return;
    const name = this.shares && !this.#host && shareName(this, token);
    if (name) this.#join(name);
    const open = name ? openTab(name) : OPENERS[attempt.transport as Transport];
    if (name) attempt.transport = "tab";
    attempt.heard = Date.now();
    attempt.wire = open({
      url: this.url,
      token,
      feeds: this.feeds,
      opened: () => talk.begin(),
      hear: (message) => this.#hear(attempt, message),
      over: (ending) => this.#over(attempt, ending),
    });
    if (!name && !better) this.#renewLater(attempt);
  }

  #hear(attempt: Attempt, message: Message): void {
    if (attempt !== this.#current && attempt !== this.#trial) return;
    const { talk } = attempt;
    attempt.heard = Date.now();
    attempt.asked = false;
    const told = talk.receive(message);
    if (talk.gotData) this.#failures = this.#refusals = 0;
    if (talk.over) return this.#over(attempt, talk.over);
    if (talk.welcomed && !attempt.welcomed) this.#welcome(attempt);
    if (attempt === this.#trial && [...this.feeds.values()].every((feed) => talk.isLive(feed))) this.#promote(attempt);
    this.#asOf = talk.asOf ?? this.#asOf;
    if (told) this.#host?.relay(message);
    if (message.type !== "update" && message.type !== "chunk") this.#tell();
  }

  #welcome(attempt: Attempt): void {
    attempt.welcomed = Date.now();
    if (attempt !== this.#current) return;
    this.#down = false;
    this.#reason = "";
    if (this.#index && attempt.transport !== "tab") this.#tryLater();
  }

  /** The better transport is up to date: from now on it is the one. */
  #promote(attempt: Attempt): void {
    this.#current?.wire?.close();
    this.#current = attempt;
    this.#trial = null;
    this.#strikes = 0;
    this.#index = this.transports.indexOf(attempt.transport as Transport);
    this.#welcome(attempt);
    this.#renewLater(attempt);
  }

  /** Before long, tries one of the transports that are better than this one. */
  #tryLater(): void {
    clearTimeout(this.#trialTimer);
    this.#trialTimer = setTimeout(
      () => this.#trial ?? this.#open(this.transports[Math.floor(Math.random() * this.#index)]),
      this.#trialPause,
    );
    this.#trialPause = Math.min(this.#trialPause * 2, LONGEST_TRIAL);
  }

  /** An attempt came to its end: decides what comes next. */
  #over(attempt: Attempt, ending: Ending): void {
    attempt.wire?.close();
    if (attempt === this.#trial) {
      this.#trial = null;
      this.#tryLater();
    }
    if (attempt !== this.#current) return;
    clearTimeout(this.#renewal);
    clearTimeout(this.#trialTimer);
    const { last, welcomed } = { ...attempt, ...attempt.talk };
    const reason = last.reason || ending.reason;
    const code = last.code || ending.code;
    this.#current = null;
    this.#reason = reason;
    this.#down ||= !welcomed || !!ending.unreachable;
    this.#trial?.wire?.close();
    this.#trial = null;
    if (ending.done || [...this.feeds.values()].every(({ ended }) => ended)) return this.#tell();
    const verdict = verdictOf(`${code} ${ending.code}`);
    const renews = verdict === "new token" && this.tokens.renewable && ++this.#refusals < MOST_REFUSALS;
    if (renews) this.#refused = attempt.token;
    else if (verdict !== "come back") return this.#deny(new RuncastError(code ?? "", reason));
    else if (attempt.transport === "tab") ending.silent && this.#election?.steal();
    else if (ending.after === undefined && last.after === undefined) this.#blame(attempt, ending);
    // Full jitter: those that lost the same gateway don't come back together.
    const jittered = Math.random() * Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** this.#failures++);
    const told = last.after ?? ending.after ?? ending.retry ?? 0;
    this.#notBefore = Date.now() + told;
    this.#timer = setTimeout(() => this.#open(), Math.max(jittered, told));
    this.#host?.relay({ type: "lost", down: this.#down, reason });
    this.#tell();
  }

  /** Two strikes, and it is the next transport's turn; after the last one the first again: it was the network. */
  #blame({ welcomed }: Attempt, { silent }: Ending): void {
    const good = welcomed && Date.now() - welcomed > GOOD_LIFE;
    if (good) this.#trialPause = FIRST_TRIAL;
    this.#strikes = (good ? 0 : this.#strikes) + (silent ? 2 : 1);
    if (this.#strikes < 2) return;
    this.#strikes = 0;
    this.#index = (this.#index + 1) % this.transports.length;
  }

  #deny(error: RuncastError): void {
    this.denied = error;
    this.#stop();
    for (const feed of this.feeds.values()) for (const reader of feed.readers) reader.refuse(error);
  }

  /** Looks whether the other end is still there. A laptop that slept finds out at once. */
  #look(): void {
    if (this.#hiddenAt && this.#holdsRequest && Date.now() - this.#hiddenAt > HIDDEN) {
      this.#reason = "the page is hidden";
      return this.pause();
    }
    for (const attempt of [this.#current, this.#trial]) {
      if (!attempt?.wire) continue;
      const { talk, heard, welcomed, transport } = attempt;
      const tab = transport === "tab";
      const patience = welcomed ? 2 * talk.heartbeatMs : tab ? TAB_WELCOME : WELCOME;
      const silence = Date.now() - heard - patience;
      if (silence < 0) continue;
      if (tab && welcomed && !attempt.asked) {
        attempt.asked = true;
        attempt.heard = Date.now() - patience + TAB_WELCOME;
        talk.say({ type: "hello" });
      } else this.#over(attempt, { reason: "nothing is heard any more", silent: true });
    }
  }

  /** Lets go of all connections. */
  #drop(): void {
    for (const timer of [this.#timer, this.#trialTimer, this.#renewal]) clearTimeout(timer);
    for (const attempt of [this.#current, this.#trial]) attempt?.wire?.close();
    this.#current = this.#trial = null;
    this.#timer = undefined;
  }

  #talk(tell: (talk: Conversation) => void): void {
    for (const attempt of [this.#current, this.#trial]) if (attempt?.wire) tell(attempt.talk);
  }

  /** Whoever reads may want to say how things stand. */
  #tell(): void {
    for (const feed of this.feeds.values()) for (const reader of feed.readers) reader.look();
  }

  // Its token.

  #renewLater(attempt: Attempt, after = renewalIn(attempt.token!)): void {
    clearTimeout(this.#renewal);
    if (after < Infinity && this.tokens.renewable) {
      this.#renewal = setTimeout(() => this.#renew(attempt), Math.min(after, LONGEST_TIMER));
    }
  }

  async #renew(attempt: Attempt): Promise<void> {
    const token = await this.tokens.current(attempt.token).catch(() => attempt.token!);
    if (attempt !== this.#current) return;
    // When there is none to be had yet, it is asked for again, as long as the old one holds and longer.
    if (token === attempt.token) return this.#renewLater(attempt, RENEW_AGAIN * (1 + Math.random()));
    attempt.token = token;
    this.#talk((talk) => talk.say({ type: "authenticate", token }));
    this.#renewLater(attempt);
  }

  // Sharing it with other tabs (sharing.ts).

  #join(name: string): void {
    this.#election ??= new Election(name, {
      lead: () => {
        this.#host = new Host(name, this);
        this.#drop();
        this.#open();
      },
      follow: () => {
        this.#resign();
        this.#drop();
        if (this.#running) this.#open();
      },
      alone: () => {
        this.shares = false;
        this.#drop();
        this.#open();
      },
    });
  }

  #resign(): void {
    this.#host?.close();
    this.#host = null;
    this.#election?.resign();
    this.#election = null;
  }
}
