// One connection to a gateway that is kept up: opened, watched, renewed, and moved to another transport when it is bad.

import type { Sharing } from "./browser.ts";
import { Conversation, type Transport, type Trial } from "./conversation.ts";
import { FOR_GOOD, RuncastError, TOKEN_REFUSED, type Ending } from "./errors.ts";
import { Feed, type Reader } from "./feeds.ts";
import type { Message, Wish } from "./messages.ts";
import * as parts from "./parts.ts";
import type { NoToken, Tokens } from "./tokens.ts";
import { openSocket } from "./transports/websocket.ts";

const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 30_000;
/** A connection that lived so long does not count against its transport when it breaks. */
const GOOD_LIFE = 60_000;
const TICK = 1_000;
/** So many tokens in a row are refused, and we give up. */
const MOST_REFUSALS = 3;
/** How soon to ask again for a token that is not to be had. */
const RENEW_AGAIN = 2_000;
/** In seconds: timers can't be set to twice as much. */
const LONG = 1e6;
/** A link that nobody needs any more stays for a moment, should somebody come. */
const LINGER = 100;
/** How long a connection waits for what belongs to browsers, in milliseconds. */
const PATIENCE = 2_000;

type Timer = ReturnType<typeof setTimeout> | undefined;

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

/** A connection as those see it who use it, and the parts that are loaded on demand. */
export interface Link {
  readonly url: string;
  readonly transports: Transport[];
  /** Of those of one page, which differ in how they follow a feed. */
  readonly nth: number;
  readonly feeds: ReadonlyMap<string, Feed>;
  /** Why it is refused for good. */
  refusal: RuncastError | undefined;
  /** The connection in use, or the last one that was. */
  inUse: Conversation;
  /** Follows a feed for `reader`. Undefined when it is followed here in another way already. */
  add(name: string, wish: Wish, reader: Reader): Feed | undefined;
  remove(feed: Feed, reader: Reader): void;
  /** How things stand with a feed. */
  state(feed: Feed): ConnectionState;
  /** Connects; or tries to, beside the connection in use. */
  open(transport?: Transport, trial?: Trial): void;
  /** From now on this is the connection in use. */
  changeTo(talk: Conversation): void;
  /** One came to its end: decides what comes next. */
  end(talk: Conversation, ending: Ending): void;
  /** Lets everything go, until it is woken. */
  sleep(reason?: string): void;
  /** Something changed, perhaps for the better: if it waits, it need not wait any longer; if it may be dead, look. */
  wake(): void;
  /** Begins anew, by other means. */
  restart(): void;
}

/** What is loaded, if it can be had, and before long. */
const soon = <Part>(loading: Promise<Part>) =>
  Promise.race([loading, new Promise<void>((resolve) => setTimeout(resolve, PATIENCE))]).catch(() => {});

/**
 * @param url where the gateway is, without a slash at the end
 * @param shares whether tabs whose tokens claim the same have one connection
 */
export function linkTo(url: string, tokens: Tokens, transports: Transport[], shares: boolean, nth: number): Link {
  const feeds = new Map<string, Feed>();
  /** All that are open: the one in use, and perhaps a better one that is tried beside it. */
  const talks = new Set<Conversation>();
  const link: Link = {
    ...{ url, transports, nth, feeds, refusal: undefined, inUse: new Conversation(feeds, transports[0]!) },
    ...{ add, remove, state, open, changeTo, end, sleep, wake, restart },
  };
  let sharing: Sharing | undefined;
  /** Which of the transports is in use. */
  let index = 0;
  let strikes = 0;
  let failures = 0;
  /** How long the gateway does not want us back, as it said last, in milliseconds. */
  let absence = 0;
  /** How often a token was refused since data came, and the last one that was. */
  let refusals = 0;
  let refused: string | undefined;
  /** The token that was shown last. It is that of a connection once the gateway has welcomed it. */
  let offered: string | undefined;
  /** Until the next attempt. */
  let timer: Timer;
  let renewal: Timer;
  /** Runs as long as the connection is wanted. */
  let ticking: Timer;

  function add(name: string, wish: Wish, reader: Reader): Feed | undefined {
    const known = feeds.get(name);
    const feed = known ?? new Feed(name, wish);
    if (JSON.stringify(feed.wish) !== JSON.stringify(wish)) return;
    const { place } = reader;
    if (place && wish.from === "now") place.cursor ??= feed.cursor;
    feed.readers.add(reader);
    feeds.set(name, feed);
    // Not at once: it has not said yet where it wants to hear what comes of it.
    queueMicrotask(() => {
      if (!feed.readers.has(reader)) return;
      reader.look();
      if (!ticking) start();
      else if (!talks.size && !timer) open();
      else if (!known) tellAll((talk) => talk.subscribe(feed));
      // Of a stream nothing is kept: what this reader lacks is told once more, and the others don't listen.
      else if (place) tellAll((talk) => talk.leave(feed));
    });
    return feed;
  }

  function remove(feed: Feed, reader: Reader): void {
    feed.readers.delete(reader);
    if (feed.readers.size) return;
    if (feeds.get(feed.name) === feed) {
      feeds.delete(feed.name);
      tellAll((talk) => talk.leave(feed));
    }
    setTimeout(() => feeds.size || sleep(), LINGER);
  }

  function state(feed: Feed): ConnectionState {
    const { inUse } = link;
    const refusal = link.refusal ?? feed.refusal;
    const { trouble, asOf, transport } = inUse;
    const unsure = trouble?.down ? "offline" : feed.known ? "stale" : "connecting";
    const state = refusal ? "denied" : feed.ended ? "ended" : inUse.isLive(feed) ? "live" : unsure;
    const reason = refusal?.message ?? trouble?.reason ?? "";
    return { state, asOf, reason, transport: talks.has(inUse) ? transport : null };
  }

  function sleep(reason = link.inUse.trouble?.reason): void {
    if (!ticking) return;
    link.inUse.trouble = { reason };
    ticking = clearTimeout(ticking) as undefined;
    drop();
    sharing = sharing?.close();
    tellReaders();
  }

  function restart(): void {
    drop();
    if (ticking) open();
  }

  function wake(): void {
    failures = 0; // should what is tried now fail, too, the next attempt comes soon
    if (!ticking) start();
    else if (talks.size) look();
    else if (!absence) open();
  }

  function start(): void {
    if (link.refusal || !feeds.size) return;
    ticking = setInterval(look, TICK);
    open();
  }

  // The connection.

  async function open(transport = transports[index]!, trial?: Trial): Promise<void> {
    const talk = new Conversation(feeds, transport, trial, link.inUse);
    talks.add(talk);
    if (!trial) {
      timer = clearTimeout(timer) as undefined;
      link.inUse = talk;
      tellReaders();
    }
    try {
      const loading = "ononline" in globalThis && soon(parts.browser(url));
      const token = (offered = talk.token = await tokens.toShow(refused));
      talk.heard = Date.now();
      const browser = await loading;
      if (!talks.has(talk)) return;
      if (browser) sharing = browser.join(link, shares && token, sharing);
      let open = sharing?.open;
      if (open) talk.transport = "tab";
      else open = transport === "websocket" ? openSocket : (await parts.networks(url)).open(link, transport);
      if (!talks.has(talk)) return;
      talk.wire = open({
        ...{ url, token },
        opened: () => feeds.forEach((feed) => talk.subscribe(feed)),
        hear: (message) => hear(talk, message),
        over: (ending) => end(talk, ending),
      });
    } catch (error) {
      const { status, code = "not_allowed", message } = (error ?? {}) as NoToken;
      // For a part or a socket that can't be had the transport is to blame, for a token it is not.
      const after = talk.token ? undefined : 0;
      end(talk, { reason: message, code: /40[13]/.test(`${status}`) ? code : "", after, unheard: true });
    }
  }

  function hear(talk: Conversation, message: Message): void {
    if (!talks.has(talk)) return;
    talk.heard = Date.now();
    const told = talk.receive(message);
    if (message.type === "welcome") {
      talk.token = offered;
      // Pages that were opened together don't ask together.
      renewLater(Math.min(message.expiresInSeconds ?? LONG, LONG) * (600 + Math.random() * 200));
    }
    if (told && "feed" in message) failures = refusals = 0;
    if (talk.over) return end(talk, talk.over);
    talk.trial?.heard(talk);
    if (told) sharing?.relay(message);
    if (!/update|chunk/.test(message.type)) tellReaders();
  }

  function changeTo(talk: Conversation): void {
    close(link.inUse);
    link.inUse = talk;
    strikes = 0;
    index = transports.indexOf(talk.transport as Transport);
  }

  function end(talk: Conversation, ending: Ending): void {
    if (!close(talk)) return;
    if (talk !== link.inUse) return talk.trial?.failed();
    drop();
    const { since, last, trouble } = talk;
    const { reason, code, after } = { ...ending, ...last };
    const down = trouble?.down || (ending.unreachable ?? !since);
    talk.trouble = { reason, down };
    const done = ending.done || [...feeds.values()].every(({ ended }) => ended);
    if (!done) {
      const codes = `${code} ${ending.code}`;
      const noToken = TOKEN_REFUSED.test(codes);
      if (FOR_GOOD.test(codes) || (noToken && (!tokens.getNew || ++refusals >= MOST_REFUSALS))) {
        link.refusal = new RuncastError(code!, reason);
        return sleep(); // whoever looks now sees it
      }
      if (noToken) refused = talk.token;
      else if (after === undefined) {
        // Two strikes, and it is the next transport's turn; after the last one the first again: it was the network.
        if (Date.now() - since! > GOOD_LIFE) strikes = 0;
        strikes += ending.unheard ? 2 : 1;
        if (strikes > 1) {
          strikes = 0;
          index = (index + 1) % transports.length;
        }
      }
      // Full jitter: those that lost the same gateway don't come back together.
      const jittered = Math.random() * Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** failures++);
      absence = after ?? ending.retry ?? 0;
      timer = setTimeout(open, Math.max(jittered, absence));
      sharing?.lost(talk.trouble);
    }
    tellReaders();
  }

  /** Looks whether the other end is still there. A laptop that slept finds out at once. */
  function look(): void {
    for (const talk of talks) {
      const { wire, heard, patience } = talk;
      if (!wire?.watched && Date.now() - heard! > patience) end(talk, { reason: "no answer", unheard: true });
    }
  }

  function close(talk: Conversation): boolean {
    talk.wire?.close();
    talk.caughtUp.clear(); // it is remembered as the last one; what it knew is not
    return talks.delete(talk);
  }

  /** Lets go of all connections. */
  function drop(): void {
    timer = clearTimeout(timer) as undefined;
    clearTimeout(renewal);
    talks.forEach(close);
  }

  function tellAll(tell: (talk: Conversation) => void): void {
    for (const talk of talks) if (talk.wire) tell(talk);
  }

  /** Whoever reads may want to say how things stand. */
  function tellReaders(): void {
    feeds.forEach(({ readers }) => readers.forEach((reader) => reader.look()));
  }

  /**
   * Renews the token after so many milliseconds; how soon to do it the next time, the gateway says in its answer. When
   * there is none, or no token to be had, asks again, also when the old one is over.
   */
  function renewLater(after: number): void {
    clearTimeout(renewal);
    if (!tokens.getNew) return;
    renewal = setTimeout(
      async () => {
        const { inUse } = link;
        renewLater(RENEW_AGAIN * (1 + Math.random()));
        const token = await tokens.toShow(inUse.token).catch(() => {});
        if (!token || !talks.has(inUse) || token === inUse.token) return;
        offered = token;
        tellAll((talk) => talk.say({ type: "authenticate", token }));
      },
      after,
    );
  }

  return link;
}
