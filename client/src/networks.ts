// For networks that have something against WebSockets: the other transports, and the way back from them. A file of its
// own, since most pages never need it.

import type { Conversation, Transport } from "./conversation.ts";
import type { Link } from "./link.ts";
import { openPoll } from "./transports/poll.ts";
import type { Needs } from "./transports/requests.ts";
import { openEvents } from "./transports/sse.ts";
import type { Open, Wire } from "./transports/wire.ts";

/** How long to be content with a worse transport before a better one is tried again; twice that each time it fails. */
const FIRST_TRIAL = 10_000;
const LONGEST_TRIAL = 600_000;
/** A connection that lived so long was worth the change. */
const GOOD_LIFE = 60_000;
/** So long a hidden page goes on with a request: of these it has six for all tabs together over HTTP/1.1. */
const HIDDEN = 10_000;

const openers: Partial<Record<Transport, (given: Needs) => Wire>> = { sse: openEvents, poll: openPoll };
const networks = new WeakMap<Link, Network>();

/** What opens this transport for `link`. */
export function open(link: Link, transport: Transport): Open {
  const network = networks.get(link) ?? new Network(link);
  networks.set(link, network);
  return (given) => network.open(transport, given);
}

/** What a link has to know of its network, as long as it uses one of these. */
class Network {
  #pause = FIRST_TRIAL;
  #trial: ReturnType<typeof setTimeout> | undefined;
  /** When a better transport was changed to (milliseconds since 1970). */
  #changed = Infinity;

  constructor(readonly link: Link) {}

  open(transport: Transport, given: Parameters<Open>[0]): Wire {
    if (Date.now() - this.#changed > GOOD_LIFE) this.#pause = FIRST_TRIAL;
    this.#changed = Infinity;
    const unwatch = watchHidden(() => this.link.sleep("the page is hidden"));
    const inner = openers[transport]!({
      ...given,
      feeds: this.link.feeds,
      hear: (message) => {
        given.hear(message);
        if (message.type === "welcome" && this.link.inUse.wire === wire && !this.#trial) this.#tryLater();
      },
    });
    const wire: Wire = {
      say: inner.say,
      close: () => {
        unwatch();
        this.#trial = clearTimeout(this.#trial) as undefined;
        inner.close();
      },
    };
    return wire;
  }

  /** Before long, tries one of the transports that are better than the one in use, beside it. */
  #tryLater(): void {
    const { link } = this;
    const { transports, inUse } = link;
    const better = transports.slice(0, transports.indexOf(inUse.transport as Transport));
    if (!better.length) return;
    clearTimeout(this.#trial);
    this.#trial = setTimeout(() => {
      void link.open(better[Math.floor(Math.random() * better.length)], {
        heard: (talk) => this.#heard(talk),
        failed: () => this.#tryLater(),
      });
    }, this.#pause);
    this.#pause = Math.min(this.#pause * 2, LONGEST_TRIAL);
  }

  /** As soon as the better one is up to date, it is the one. */
  #heard(talk: Conversation): void {
    const { link } = this;
    if (talk === link.inUse || ![...link.feeds.values()].every((feed) => talk.isLive(feed))) return;
    link.changeTo(talk);
    this.#changed = Date.now();
    this.#tryLater();
  }
}

/** Calls `gone` when the page has been hidden for long, until what is returned is called. */
function watchHidden(gone: () => void): () => void {
  const page = globalThis.document;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const look = () => {
    clearTimeout(timer);
    if (page?.hidden) timer = setTimeout(gone, HIDDEN);
  };
  look();
  page?.addEventListener("visibilitychange", look);
  return () => {
    clearTimeout(timer);
    page?.removeEventListener("visibilitychange", look);
  };
}
