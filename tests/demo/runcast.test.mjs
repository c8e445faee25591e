// What demo/page/runcast.js promises: how messages become runs, and when it comes back.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, mock, test } from "node:test";

const source = await readFile(new URL("../../demo/page/runcast.js", import.meta.url), "utf8");
const { Board, EventDecoder, feedName, follow } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

const run = (id, more = {}) => ({ id, status: "QUEUED", createdAt: `2026-01-01T00:00:0${id.slice(-1)}.000Z`, ...more });
const snapshot = (runs, more = {}) => ({
  type: "snapshot", feed: "all", runs, cursor: "e-1", replaces: true, complete: true, truncated: false, ...more,
});
const update = (changes, more = {}) => ({ type: "update", feed: "all", run: changes, cursor: "e-2", ...more });
const ids = (board) => [...board.runs.keys()];

describe("the board", () => {
  test("names feeds as the server does, tags in order and once", () => {
    assert.equal(feedName({ tags: ["b", "a", "b"], since: "1h" }), "tag:a,b");
    assert.equal(feedName({ run: "run_1" }), "run:run_1");
    assert.equal(feedName({ all: true, limit: 5 }), "all");
    assert.throws(() => feedName({ since: "1h" }), TypeError);
  });

  test("a snapshot that replaces forgets the runs that are not in it", () => {
    const board = new Board(["all"]);
    board.receive(snapshot([run("run_1"), run("run_2")]));
    const changed = board.receive(snapshot([run("run_2")], { cursor: "f-1" }));
    assert.deepEqual(ids(board), ["run_2"]);
    assert.deepEqual(changed.sort(), ["run_1", "run_2"]);
  });

  test("a snapshot that does not replace puts its runs in, each whole", () => {
    const board = new Board(["all"]);
    board.receive(snapshot([run("run_1", { error: { message: "x" } }), run("run_2")]));
    board.receive(snapshot([run("run_1", { status: "COMPLETED" })], { replaces: false }));
    assert.deepEqual(ids(board), ["run_1", "run_2"]);
    assert.deepEqual(board.runs.get("run_1"), run("run_1", { status: "COMPLETED" }));
  });

  test("the pages of a snapshot move the cursor only with the last one", () => {
    const board = new Board(["all"]);
    board.receive(snapshot([run("run_1")], { complete: false, cursor: "e-9" }));
    assert.equal(board.cursor("all"), null);
    assert.equal(board.complete, false);
    board.receive(snapshot([run("run_2")], { replaces: false, cursor: "e-9" }));
    assert.equal(board.cursor("all"), "e-9");
    assert.equal(board.complete, true);
    assert.deepEqual(ids(board), ["run_1", "run_2"]);
  });

  test("a run stays as long as one of its feeds holds it", () => {
    const board = new Board(["all", "tag:a"]);
    board.receive(snapshot([run("run_1")]));
    board.receive(snapshot([run("run_1")], { feed: "tag:a" }));
    board.receive(snapshot([], { feed: "tag:a" }));
    assert.deepEqual(ids(board), ["run_1"]);
    board.receive(snapshot([]));
    assert.deepEqual(ids(board), []);
  });

  test("an update changes what it names, and null empties", () => {
    const board = new Board(["all"]);
    board.receive(snapshot([run("run_1", { error: { message: "x" }, attempt: 1 })]));
    board.receive(update({ id: "run_1", error: null, attempt: 2 }));
    assert.deepEqual(board.runs.get("run_1"), run("run_1", { attempt: 2 }));
    assert.equal(board.cursor("all"), "e-2");
  });

  test("metadata changes by top-level key", () => {
    const board = new Board(["all"]);
    board.receive(snapshot([run("run_1", { metadata: { old: 1, kept: { a: 1 } } })]));
    board.receive(update({ id: "run_1" }, { metadata: { changed: { progress: { current: 1 } }, deleted: ["old"] } }));
    assert.deepEqual(board.runs.get("run_1").metadata, { kept: { a: 1 }, progress: { current: 1 } });
  });

  test("what a page holds is not changed under its hands", () => {
    const board = new Board(["all"]);
    board.receive(snapshot([run("run_1", { metadata: { a: 1 } })]));
    const held = board.runs.get("run_1");
    board.receive(update({ id: "run_1", attempt: 2 }, { metadata: { changed: { a: 2 } } }));
    assert.deepEqual(held, run("run_1", { metadata: { a: 1 } }));
  });

  test("each transition is kept once, in order", () => {
    const board = new Board(["all"]);
    const queued = { status: "QUEUED", sequence: 1 };
    const executing = { status: "EXECUTING", sequence: 2 };
    board.receive(snapshot([run("run_1", { transitions: [queued] })]));
    board.receive(update({ id: "run_1", status: "EXECUTING" }, { transition: executing }));
    board.receive(update({ id: "run_1", status: "EXECUTING" }, { transition: executing }));
    assert.deepEqual(board.runs.get("run_1").transitions, [queued, executing]);
  });

  test("a whole update brings a run in; a part of one that we never had does not", () => {
    const board = new Board(["all"]);
    board.receive(snapshot([]));
    assert.deepEqual(board.receive(update({ id: "run_1", attempt: 2 })), []);
    assert.deepEqual(board.receive(update(run("run_2"), { whole: true })), ["run_2"]);
    assert.deepEqual(ids(board), ["run_2"]);
  });

  test("a heartbeat moves the cursor of a feed that is up to date, and of no other", () => {
    const board = new Board(["all", "tag:a"]);
    board.receive(snapshot([]));
    board.receive({ type: "heartbeat", state: "live", cursor: "e-7" });
    assert.equal(board.cursor("all"), "e-7");
    assert.equal(board.cursor("tag:a"), null);
  });

  test("it keeps the newest runs when there are too many", () => {
    const board = new Board(["all"], { keep: 2 });
    board.receive(snapshot([run("run_1"), run("run_2")]));
    const changed = board.receive(update(run("run_3"), { whole: true }));
    assert.deepEqual(ids(board), ["run_2", "run_3"]);
    assert.deepEqual(changed.sort(), ["run_1", "run_3"]);
    assert.deepEqual(board.receive(update({ id: "run_1", attempt: 2 })), []);
  });

  test("a message of a later version is no reason to stop", () => {
    assert.deepEqual(new Board(["all"]).receive({ type: "firework", feed: "all" }), []);
  });
});

describe("the event stream", () => {
  const events = (...chunks) => {
    const decoder = new EventDecoder();
    return chunks.flatMap((chunk) => [...decoder.decode(chunk)]);
  };

  test("is the same however it is cut", () => {
    const text = 'event: update\r\nid: e-1\r\ndata: {"a":\r\ndata: 1}\r\n\r\n: comment\ndata: 2\n\n';
    const expected = [{ id: "e-1", data: '{"a":\n1}' }, { id: "e-1", data: "2" }];
    assert.deepEqual(events(text), expected);
    assert.deepEqual(events(...text), expected);
  });

  test("keeps the line separators of JSON apart from those of the stream", () => {
    assert.deepEqual(events('data: "a\u2028b"\n\n'), [{ id: null, data: '"a\u2028b"' }]);
  });
});

/** A WebSocket as a page sees it; the test is the server. */
class FakeSocket {
  static opened = [];

  constructor(url, protocols) {
    Object.assign(this, { url: String(url), protocols, sent: [], closedWith: null });
    FakeSocket.opened.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close(code) {
    this.closedWith = code;
  }

  accept() {
    this.onopen();
    this.say({ type: "welcome", environment: "env", heartbeatSeconds: 10 });
  }

  say(message) {
    this.onmessage({ data: JSON.stringify(message) });
  }
}

describe("following", () => {
  let states, changes, following;
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  const last = () => FakeSocket.opened.at(-1);

  async function begin(options = {}) {
    const onState = (state) => states.push(state);
    const onChange = (runs, changed) => changes.push(changed);
    following = follow({ url: "http://gateway", token: "jwt", feeds: [{ all: true }], onState, onChange, ...options });
    await turn();
  }

  beforeEach(() => {
    [states, changes] = [[], []];
    FakeSocket.opened = [];
    globalThis.WebSocket = FakeSocket;
    mock.timers.enable({ apis: ["setTimeout", "Date"] });
  });

  afterEach(() => {
    following.close();
    mock.timers.reset();
    mock.restoreAll();
  });

  test("offers the token as a subprotocol and subscribes", async () => {
    await begin({ feeds: [{ tags: ["b", "a"], since: "1h" }] });
    last().accept();
    assert.equal(last().url, "ws://gateway/v1/ws");
    assert.deepEqual(last().protocols, ["runcast.v1", "token.jwt"]);
    assert.deepEqual(last().sent, [{ type: "subscribe", tags: ["b", "a"], since: "1h" }]);
  });

  test("is live when the last page of the snapshot came, and stale when the gateway says so", async () => {
    await begin();
    last().accept();
    last().say(snapshot([run("run_1")], { complete: false }));
    assert.deepEqual(states.map(({ state }) => state), ["connecting"]);
    last().say(snapshot([], { replaces: false }));
    last().say({ type: "heartbeat", state: "stale", asOf: "2026-01-01T00:00:00.000Z", cursor: "e-1" });
    assert.deepEqual(states.map(({ state }) => state), ["connecting", "live", "stale"]);
    assert.equal(states.at(-1).asOf, "2026-01-01T00:00:00.000Z");
    assert.deepEqual(changes, [["run_1"]]);
  });

  test("comes back with its cursor, after a time that is drawn", async () => {
    mock.method(Math, "random", () => 0.5);
    await begin();
    last().accept();
    last().say(snapshot([run("run_1")]));
    last().say({ type: "heartbeat", state: "live", cursor: "e-5" });
    last().onclose({ code: 1006, reason: "" });
    assert.equal(states.at(-1).state, "reconnecting");
    assert.equal(states.at(-1).retryInMs, 125);
    mock.timers.tick(125);
    await turn();
    last().accept();
    assert.equal(FakeSocket.opened.length, 2);
    assert.deepEqual(last().sent, [{ type: "subscribe", all: true, cursor: "e-5" }]);
    assert.deepEqual([...following.runs.keys()], ["run_1"]);
  });

  test("waits longer each time that no data came, up to half a minute", async () => {
    mock.method(Math, "random", () => 1);
    await begin();
    const delays = [];
    for (let i = 0; i < 9; i += 1) {
      last().accept();
      last().onclose({ code: 1011, reason: "" });
      delays.push(states.at(-1).retryInMs);
      mock.timers.tick(delays.at(-1));
      await turn();
    }
    assert.deepEqual(delays, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
  });

  test("comes back when it was asked to", async () => {
    await begin();
    last().accept();
    last().say(snapshot([]));
    last().say({ type: "reconnect", afterMilliseconds: 700, reason: "deploy" });
    assert.equal(states.at(-1).reason, "deploy");
    mock.timers.tick(300);
    last().onclose({ code: 1012, reason: "" });
    mock.timers.tick(399);
    await turn();
    assert.equal(FakeSocket.opened.length, 1);
    mock.timers.tick(1);
    await turn();
    assert.equal(FakeSocket.opened.length, 2);
  });

  test("gives up a connection that said nothing for two heartbeats", async () => {
    await begin();
    last().accept();
    mock.timers.tick(19_999);
    assert.equal(last().closedWith, null);
    mock.timers.tick(1);
    assert.equal(last().closedWith, 1000);
    assert.equal(states.at(-1).state, "reconnecting");
  });

  test("stays away when coming back can't help", async () => {
    for (const code of [4401, 4403, 4410]) {
      await begin();
      last().onclose({ code, reason: "no" });
      assert.deepEqual([states.at(-1).state, states.at(-1).reason], ["denied", "no"]);
    }
    mock.timers.tick(60_000);
    await turn();
    assert.equal(FakeSocket.opened.length, 3);
  });

  test("gets a new token when the old one expired", async () => {
    let number = 0;
    await begin({ token: () => Promise.resolve(`jwt${(number += 1)}`) });
    last().accept();
    last().onclose({ code: 4410, reason: "" });
    mock.timers.tick(30_000);
    await turn();
    assert.deepEqual(last().protocols, ["runcast.v1", "token.jwt2"]);
  });

  test("says nothing any more once it was closed", async () => {
    await begin();
    last().accept();
    following.close();
    const said = states.length;
    last().onclose({ code: 1000, reason: "" });
    mock.timers.tick(60_000);
    assert.equal(states.length, said);
    assert.equal(FakeSocket.opened.length, 1);
  });

  test("a refused feed is told with its reason, and ends it", async () => {
    await begin();
    last().accept();
    last().say({ type: "error", code: "not_allowed", message: "no scope", retry: false, feed: "all" });
    assert.deepEqual([states.at(-1).state, states.at(-1).reason], ["denied", "no scope"]);
    assert.equal(last().closedWith, 1000);
  });
});

describe("following by event stream", () => {
  let requests, states, following;
  const turns = async (count = 20) => {
    for (let i = 0; i < count; i += 1) await new Promise((resolve) => setImmediate(resolve));
  };
  const event = (message, id) => `event: ${message.type}\nid: ${id}\ndata: ${JSON.stringify(message)}\n\n`;
  const stream = (...chunks) => new Response(chunks.join(""), { status: 200 });

  function begin(responses, options = {}) {
    [requests, states] = [[], []];
    globalThis.fetch = (url, { headers }) => {
      requests.push({ url: String(url), headers });
      return Promise.resolve(responses.shift() ?? new Response(null, { status: 204 }));
    };
    mock.timers.enable({ apis: ["setTimeout"] });
    const onState = ({ state, reason }) => states.push([state, reason]);
    const feeds = [{ all: true }];
    following = follow({ url: "http://gateway", token: "jwt", feeds, transport: "sse", onState, ...options });
    return turns();
  }

  afterEach(() => {
    following.close();
    mock.timers.reset();
  });

  test("asks for its feeds, the token in a header and not in the address", async () => {
    const feeds = [{ run: "run_1" }, { run: "run_2" }, { tags: ["a", "b"], since: "1h" }];
    await begin([], { feeds });
    assert.equal(requests[0].url, "http://gateway/v1/events?run=run_1&run=run_2&tags=a%2Cb&since=1h");
    assert.equal(requests[0].headers.Authorization, "Bearer jwt");
  });

  test("comes back with the id of the last event, and ends when there is nothing more to come", async () => {
    await begin([stream(event(snapshot([run("run_1")]), "e-1"), event(update({ id: "run_1", attempt: 2 }), "e-2"))]);
    assert.equal(following.runs.get("run_1").attempt, 2);
    assert.equal(states.at(-1)[0], "reconnecting");
    mock.timers.tick(30_000);
    await turns();
    assert.equal(requests[1].headers["Last-Event-ID"], "e-2");
    assert.equal(states.at(-1)[0], "ended");
  });

  test("says why it was refused", async () => {
    const problem = { status: 403, code: "not_allowed", detail: "no scope allows all", retry: false };
    await begin([new Response(JSON.stringify(problem), { status: 403 })]);
    assert.deepEqual(states.at(-1), ["denied", "no scope allows all"]);
  });

  test("comes back when the gateway can't read its data", async () => {
    await begin([new Response(JSON.stringify({ code: "unavailable", retry: true }), { status: 503 })]);
    assert.equal(states.at(-1)[0], "reconnecting");
  });
});
