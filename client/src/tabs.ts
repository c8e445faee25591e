// One connection for all tabs of an origin whose tokens claim the same.
//
// A lock says which tab has it (Web Locks: whoever holds one loses it when its tab closes). That tab is to the others
// what the gateway is to it: they say and hear the same messages, over a BroadcastChannel, each with a cursor of its own.
// When it goes another one gets the lock, and for the rest it is as if a gateway had restarted: nothing is lost.

import { claimsOf } from "./claims.ts";
import type { Trouble } from "./conversation.ts";
import type { Feed, Reader } from "./feeds.ts";
import type { Link } from "./link.ts";
import type { Message, Said, Wish } from "./messages.ts";
import { StreamPlace } from "./mirror.ts";
import type { Open } from "./transports/wire.ts";

/** What goes over the channel: what a tab says to the one that has the connection, or what that one says, to all or one. */
interface Note {
  from: string;
  to?: string | undefined;
  said?: Said;
  /** The feed that is talked about. */
  name?: string | undefined;
  told?: Message | Aside;
}

type Aside =
  /** Another tab has the connection now. */
  | { type: "hello" }
  /** From now on what that tab hears of this feed is all there is to know. */
  | { type: "following"; feed: string };

/** How long the tab that has the connection may take to say so, in milliseconds. */
const ANSWER = 2_000;
const TICK = 500;

type Subscribe = Extract<Said, { type: "subscribe" }>;

const lock = (name: string, options: LockOptions, held: () => void | Promise<void>): Promise<unknown> =>
  navigator.locks.request(name, options, held);

/** Holds a lock until what is returned is called, or resigned before. `lost` is told why, if it was taken away. */
function hold(name: string, held: () => void, lost: (error: Error) => void = () => {}, steal = false): () => void {
  const waiting = new AbortController();
  let release = () => {};
  let left = false;
  lock(name, steal ? { steal } : { signal: waiting.signal }, () => {
    if (left) return;
    held();
    return new Promise<void>((resolve) => (release = resolve));
  }).catch((error) => left || lost(error));
  return () => {
    left = true;
    release();
    waiting.abort();
  };
}

/** What the connection of a token is called; "" where it can't be shared. A secret key is not: it would be in the name. */
function nameOf({ url, nth }: Link, token: string): string {
  const claims = globalThis.document && navigator.locks && globalThis.BroadcastChannel && claimsOf(token);
  if (!claims) return "";
  const { exp, iat, nbf, jti, ...same } = claims;
  return ["runcast", url, nth, JSON.stringify(same)].join(" ");
}

/** How `link` has part in a connection with this token: as `before`, if that is the one. Undefined if it has its own. */
export function share(link: Link, token: string, before?: Sharing): Sharing | undefined {
  const name = nameOf(link, token);
  if (before?.name === name) return before;
  before?.close();
  return name ? new Sharing(name, link) : undefined;
}

/** What one tab has to do with the connection of all: it waits for its turn to have it, and has it then. */
export class Sharing {
  /** To the tab that has the connection; undefined when that is us, or nobody can share it here. */
  open: Open | undefined;
  /** While we have it for other tabs, too. */
  #host: Host | undefined;
  #leave: () => void;

  constructor(
    readonly name: string,
    readonly link: Link,
  ) {
    this.open = openTab(this);
    this.#leave = this.#stand();
  }

  /** Tells the other tabs what was heard, if they hear it from us. */
  relay(message: Message): void {
    this.#host?.relay(message);
  }

  /** Tells them that the connection is lost, if it was theirs, too. */
  lost(trouble: Trouble): void {
    this.relay({ type: "heartbeat", state: "stale", ...trouble });
  }

  /** Whoever has the connection does not answer: takes it. */
  steal(): void {
    this.#leave();
    this.#leave = this.#stand(true);
  }

  close(): undefined {
    this.#host = this.#host?.close();
    this.#leave();
  }

  #stand(steal?: boolean): () => void {
    const lead = () => {
      this.open = undefined;
      this.#host = new Host(this.name, this.link);
      this.link.restart();
    };
    const lost = ({ name }: Error) => {
      this.#host = this.#host?.close();
      // It was stolen by who heard nothing of us; or the browser has no locks for a page like this one.
      this.open = name === "AbortError" ? openTab(this) : undefined;
      if (this.open) this.#leave = this.#stand();
      this.link.restart();
    };
    return hold(this.name, lead, lost, steal);
  }
}

/** A wire to the tab that has the connection. It finds out by itself whether anybody is there. */
const openTab =
  (sharing: Sharing): Open =>
  ({ hear, opened, over }) => {
    const from = crypto.randomUUID();
    const channel = new BroadcastChannel(sharing.name);
    /** Feeds of which we hear everything, since the other tab said so. What it told others before is not for us. */
    const following = new Set<string>();
    let open = false;
    let patience = 30_000;
    /** Until when something must be heard, and whether it was asked for (milliseconds since 1970). */
    let until = Date.now() + ANSWER;
    let asked = true;
    const say = (said: Said, name?: string) => {
      following.delete(name!);
      channel.postMessage({ from, said, name } satisfies Note);
    };
    channel.onmessage = ({ data: { to, told: heard } }: MessageEvent<Note>) => {
      if (!heard || (to && to !== from)) return;
      if (heard.type === "hello") return over({ reason: "another tab has the connection now", after: 0, unreachable: false });
      // That a feed was left or refused concerns who asked for it, whatever we hear of it.
      if ("feed" in heard && heard.feed && !/^(unsubscribed|error)$/.test(heard.type)) {
        if (to) following.add(heard.feed);
        else if (!following.has(heard.feed)) return;
      }
      if (heard.type === "welcome") patience = 2000 * (heard.heartbeatSeconds ?? 15);
      until = Date.now() + patience;
      asked = false;
      if (heard.type !== "following") hear(heard);
      if (heard.type !== "welcome" || open) return;
      open = true;
      opened();
    };
    const watching = setInterval(() => {
      if (Date.now() < until) return;
      if (asked) {
        sharing.steal();
        return over({ reason: "the tab that has the connection does not answer", after: 0, unreachable: false });
      }
      // Perhaps all of us slept: whoever is awake answers.
      asked = true;
      until = Date.now() + ANSWER;
      say({ type: "hello" });
    }, TICK);
    // The other tab learns from this lock when we have gone.
    const leave = hold(`${sharing.name} ${from}`, () => say({ type: "hello" }));
    return {
      watched: true,
      say: (said, feed) => say(said, feed?.name),
      close() {
        clearInterval(watching);
        leave();
        channel.close();
      },
    };
  };

/** A reader in another tab. What it hears goes over the channel; of a stream we keep how far it is. */
class Remote implements Reader {
  readonly place: StreamPlace | undefined;

  constructor(
    readonly tab: string,
    wish: Wish,
    /** Where it stands. */
    readonly cursor: string | null,
  ) {
    if (wish.stream) this.place = new StreamPlace(cursor);
  }

  hear(): void {}
  look(): void {}
}

/** Has the connection, for all tabs. */
export class Host {
  readonly #channel: BroadcastChannel;
  /** By tab and name of the feed. */
  readonly #remotes = new Map<string, Map<string, [Remote, Feed]>>();
  /** Readers that are told all of a feed as soon as we know it. */
  readonly #waiting = new Map<Remote, Feed>();
  /** Whether the others know that our connection is lost. */
  #lost = false;

  constructor(
    name: string,
    readonly link: Link,
  ) {
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data: { from, said, name: feed } }: MessageEvent<Note>) => {
      if (said?.type === "hello") this.#welcome(name, from);
      else if (said?.type === "subscribe") this.#subscribe(from, feed!, said);
      else if (said?.type === "unsubscribe") this.#unsubscribe(from, said.feed);
    };
    this.#post({ type: "hello" });
  }

  /** Tells the other tabs what was heard, and those that wait for a feed all of it, once it is the truth. */
  relay(message: Message): void {
    if (message.type === "welcome") {
      // It may answer another token, too.
      if (!this.#lost) return;
      this.#lost = false;
      message = { type: "heartbeat", state: "live" };
    } else if (message.type === "heartbeat" && message.down !== undefined) this.#lost = true;
    this.#post(message);
    for (const [remote, feed] of this.#waiting) this.#tellAll(remote, feed);
  }

  close(): undefined {
    for (const tab of this.#remotes.keys()) this.#gone(tab);
    this.#channel.close();
  }

  #post(heard: Message | Aside, to?: string): void {
    this.#channel.postMessage({ from: "", to, told: heard } satisfies Note);
  }

  #welcome(name: string, tab: string): void {
    const { patience, trouble, since } = this.link.inUse;
    if (!this.#remotes.has(tab)) {
      this.#remotes.set(tab, new Map());
      lock(`${name} ${tab}`, {}, () => this.#gone(tab));
      this.#post({ type: "welcome", heartbeatSeconds: since ? patience / 2000 : 15 }, tab);
    }
    if (!since) this.#lost = true;
    this.#post({ type: "heartbeat", state: trouble ? "stale" : "live", reason: "", ...trouble }, tab);
  }

  #subscribe(tab: string, name: string, { type, cursor: at, ...wish }: Subscribe): void {
    const feeds = this.#remotes.get(tab);
    if (!feeds) return; // it is not welcomed yet, and asks for all when it is
    const cursor = at ?? null;
    const remote = new Remote(tab, wish, cursor);
    const feed = this.link.add(name, wish, remote);
    if (!feed) {
      this.#post(
        { type: "error", feed: name, code: "already_subscribed", message: "it is followed in another way" },
        tab,
      );
      return;
    }
    feeds.set(name, [remote, feed]);
    // Where we stand at the same place, what comes for us is what it needs, too.
    const same = cursor && cursor === feed.cursor;
    if (wish.stream || same) this.#post({ type: "following", feed: name }, tab);
    if (wish.stream || (same && !this.link.inUse.isLive(feed))) return;
    this.#waiting.set(remote, feed);
    this.#tellAll(remote, feed);
  }

  #tellAll(remote: Remote, feed: Feed): void {
    if (feed.refusal) this.#waiting.delete(remote);
    if (feed.refusal || !this.link.inUse.isLive(feed)) return;
    const { name, mirror } = feed;
    const { runs, truncated, ended } = mirror;
    const cursor = mirror.cursor!;
    const replaces = cursor !== remote.cursor;
    const told = replaces ? [...runs.values()] : [];
    this.#waiting.delete(remote);
    this.#post({ type: "snapshot", feed: name, runs: told, replaces, complete: true, truncated, cursor }, remote.tab);
    if (ended) this.#post({ type: "end", feed: name, status: ended }, remote.tab);
  }

  #unsubscribe(tab: string, name: string): void {
    const [remote, feed] = this.#remotes.get(tab)?.get(name) ?? [];
    if (remote) {
      this.#remotes.get(tab)!.delete(name);
      this.#waiting.delete(remote);
      this.link.remove(feed!, remote);
    }
    this.#post({ type: "unsubscribed", feed: name }, tab);
  }

  #gone(tab: string): void {
    for (const name of [...(this.#remotes.get(tab)?.keys() ?? [])]) this.#unsubscribe(tab, name);
    this.#remotes.delete(tab);
  }
}
