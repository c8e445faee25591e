// What a subscription promises: whoever closed it is told nothing more, and an iterator is given what is true, once.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Feed } from "../src/feeds.ts";
import type { ConnectionState, Link } from "../src/link.ts";
import type { Snapshot } from "../src/messages.ts";
import { StreamPlace } from "../src/mirror.ts";
import type { Chunk, Run, Status } from "../src/run.ts";
import { subscribe, type Subscription } from "../src/subscription.ts";

const STATE: ConnectionState = { state: "live", asOf: null, reason: "", transport: "websocket" };
const turn = () => new Promise((resolve) => setTimeout(resolve));

/** Somebody who follows `feed`, on a connection that says nothing by itself. */
function following<Item>(feed: Feed, place?: StreamPlace): Subscription<Item> {
  const link = { state: () => STATE, remove: (left: Feed, reader: never) => left.readers.delete(reader) };
  return subscribe<Item>(
    (reader) => {
      feed.readers.add(reader);
      return [link as unknown as Link, feed];
    },
    () => {},
    place,
  );
}

const snapshot = (...statuses: Status[]): Snapshot => {
  const transitions = statuses.map((status, sequence) => ({ status, at: "", attempt: 1, sequence }));
  const run = { id: "r", status: statuses.at(-1)!, createdAt: "1", transitions } as Run;
  return {
    ...{ type: "snapshot", feed: "run:r", runs: [run], cursor: "e-9", replaces: true, complete: true, truncated: false },
  };
};

test("whoever closes it while being told is told nothing more", async () => {
  const feed = new Feed("run:r", { run: "r" });
  const subscription = following<Run>(feed);
  const told: string[] = [];
  subscription.on("transition", (_, { status }) => {
    told.push(status);
    subscription.close();
  });
  subscription.on("end", () => told.push("end"));
  await turn();
  feed.takeIn(snapshot("QUEUED"));
  feed.takeIn({ type: "end", feed: "run:r", status: "COMPLETED" });
  assert.deepEqual(told, ["QUEUED"]);
  for await (const { status } of subscription) assert.equal(status, "QUEUED"); // what is known, and no more
  await assert.rejects(subscription.ended, /closed/);
});

test("what was known before is not told to one who left at once", async () => {
  const feed = new Feed("run:r", { run: "r" });
  following<Run>(feed);
  feed.takeIn(snapshot("QUEUED", "COMPLETED"));
  const told: string[] = [];
  const [stays, leaves] = [following<Run>(feed), following<Run>(feed)];
  stays.on("transition", (_, { status }) => told.push(status));
  leaves.on("transition", (_, { status }) => told.push(`left ${status}`));
  leaves.close();
  await turn();
  assert.deepEqual(told, ["QUEUED", "COMPLETED"]);
});

test("a slow reader of a stream that begins anew is given it in order, and nothing that is void", async () => {
  const feed = new Feed("stream:r,k", { stream: { run: "r", key: "k" } });
  const subscription = following<Chunk>(feed, new StreamPlace());
  const chunk = (index: number, epoch: string) =>
    feed.takeIn({ type: "chunk", feed: feed.name, index, chunk: epoch + index, cursor: `${epoch}-${index + 1}` });
  const begin = (firstIndex: number, epoch: string) =>
    feed.takeIn({ type: "begin", feed: feed.name, firstIndex, cursor: `${epoch}-0` });
  const items = subscription[Symbol.asyncIterator]();
  const read = [items.next()];
  await turn();
  begin(0, "a");
  chunk(0, "a");
  read.push(items.next());
  await Promise.all(read.slice(0, 1));
  chunk(1, "a");
  await Promise.all(read);
  chunk(2, "a");
  chunk(3, "a");
  begin(0, "b");
  for (const index of [0, 1, 2, 3]) chunk(index, "b");
  const rest = [await items.next(), await items.next(), await items.next(), await items.next()];
  assert.deepEqual(
    rest.map(({ value }) => (value as Chunk).value),
    ["b0", "b1", "b2", "b3"],
  );
});
