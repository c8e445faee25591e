// What a mirror promises: whatever the way, the same history ends in the same runs, and each status is told once.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { covers, earliest } from "../src/cursors.ts";
import type { Snapshot, Update } from "../src/messages.ts";
import { RunMirror, StreamPlace } from "../src/mirror.ts";
import type { Run, Status, Transition } from "../src/run.ts";

const LIFE: Status[] = ["QUEUED", "DEQUEUED", "EXECUTING", "COMPLETED"];

const transition = (number: number): Transition => ({
  status: LIFE[number]!,
  at: "2026-01-01T00:00:00.000Z",
  attempt: 1,
  sequence: 10 + number,
});

/** The run as it is after so many statuses. */
const runAt = (count: number, more: Partial<Run> = {}): Run => ({
  id: "run_1",
  taskIdentifier: "hello",
  status: LIFE[count - 1]!,
  createdAt: "2026-01-01T00:00:00.000Z",
  updatedAt: "2026-01-01T00:00:01.000Z",
  transitions: LIFE.slice(0, count).map((_, number) => transition(number)),
  ...more,
});

const snapshot = (runs: Run[], more: Partial<Snapshot> = {}): Snapshot => ({
  ...{ type: "snapshot", feed: "run:run_1", runs, replaces: true, complete: true, truncated: false, cursor: "e-10" },
  ...more,
});

const update = (number: number, more: Partial<Update> = {}): Update => ({
  ...{ type: "update", feed: "run:run_1", run: { id: "run_1", status: LIFE[number]! }, cursor: `e-${10 + number}` },
  ...{ transition: transition(number) },
  ...more,
});

const statusesOf = (told: [Run, Transition][]) => told.map(([, { status }]) => status);

describe("a mirror of runs", () => {
  test("puts updates on a snapshot, and tells every status once", () => {
    const mirror = new RunMirror();
    const told = [snapshot([runAt(1)]), update(1), update(1), update(2), update(3)].flatMap(
      (message) => mirror.takeIn(message).transitions,
    );
    assert.deepEqual(statusesOf(told), LIFE);
    assert.deepEqual(mirror.runs.get("run_1"), { ...runAt(4) });
    assert.equal(mirror.cursor, "e-13");
  });

  test("tells after a cut what was missed, and nothing twice", () => {
    const mirror = new RunMirror();
    mirror.takeIn(snapshot([runAt(1)]));
    assert.deepEqual(statusesOf(mirror.takeIn(snapshot([runAt(3)], { replaces: false, cursor: "e-12" })).transitions), [
      "DEQUEUED",
      "EXECUTING",
    ]);
    assert.deepEqual(statusesOf(mirror.takeIn(snapshot([runAt(4)], { cursor: "f-1" })).transitions), ["COMPLETED"]);
  });

  test("changes metadata by key, empties what is null, and leaves the run before as it was", () => {
    const mirror = new RunMirror();
    mirror.takeIn(snapshot([runAt(1, { metadata: { a: 1, b: 2 }, output: 5 })]));
    const before = mirror.runs.get("run_1")!;
    const change = { run: { id: "run_1", output: null }, metadata: { changed: { a: 3, c: 4 }, deleted: ["b"] } };
    mirror.takeIn(update(1, change as Partial<Update>));
    assert.deepEqual(mirror.runs.get("run_1")!.metadata, { a: 3, c: 4 });
    assert.ok(!("output" in mirror.runs.get("run_1")!));
    assert.deepEqual([before.metadata, before.output], [{ a: 1, b: 2 }, 5]);
  });

  test("forgets what a snapshot that replaces all does not bring back, and says so", () => {
    const mirror = new RunMirror();
    mirror.takeIn(snapshot([runAt(1), runAt(1, { id: "run_2" })]));
    assert.deepEqual(mirror.takeIn(snapshot([runAt(1)], { complete: false, cursor: "f-1p" })).ids, ["run_1"]);
    assert.deepEqual(mirror.takeIn(snapshot([], { replaces: false, cursor: "f-2" })).ids, ["run_2"]);
    assert.deepEqual([...mirror.runs.keys()], ["run_1"]);
  });

  test("is not set back by a connection that was slower", () => {
    const mirror = new RunMirror();
    mirror.takeIn(snapshot([runAt(1)]));
    mirror.takeIn(update(1));
    mirror.takeIn(update(2));
    mirror.takeIn(snapshot([runAt(2)], { replaces: false, cursor: "e-11" }));
    assert.equal(mirror.runs.get("run_1")!.status, "EXECUTING");
  });

  test("is out of step when a part of a run comes that it never had, and begins anew", () => {
    const mirror = new RunMirror();
    mirror.takeIn(snapshot([]));
    assert.ok(mirror.takeIn(update(1)).outOfStep);
    assert.deepEqual([mirror.cursor, mirror.complete], [null, false]);
    assert.deepEqual(mirror.takeIn(update(2)).ids, []);
    assert.deepEqual(mirror.takeIn(snapshot([runAt(4)])).ids, ["run_1"]);
  });

  test("tells an end once, and again when a new attempt ended", () => {
    const mirror = new RunMirror();
    const end = { type: "end", feed: "run:run_1", status: "COMPLETED" } as const;
    mirror.takeIn(snapshot([runAt(4)]));
    assert.deepEqual([mirror.takeIn(end).end, mirror.takeIn(end).end], ["COMPLETED", undefined]);
    mirror.takeIn(snapshot([runAt(3)], { cursor: "e-20", replaces: false }));
    assert.equal(mirror.takeIn(end).end, "COMPLETED");
  });
});

describe("a place in a stream", () => {
  const begin = (firstIndex: number, cursor: string) => ({ type: "begin", feed: "s", firstIndex, cursor }) as const;
  const chunk = (index: number, epoch = "e") =>
    ({ type: "chunk", feed: "s", index, chunk: index, cursor: `${epoch}-${10 + index}` }) as const;

  test("takes each chunk once, also when it is told from the start for another reader", () => {
    const place = new StreamPlace(null);
    assert.equal(place.takeIn(chunk(5)).chunk, undefined, "it has not begun");
    assert.equal(place.takeIn(begin(0, "e-9")).from, 0);
    const told = [chunk(0), chunk(1), begin(0, "e-9"), chunk(0), chunk(1), chunk(2)].map((each) => place.takeIn(each));
    assert.deepEqual(
      told.flatMap((news) => news.chunk?.index ?? news.from ?? []),
      [0, 1, 2],
    );
  });

  test("begins anew when the data was lost, or it was overtaken", () => {
    const place = new StreamPlace(null);
    for (const each of [begin(0, "e-9"), chunk(0)]) place.takeIn(each);
    assert.equal(place.takeIn(begin(7, "e-16")).from, 7);
    assert.equal(place.takeIn(begin(0, "f-1")).from, 0);
    assert.equal(place.takeIn(chunk(0, "f")).chunk?.index, 0);
  });
});

describe("cursors", () => {
  test("compare within an epoch", () => {
    assert.ok(covers("e-10", "e-9"));
    assert.ok(covers("e-10p", "e-10"));
    assert.ok(!covers("e-9", "e-10"));
    assert.ok(!covers("f-10", "e-9"));
    assert.ok(!covers(null, "e-9"));
  });

  test("the earliest is where nobody misses anything", () => {
    assert.equal(earliest(["e-3", "e-2", "e-10"]), "e-2");
    for (const none of [[], ["e-1", null], [null, "e-1"], ["e-1", "f-1"]]) assert.equal(earliest(none), null);
  });
});
