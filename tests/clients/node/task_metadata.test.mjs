// metadata and tags, as the code of a task sees them.

import assert from "node:assert/strict";
import { collect, promise, same, say, until, worker } from "./stage.mjs";
import { enterTask, flushEvery, sdk, stopFlushing } from "./task.mjs";

const { metadata, runs, tags, version } = sdk;

const stored = async (run) => (await runs.retrieve(run)).metadata ?? {};

async function started(options) {
  const run = await worker.create(options);
  await say(run, ["start"]);
  return run;
}

promise("set, del, append, remove, increment, decrement: here at once, there after a flush", async () => {
  const run = await started({ metadata: { old: true, list: [1, { a: 1 }, 2, { a: 1 }] } });
  enterTask(run, { metadata: await stored(run) });
  metadata.set("progress", 0.5).set("deep", { a: { b: [1, 2] } }).append("log", "one").append("log", { two: 2 });
  metadata.del("old").remove("list", { a: 1 }).increment("count", 3).decrement("count").increment("count");
  metadata.set("$.deep.a.b.1", "path").append("$.deep.a.b", 3);
  const expected = { list: [1, 2], progress: 0.5, deep: { a: { b: [1, "path", 3] } }, log: ["one", { two: 2 }], count: 3 };
  assert.deepEqual(metadata.current(), expected);
  assert.deepEqual([metadata.get("count"), metadata.get("nothing")], [3, undefined]);
  assert.deepEqual(await stored(run), { old: true, list: [1, { a: 1 }, 2, { a: 1 }] });
  await metadata.flush();
  assert.deepEqual(await stored(run), expected);
  assert.deepEqual(metadata.current(), expected);
  metadata.replace({ only: "this" });
  await metadata.flush();
  assert.deepEqual(await stored(run), { only: "this" });
});

promise("what is flushed now and then is seen by who follows, and the last state is the last seen", async () => {
  const run = await started({});
  enterTask(run);
  const subscription = runs.subscribeToRun(run);
  const following = collect(subscription);
  await following.until((seen) => seen.length === 1);
  flushEvery(50);
  for (let n = 1; n <= 100; n++) {
    metadata.set("n", n).increment("sum", n);
    if (n % 20 === 0) await following.until((seen) => seen.at(-1).metadata?.n === n);
  }
  stopFlushing();
  const seen = following.seen.map(({ metadata }) => metadata?.n ?? 0);
  assert.deepEqual(seen, [...seen].sort((a, b) => a - b));
  assert.deepEqual(following.seen.at(-1).metadata, { n: 100, sum: 5050 });
  assert.ok(seen.length < 40, `${seen.length} messages for a hundred changes`);
  subscription.unsubscribe();
});

promise("parent and root: in the order they were said; of a run without, itself", async () => {
  const root = await started({ metadata: { from: "root" } });
  const parent = await started({ parent: root, root });
  const run = await started({ parent, root });
  enterTask(run, { parent, root });
  metadata.parent.set("child", run).append("log", "a").append("log", "b").increment("done", 1).increment("done", 2).decrement("done", 1);
  metadata.parent.set("gone", 1).del("gone").append("list", 1).append("list", 2).remove("list", 1);
  metadata.root.set("from", "below").append("runs", run);
  metadata.set("own", 1);
  await metadata.flush();
  assert.deepEqual(await stored(run), { own: 1 });
  await until(async () => "from" in (await stored(root)) && (await stored(root)).runs, "the root's");
  assert.deepEqual(await stored(parent), { child: run, log: ["a", "b"], done: 2, list: [2] });
  assert.deepEqual(await stored(root), { from: "below", runs: [run] });
  enterTask(root, { metadata: await stored(root) });
  metadata.parent.set("itself", true);
  metadata.root.increment("also", 1);
  await metadata.flush();
  assert.deepEqual(await stored(root), { from: "below", runs: [run], itself: true, also: 1 });
});

promise("refresh: what others wrote", async () => {
  const run = await started({});
  enterTask(run);
  await metadata.refresh();
  assert.deepEqual(metadata.current(), {});
  await say(run, ["set", "by", "python"], ["append", "list", 1]);
  await metadata.refresh();
  assert.deepEqual(metadata.current(), { by: "python", list: [1] });
});

promise("Python and JavaScript write to the same run: nothing of either is lost", async () => {
  const run = await started({});
  enterTask(run);
  const python = worker.say({ run, calls: Array.from({ length: 200 }, (_, n) => [["increment", "count"], ["append", "list", `p${n}`]]).flat() });
  for (let n = 0; n < 200; n++) {
    metadata.increment("count").append("list", `j${n}`);
    if (n % 20 === 19) await metadata.flush();
  }
  await python;
  const { count, list } = await stored(run);
  assert.deepEqual(await worker.current({ run }), { count, list }, "and Python reads what JavaScript does");
  assert.equal(count, 400);
  const of = (letter) => list.filter((entry) => entry.startsWith(letter));
  assert.deepEqual(of("p"), Array.from({ length: 200 }, (_, n) => `p${n}`));
  assert.deepEqual(of("j"), Array.from({ length: 200 }, (_, n) => `j${n}`));
});

promise("too much of it, and that of a run that has ended, are refused: nothing changes", async () => {
  const complaints = [];
  const { error } = console;
  console.error = (...said) => complaints.push(said);
  try {
    const run = await started({ metadata: { small: 1 } });
    enterTask(run, { metadata: { small: 1 } });
    metadata.set("large", "x".repeat(300 * 1024));
    await metadata.flush();
    assert.equal(complaints.at(-1)[1].status, 413);
    assert.deepEqual(await stored(run), { small: 1 });
    await say(run, ["complete"]);
    enterTask(run, { metadata: { small: 1 } });
    metadata.set("late", 1);
    await metadata.flush();
    assert.equal(complaints.at(-1)[1].status, 422);
    assert.deepEqual(await stored(run), { small: 1 });
  } finally {
    console.error = error;
  }
});

promise("a key that would reach an object's prototype does nothing", async () => {
  const run = await started({});
  enterTask(run);
  try {
    metadata.set("__proto__", { polluted: true }).set("kept", 1);
  } catch (error) {
    assert.notEqual(version, "4.5.0", error);
  }
  metadata.set("kept", 1);
  await metadata.flush();
  assert.deepEqual(await stored(run), { kept: 1 });
});

promise("tags.add: one and several, seen by who follows them; too many are refused", async () => {
  const run = await started({ tags: ["first"] });
  enterTask(run);
  await tags.add("one");
  await tags.add(["two:2", "one"]);
  assert.deepEqual((await runs.retrieve(run)).tags, ["first", "one", "two:2"]);
  const following = collect(runs.subscribeToRun(run));
  await following.until((seen) => seen.length === 1 && same(seen[0].tags, ["first", "one", "two:2"]));
  await tags.add(Array.from({ length: 8 }, (_, n) => `many${n}`));
  assert.equal((await runs.retrieve(run)).tags.length, 3, "the SDK says it in its log, and goes on");
});
