// Follows runs over the viewer protocol (docs/protocol.md), by WebSocket or Server-Sent Events.
//
//     const following = follow({ url: location.origin, token, feeds: [{ all: true }], onChange, onState });
//     …
//     following.close();
//
// `Board` keeps what the server said; it does no I/O. The transports carry messages to it; `follow` keeps one open.

/** The name of a feed, as messages carry it, from what a subscription asks for. */
export function feedName(feed) {
  if (feed.all) return "all";
  if (feed.tags) return `tag:${[...new Set(feed.tags)].sort().join(",")}`;
  const kind = ["run", "batch", "task"].find((name) => feed[name] !== undefined);
  if (!kind) throw new TypeError("a feed is { run }, { tags }, { batch }, { task } or { all: true }");
  return `${kind}:${feed[kind]}`;
}

/**
 * What a viewer knows: the runs of its feeds, each whole and as new as the last message, and its place in each feed.
 *
 * Keeps at most `keep` runs: beyond that those go that were created first.
 */
export class Board {
  runs = new Map();
  #feeds = new Map(); // name → { ids, cursor, complete, ended }

  constructor(feeds, { keep = 1000 } = {}) {
    this.keep = keep;
    for (const name of feeds) this.#feeds.set(name, { ids: new Set(), cursor: null, complete: false, ended: false });
  }

  /** Where to go on in a feed after a reconnect; null when there is nothing to go on from. */
  cursor(feed) {
    return this.#feeds.get(feed)?.cursor ?? null;
  }

  /** Whether every feed has been brought up to date on this connection. */
  get complete() {
    return [...this.#feeds.values()].every((feed) => feed.complete);
  }

  /** Whether every feed was told that its run ended. */
  get ended() {
    return [...this.#feeds.values()].every((feed) => feed.ended);
  }

  /** A new connection begins: no feed is up to date until it says so. */
  disconnected() {
    for (const feed of this.#feeds.values()) feed.complete = false;
  }

  /** Takes in one message; returns the ids of the runs that changed, came or went. */
  receive(message) {
    const feed = this.#feeds.get(message.feed);
    switch (message.type) {
      case "snapshot":
        return feed ? this.#snapshot(feed, message) : [];
      case "update":
        return feed ? this.#update(feed, message) : [];
      case "end":
        if (feed) Object.assign(feed, { cursor: message.cursor, ended: true });
        return [];
      case "heartbeat":
        // Everything up to its cursor has been delivered, for every feed that is not being caught up.
        for (const each of this.#feeds.values()) if (each.complete && message.cursor) each.cursor = message.cursor;
        return [];
      default:
        return []; // a message of a later version
    }
  }

  #snapshot(feed, { runs, replaces, complete, cursor }) {
    const changed = new Set(runs.map((run) => run.id));
    if (replaces) {
      for (const id of feed.ids) changed.add(id);
      feed.ids.clear();
    }
    for (const run of runs) this.#put(feed, run);
    if (complete) {
      // Only now: with the cursor of an earlier page, what the later ones bring would be missed after a reconnect.
      Object.assign(feed, { cursor, complete: true });
      this.#dropUnheld(changed);
    }
    this.#dropOldest(changed);
    return [...changed];
  }

  #update(feed, { run, whole, metadata, transition, cursor }) {
    feed.cursor = cursor;
    feed.ended = false;
    if (whole) {
      this.#put(feed, run);
    } else if (feed.ids.has(run.id)) {
      this.runs.set(run.id, merged(this.runs.get(run.id), run, metadata, transition));
    } else {
      return []; // beyond the limit of our snapshot, so it was never ours
    }
    const changed = new Set([run.id]);
    this.#dropOldest(changed);
    return [...changed];
  }

  #put(feed, run) {
    feed.ids.add(run.id);
    this.runs.set(run.id, run);
  }

  #dropUnheld(changed) {
    for (const id of changed) {
      if (![...this.#feeds.values()].some((feed) => feed.ids.has(id))) this.runs.delete(id);
    }
  }

  #dropOldest(changed) {
    if (this.runs.size <= this.keep) return;
    const oldest = [...this.runs.values()].sort((a, b) => (a.createdAt < b.createdAt ? -1 : 1));
    for (const { id } of oldest.slice(0, this.runs.size - this.keep)) {
      this.runs.delete(id);
      for (const feed of this.#feeds.values()) feed.ids.delete(id);
      changed.add(id);
    }
  }
}

/** A run with what an update says of it: null empties a field, metadata changes by top-level key. */
function merged(run, changes, metadata, transition) {
  const next = { ...run };
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) delete next[name];
    else next[name] = value;
  }
  if (metadata) {
    next.metadata = { ...next.metadata, ...metadata.changed };
    for (const name of metadata.deleted ?? []) delete next.metadata[name];
  }
  const known = next.transitions ?? [];
  if (transition && !known.some(({ sequence }) => sequence === transition.sequence)) {
    next.transitions = [...known, transition];
  }
  return next;
}

// Close codes after which coming back with the same token can't help (docs/protocol.md, "Close codes").
const FINAL_CODES = new Set([1003, 1007, 1009, 4400, 4401, 4403, 4410]);
const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 30_000;
const HEARTBEAT_SECONDS = 15; // until the server says otherwise

/**
 * Follows feeds until `close()`, over whatever happens to the connection.
 *
 * @param url where the gateway is, http or https
 * @param token a public token, or a function that gets one (again when the last one expired)
 * @param feeds what to subscribe to: `{ run }`, `{ tags }`, `{ batch }`, `{ task }` or `{ all: true }`, each with the
 *   options of a subscription
 * @param transport "ws" or "sse"
 * @param onChange called with the Map of runs and the ids of those that changed, for every message
 * @param onState called with `{ state, asOf, reason, retryInMs }`; state is connecting, live, stale, reconnecting,
 *   ended or denied
 */
export function follow({ url, token, feeds, transport = "ws", keep, onChange = () => {}, onState = () => {} }) {
  const named = new Map(feeds.map((feed) => [feedName(feed), feed]));
  const board = new Board(named.keys(), { keep });
  const connect = transport === "sse" ? connectEvents : connectSocket;
  let connection = null;
  let attempts = 0;
  let timer = null; // for the next connection
  let watchdog = null; // for a connection that says nothing any more
  let heartbeatMs = HEARTBEAT_SECONDS * 1000;
  let askedBackAt = null; // when the server wants us to come back
  let asOf = null;
  let state = null;
  let closed = false;

  function say(next, more = {}) {
    state = next;
    onState({ state, asOf, ...more });
  }

  async function open() {
    clearTimeout(timer);
    timer = null;
    board.disconnected();
    if (state !== "reconnecting") say("connecting");
    const mine = {};
    connection = mine;
    const handlers = {
      message: (message) => connection === mine && receive(message),
      closed: (why) => connection === mine && lost(why),
    };
    watch();
    try {
      const current = typeof token === "function" ? await token() : token;
      if (connection !== mine) return;
      mine.close = connect({ url, token: current, board, named, ...handlers });
    } catch (error) {
      handlers.closed({ reason: error.message });
    }
  }

  function receive(message) {
    if (message.type === "welcome") heartbeatMs = message.heartbeatSeconds * 1000;
    watch();
    if (message.type === "heartbeat") heard(message);
    else if (message.type === "reconnect") comeBack(message);
    else if (message.type === "error") refused(message);
    else deliver(message);
  }

  function deliver(message) {
    const changed = board.receive(message);
    if (board.complete && state !== "live") {
      attempts = 0; // it was not only answered: data came
      asOf = new Date().toISOString();
      say("live");
    } else if (state === "live" && message.run?.updatedAt > asOf) {
      asOf = message.run.updatedAt; // newer than what the last heartbeat could say
      say("live");
    }
    if (changed.length) onChange(board.runs, changed);
  }

  function heard(message) {
    board.receive(message);
    asOf = message.asOf ?? asOf;
    if (message.state === "stale") say("stale");
    else if (board.complete) say("live");
  }

  function refused({ code, message, retry }) {
    if (retry) drop({ reason: message });
    else if (["already_subscribed", "not_subscribed"].includes(code)) return;
    else finish("denied", message);
  }

  function comeBack({ afterMilliseconds, reason }) {
    askedBackAt = Date.now() + afterMilliseconds;
    say("reconnecting", { reason, retryInMs: afterMilliseconds });
    // The server closes; should that get lost, we do.
    clearTimeout(timer);
    timer = setTimeout(() => drop({ reason }), afterMilliseconds);
  }

  function lost({ code, reason, ended = false, final = false, expired = false }) {
    connection = null;
    clearTimeout(watchdog);
    if (closed) return;
    if (ended) return finish("ended");
    const renewable = typeof token === "function" && (expired || code === 4410 || code === 4401);
    if (!renewable && (final || expired || FINAL_CODES.has(code))) return finish("denied", reason || `closed: ${code}`);
    // Full jitter: clients that lost the same server don't come back together.
    const jittered = Math.random() * Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempts);
    const delay = askedBackAt === null ? jittered : Math.max(0, askedBackAt - Date.now());
    askedBackAt = null;
    attempts += 1;
    say("reconnecting", { reason, retryInMs: Math.round(delay) });
    clearTimeout(timer);
    timer = setTimeout(open, delay);
  }

  /** Gives a connection up that is of no use any more, without waiting for its last word. */
  function drop(why) {
    const useless = connection;
    if (useless) lost(why);
    useless?.close?.();
  }

  function watch() {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => drop({ reason: "nothing heard" }), 2 * heartbeatMs);
  }

  function finish(last, reason) {
    say(last, { reason });
    close();
  }

  function comeBackNow() {
    if (timer !== null && connection === null && globalThis.document?.visibilityState !== "hidden") open();
  }

  function close() {
    closed = true;
    clearTimeout(timer);
    clearTimeout(watchdog);
    const last = connection;
    connection = null;
    last?.close?.();
    globalThis.removeEventListener?.("online", comeBackNow);
    globalThis.document?.removeEventListener("visibilitychange", comeBackNow);
  }

  globalThis.addEventListener?.("online", comeBackNow);
  globalThis.document?.addEventListener("visibilitychange", comeBackNow);
  open();
  return { runs: board.runs, close };
}

/** One WebSocket: subscribes to each feed where the board is. Returns how to close it. */
function connectSocket({ url, token, board, named, message, closed }) {
  const address = new URL("/v1/ws", url);
  address.protocol = address.protocol.replace("http", "ws");
  const socket = new WebSocket(address, ["runcast.v1", `token.${token}`]);
  socket.onopen = () => {
    for (const [name, feed] of named) {
      const cursor = board.cursor(name);
      socket.send(JSON.stringify({ type: "subscribe", ...feed, ...(cursor && { cursor }) }));
    }
  };
  socket.onmessage = ({ data }) => message(JSON.parse(data));
  socket.onclose = ({ code, reason }) => closed({ code, reason });
  return () => socket.close(1000);
}

/**
 * One request for Server-Sent Events, by `fetch`: an EventSource can't send the token in a header, and can't tell why
 * it was refused. Returns how to end it.
 */
function connectEvents({ url, token, board, named, message, closed }) {
  const abort = new AbortController();
  const headers = { Authorization: `Bearer ${token}`, Accept: "text/event-stream" };
  // The place of the stream as a whole; the board keeps it, for the stream gives every feed the same.
  if (board.lastEventId) headers["Last-Event-ID"] = board.lastEventId;

  async function read() {
    const response = await fetch(eventsAddress(url, [...named.values()]), { headers, signal: abort.signal });
    if (response.status === 204) return { ended: true };
    if (!response.ok) return refusal(response);
    const decoder = new EventDecoder();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return { ended: board.ended, reason: "the stream ended" };
      for (const { id, data } of decoder.decode(value)) {
        message(JSON.parse(data));
        if (id !== null) board.lastEventId = id;
      }
    }
  }

  read().then(closed, (error) => closed({ reason: error.message }));
  return () => abort.abort();
}

async function refusal(response) {
  const problem = await response.json().catch(() => ({}));
  const final = response.status < 500 && response.status !== 429 && !problem.retry;
  return { reason: problem.detail ?? `HTTP ${response.status}`, final, expired: response.status === 401 };
}

function eventsAddress(url, feeds) {
  const address = new URL("/v1/events", url);
  for (const { all, run, tags, batch, task, ...options } of feeds) {
    if (all) address.searchParams.set("all", "true");
    if (tags) address.searchParams.append("tags", tags.join(","));
    for (const [name, value] of Object.entries({ run, batch, task })) {
      if (value !== undefined) address.searchParams.append(name, value);
    }
    for (const [name, value] of Object.entries(options)) address.searchParams.set(name, String(value));
  }
  return address;
}

/** Text of an event stream → its events. Chunks may be cut anywhere, also between a CR and its LF. */
export class EventDecoder {
  #rest = "";
  #id = null;
  #data = [];

  *decode(text) {
    this.#rest += text;
    for (;;) {
      const end = /\r\n|\n|\r(?!$)/.exec(this.#rest);
      if (!end) return;
      const line = this.#rest.slice(0, end.index);
      this.#rest = this.#rest.slice(end.index + end[0].length);
      if (line !== "") this.#field(line);
      else if (this.#data.length) yield this.#event();
    }
  }

  #field(line) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") this.#data.push(value);
    else if (name === "id") this.#id = value;
  }

  #event() {
    const event = { id: this.#id, data: this.#data.join("\n") };
    this.#data = [];
    return event;
  }
}
