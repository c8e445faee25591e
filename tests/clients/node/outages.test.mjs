// What goes on when connections are cut, the gateway goes and comes back, and Redis does.

import assert from "node:assert/strict";
import { Shape, ShapeStream } from "electric-1.5.28";
import { asked, collect, promise, say, secret, sleep, stage, unique, until, worker } from "./stage.mjs";

const way = await stage.open_proxy();
process.env.TRIGGER_API_URL = way.url;
const { sdk } = await import("./task.mjs");
const { runs, streams } = sdk;

const numbers = (count) => Array.from({ length: count }, (_, n) => n);
const SECONDS = { seconds: 20 };

// Everything that can be open at once, about a run of its own.
async function open() {
  const [tag, batch] = [unique("tag"), unique("batch")];
  const run = await worker.create({ tags: [tag], batch, payload: { kept: true } });
  await say(run, ["start"], ["set", "step", 0]);
  const subscriptions = [runs.subscribeToRun(run), runs.subscribeToRunsWithTag(tag), runs.subscribeToBatch(batch)];
  const feeds = subscriptions.map((subscription) => collect(subscription));
  const shapeStream = new ShapeStream({ url: `${way.url}/realtime/v1/runs/${run}`, headers: { authorization: `Bearer ${secret}` } });
  const shape = new Shape(shapeStream);
  await shape.rows;
  await worker.write({ run, key: "python", values: [0] });
  const reading = collect(await streams.read(run, "python"));
  await reading.until((seen) => seen.length === 1);

  let stop;
  const stopped = new Promise((resolve) => (stop = resolve));
  let count = 0;
  const writing = streams.pipe(
    "javascript",
    (async function* () {
      while (count < 20 || !(await Promise.race([stopped, sleep(5)]))) yield count++;
    })(),
    { target: run },
  );
  // Its creation is a short call, which gives up after some attempts; what it writes then is sent again for as long as it takes.
  await until(() => asked(`/streams/${run}/self/javascript`).some(({ status }) => status === 202), "the stream that is written");
  const steps = (step) =>
    Promise.all([
      ...feeds.map((feed, at) =>
        feed.until((seen) => seen.some(({ id, metadata }) => id === run && metadata.step === step), { ...SECONDS, what: `step ${step} on feed ${at}` }),
      ),
      until(() => JSON.parse(shape.currentRows[0]?.metadata ?? "{}").step === step, `step ${step} on the shape`, 20),
    ]);
  await steps(0);

  // Nothing is missing, nothing twice, and all of it ends.
  async function finish() {
    stop(true);
    await writing.waitUntilComplete();
    await say(run, ["set", "step", "last"], ["complete", "done"]);
    await steps("last");
    for (const feed of feeds) {
      const last = await feed.until((seen) => seen.at(-1).output === "done", SECONDS);
      assert.deepEqual([last.status, last.payload], ["COMPLETED", { kept: true }]);
      assert.equal(feed.error, undefined);
    }
    const javascript = collect(await streams.read(run, "javascript"));
    const [written] = await Promise.all([javascript.end(20), reading.end(20)]);
    assert.deepEqual(written, numbers(count));
    subscriptions.forEach((subscription) => subscription.unsubscribe());
    shape.unsubscribeAll();
  }
  return { run, tag, batch, feeds, reading, steps, finish };
}

promise("connections are cut, again and again", async () => {
  const { run, reading, steps, finish } = await open();
  for (const round of [1, 2, 3]) {
    await stage.cut_proxy({ number: way.number });
    await say(run, ["set", "step", round]);
    await worker.write({ run, key: "python", values: [round] });
    if (round === 2) await stage.cut_proxy({ number: way.number });
    await steps(round);
    await reading.until((seen) => seen.length === round + 1, SECONDS);
  }
  await finish();
  assert.deepEqual(reading.seen, [0, 1, 2, 3]);
});

for (const [how, go] of [
  ["is killed", () => stage.kill_gateway()],
  ["is stopped, and drains", () => stage.stop_gateway()],
]) {
  promise(`the gateway ${how}, and another starts: what happened in between is not missed`, async () => {
    const { run, tag, batch, feeds, reading, steps, finish } = await open();
    await go();
    await say(run, ["set", "step", 1]);
    await worker.write({ run, key: "python", values: [1] });
    const fresh = await worker.create({ tags: [tag], batch });
    await stage.start_gateway();
    await steps(1);
    for (const feed of feeds.slice(1)) await feed.until((seen) => seen.some(({ id }) => id === fresh), SECONDS);
    await worker.write({ run, key: "python", values: [2] });
    await say(run, ["set", "step", 2]);
    await steps(2);
    await finish();
    assert.deepEqual(reading.seen, [0, 1, 2]);
  });
}

promise("Redis goes and comes back with all that it had", async () => {
  const { run, reading, steps, finish } = await open();
  await stage.stop_redis({ kill: true });
  await sleep(500);
  await stage.start_redis();
  await until(async () => (await say(run, ["set", "step", 1])) && (await sdk.runs.retrieve(run)).metadata.step === 1, "the worker's way back");
  await worker.write({ run, key: "python", values: [1] });
  await steps(1);
  await reading.until((seen) => seen.length === 2, SECONDS);
  await finish();
  assert.deepEqual(reading.seen, [0, 1]);
});

promise("Redis comes back empty: a tag's subscription goes on with what comes now", async () => {
  const tag = unique("tag");
  await worker.create({ tags: [tag] });
  const subscription = runs.subscribeToRunsWithTag(tag);
  const following = collect(subscription);
  await following.until((seen) => seen.length === 1);
  await stage.stop_redis();
  await stage.start_redis({ empty: true });
  const fresh = await until(() => worker.create({ tags: [tag] }).catch(() => undefined), "a new run");
  await following.until((seen) => seen.some(({ id }) => id === fresh), SECONDS);
  await say(fresh, ["start"]);
  await following.until((seen) => seen.at(-1).status === "EXECUTING", SECONDS);
  subscription.unsubscribe();
});
