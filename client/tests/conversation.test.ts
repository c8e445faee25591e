// What a conversation promises: what it asks for, what it believes, and what it does when it is refused.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Conversation } from "../src/conversation.ts";
import { claimsOf, lifeOf } from "../src/claims.ts";
import { FOR_GOOD, TOKEN_REFUSED } from "../src/errors.ts";
import { Feed, type Reader } from "../src/feeds.ts";
import type { Said, Snapshot } from "../src/messages.ts";
import { StreamPlace } from "../src/mirror.ts";
import { tokensOf } from "../src/tokens.ts";
import { EventDecoder } from "../src/transports/sse.ts";

class Recorder implements Reader {
  looked = 0;
  constructor(readonly place?: StreamPlace) {}
  hear(): void {}
  look(): void {
    this.looked++;
  }
}

/** Without what JSON leaves out. */
const asSent = (said: Said): Said => JSON.parse(JSON.stringify(said));

function talkOf(...feeds: Feed[]) {
  const said: Said[] = [];
  const talk = new Conversation(new Map(feeds.map((feed) => [feed.name, feed])), "websocket");
  talk.wire = { say: (each) => void said.push(asSent(each)), close() {} };
  feeds.forEach((feed) => talk.subscribe(feed));
  talk.receive({ type: "welcome", heartbeatSeconds: 2 });
  return { talk, said };
}

const snapshot = (feed: string, cursor: string): Snapshot => ({
  ...{ type: "snapshot", feed, runs: [], replaces: true, complete: true, truncated: false, cursor },
});

test("it asks for each feed where it stands", () => {
  const feed = new Feed("tag:a", { tags: ["a"], limit: 5 });
  const { talk, said } = talkOf(feed);
  talk.receive(snapshot("tag:a", "e-5"));
  talk.subscribe(feed);
  assert.deepEqual(said, [
    { type: "subscribe", tags: ["a"], limit: 5 },
    { type: "subscribe", tags: ["a"], limit: 5, cursor: "e-5" },
  ]);
  assert.equal(talk.patience, 4000);
});

test("a stream is asked for where the reader stands who has least", () => {
  const stream = new Feed("stream:r,k", { stream: { run: "r", key: "k" }, from: "now" });
  const [first, second] = [new Recorder(new StreamPlace("e-7")), new Recorder(new StreamPlace("e-5"))];
  stream.readers.add(first).add(second);
  assert.deepEqual(asSent(stream.asking), { type: "subscribe", stream: { run: "r", key: "k" }, cursor: "e-5" });
  stream.readers.add(new Recorder(new StreamPlace(null)));
  assert.deepEqual(asSent(stream.asking), { type: "subscribe", stream: { run: "r", key: "k" }, from: "now" });
});

test("a heartbeat moves only feeds that have caught up here", () => {
  const [here, there] = [new Feed("tag:a", { tags: ["a"] }), new Feed("tag:b", { tags: ["b"] })];
  const { talk } = talkOf(here, there);
  there.mirror.takeIn(snapshot("tag:b", "e-1"));
  talk.receive(snapshot("tag:a", "e-5"));
  talk.receive({ type: "heartbeat", state: "live", cursor: "e-9", asOf: "2026-01-01T00:00:00.000Z" });
  assert.deepEqual([here.cursor, there.cursor], ["e-9", "e-1"]);
  assert.deepEqual([talk.isLive(here), talk.isLive(there)], [true, false]);
  talk.receive({ type: "heartbeat", state: "stale" });
  assert.ok(!talk.isLive(here));
});

test("what comes of a subscription that was given up is not heard", () => {
  const feed = new Feed("tag:a", { tags: ["a"] });
  const { talk, said } = talkOf(feed);
  talk.receive(snapshot("tag:a", "e-5"));
  talk.leave(feed);
  talk.leave(feed);
  talk.subscribe(feed);
  assert.ok(!talk.receive(snapshot("tag:a", "e-6")));
  assert.equal(feed.cursor, "e-5");
  talk.receive({ type: "unsubscribed", feed: "tag:a" });
  assert.deepEqual(said.slice(1), [
    { type: "unsubscribe", feed: "tag:a" },
    { type: "subscribe", tags: ["a"], cursor: "e-5" },
  ]);
  assert.equal(talk.receive(snapshot("tag:a", "e-7")), true);
});

test("a feed that was refused and left at the same time can be asked for again", () => {
  const feed = new Feed("tag:a", { tags: ["a"] });
  const { talk, said } = talkOf(feed);
  talk.leave(feed);
  talk.receive({ type: "error", feed: "tag:a", code: "too_many_feeds", message: "no", retry: false });
  talk.receive({ type: "error", feed: "tag:a", code: "not_subscribed", message: "no", retry: false });
  assert.deepEqual([said.length, said.at(-1), talk.feeds.size], [3, { type: "subscribe", tags: ["a"] }, 1]);
});

test("a feed that is out of step is asked for from its beginning", () => {
  const feed = new Feed("tag:a", { tags: ["a"] });
  const { talk, said } = talkOf(feed);
  talk.receive(snapshot("tag:a", "e-5"));
  talk.receive({ type: "update", feed: "tag:a", run: { id: "unheard" }, cursor: "e-6" });
  assert.ok(!feed.mirror.complete);
  talk.receive({ type: "unsubscribed", feed: "tag:a" });
  assert.deepEqual(said.slice(1), [
    { type: "unsubscribe", feed: "tag:a" },
    { type: "subscribe", tags: ["a"] },
  ]);
});

test("a token that is renewed says nothing of the data, and a tab that lost the connection everything", () => {
  const feed = new Feed("tag:a", { tags: ["a"] });
  const { talk } = talkOf(feed);
  assert.ok(!talk.isLive(feed));
  talk.receive(snapshot("tag:a", "e-5"));
  talk.receive({ type: "heartbeat", state: "stale" });
  talk.receive({ type: "welcome" });
  assert.ok(!talk.isLive(feed));
  talk.receive({ type: "heartbeat", state: "live" });
  assert.ok(talk.isLive(feed));
  talk.receive({ type: "heartbeat", state: "stale", reason: "nobody answers", down: true });
  assert.deepEqual(talk.trouble, { reason: "nobody answers", down: true });
  talk.receive({ type: "heartbeat", state: "live" });
  assert.ok(!talk.isLive(feed), "what the tab missed comes first");
  talk.receive(snapshot("tag:a", "e-6"));
  assert.ok(talk.isLive(feed));
});

test("a feed that is refused leaves, the others go on; what may be had later is a reason to come back", () => {
  const [refused, other] = [new Feed("run:1", { run: "1" }), new Feed("run:2", { run: "2" })];
  const reader = new Recorder();
  refused.readers.add(reader);
  const { talk } = talkOf(refused, other);
  talk.receive({ type: "error", feed: "run:1", code: "not_allowed", message: "no", retry: false });
  assert.deepEqual([refused.refusal?.code, reader.looked], ["not_allowed", 1]);
  assert.deepEqual([[...talk.feeds.keys()], talk.over], [["run:2"], undefined]);
  talk.receive({ type: "error", feed: "run:2", code: "unavailable", message: "later", retry: true });
  assert.equal(talk.over?.code, "unavailable");
});

test("a gateway that says when to come back is listened to", () => {
  const { talk } = talkOf();
  talk.receive({ type: "reconnect", afterMilliseconds: 1234, reason: "the server is stopping" });
  assert.deepEqual(talk.over, { reason: "the server is stopping", after: 1234 });
  const busy = talkOf().talk;
  busy.receive({ type: "error", code: "too_many_connections", message: "", retry: true, afterMilliseconds: 1000 });
  assert.ok(busy.last!.after! >= 1000 && busy.last!.after! <= 2000);
});

test("endings: who may come back, with what", () => {
  const verdictOf = (code: string) => [FOR_GOOD, TOKEN_REFUSED].map((codes) => codes.test(code));
  for (const code of ["4403", "4411", "token_revoked", "origin_not_allowed"]) assert.ok(verdictOf(code)[0]);
  for (const code of ["4401", "4410", "token_expired", "token_used"]) assert.deepEqual(verdictOf(code), [false, true]);
  for (const code of ["1006", "1011", "1012", "4413", "4429", "", "unavailable"])
    assert.deepEqual(verdictOf(code), [false, false]);
});

const jwt = (claims: object) => `x.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.y`;

test("how long a token lasts, whatever the clock says", () => {
  const now = Math.floor(Date.now() / 1000);
  const within = (token: string, from: number, to: number) => {
    const life = lifeOf(token)!;
    assert.ok(life >= from && life <= to, `${life}`);
  };
  within(jwt({ iat: now, exp: now + 100 }), 97, 100);
  within(jwt({ iat: now - 90, exp: now + 10 }), 7, 10);
  within(jwt({ iat: now - 5000, exp: now - 4900 }), 100, 100);
  within(jwt({ iat: now + 5000, exp: now + 5100 }), 100, 100);
  within(jwt({ exp: now + 100 }), 97, 100);
  assert.equal(lifeOf(jwt({ iat: now })), undefined);
  assert.equal(lifeOf("tr_dev_key"), undefined);
  assert.equal(claimsOf("tr_dev_key"), null);
});

test("one token is asked for at a time, and only when another one is needed", async () => {
  let asked = 0;
  const tokens = tokensOf({ token: "first", getToken: async () => ({ token: `made ${++asked}` }) });
  assert.equal(await tokens.toShow(), "first");
  assert.deepEqual(await Promise.all([tokens.toShow("first"), tokens.toShow("first")]), ["made 1", "made 1"]);
  assert.equal(await tokens.toShow("first"), "made 1");
  await assert.rejects(tokensOf({ token: "only" }).toShow("only"), { code: "not_authenticated" });
});

test("event streams may be cut anywhere", () => {
  const text = 'retry: 700\n\nid: e-1\nevent: update\ndata: {"a":1}\n\ndata: {"b":2}\r\n\r\n';
  for (let size = 1; size < text.length; size++) {
    const decoder = new EventDecoder();
    const pieces = text.match(new RegExp(`[^]{1,${size}}`, "g"))!;
    assert.deepEqual(
      pieces.flatMap((piece) => [...decoder.decode(piece)]),
      ['{"a":1}', '{"b":2}'],
    );
    assert.equal(decoder.retry, 700);
  }
});
