// What goes on behind a proxy while the gateways are replaced, one after the other.

import assert from "node:assert/strict";
import { asked, collect, promise, requests, secret, sleep, stage, unique, url, worker } from "./stage.mjs";

process.env.TRIGGER_API_URL = url;
process.env.TRIGGER_SECRET_KEY = secret;
const { sdk } = await import("./task.mjs");
const { runs, streams } = sdk;

const RUNS = 12;
const SECONDS = { seconds: 20 };
const numbers = (count) => Array.from({ length: count }, (_, n) => n);
const stepsOf = (seen, id) => seen.filter((run) => run.id === id).map(({ metadata }) => metadata?.step ?? -1);
const isInOrder = (steps) => steps.every((step, at) => at === 0 || step >= steps[at - 1]);

promise("gateways are replaced: nothing is lost, nobody is refused, and nobody asks more than he has to", async () => {
  const [tag, batch] = [unique("tag"), unique("batch")];
  const made = await worker.create_many({ count: RUNS, tags: [tag], batch, payload: { kept: true } });
  const subscriptions = [...made.map((id) => runs.subscribeToRun(id)), runs.subscribeToRunsWithTag(tag), runs.subscribeToBatch(batch)];
  const feeds = subscriptions.map((subscription) => collect(subscription));
  await Promise.all(feeds.map((feed) => feed.until((seen) => seen.length > 0)));
  const reading = collect(await streams.read(made[0], "python"));

  let working = true;
  let count = 0;
  const piped = (async function* () {
    for (let n = 0; working; n++) {
      yield n;
      await sleep(20);
    }
  })();
  const writing = streams.pipe("javascript", piped, { target: made[0] });
  const work = (async () => {
    while (working) {
      await worker.set_everywhere({ runs: made, key: "step", value: count });
      await worker.write({ run: made[0], key: "python", values: [count] });
      count += 1;
      await sleep(50);
    }
  })();
  await stage.replace_gateway({ number: 0 });
  await stage.replace_gateway({ number: 1 });
  working = false;
  await work;
  await writing.waitUntilComplete();
  for (const [at, feed] of feeds.entries()) {
    const shown = at < RUNS ? [made[at]] : made;
    const arrived = (seen) => shown.every((id) => stepsOf(seen, id).at(-1) === count - 1);
    await feed.until(arrived, { ...SECONDS, what: `step ${count - 1} on feed ${at}` });
    for (const id of shown) assert.ok(isInOrder(stepsOf(feed.seen, id)), `feed ${at}: ${stepsOf(feed.seen, id)}`);
    assert.equal(feed.error, undefined);
  }

  // Now nothing happens: a gateway that stops answers the polls that it holds, and the other one is asked.
  await sleep(300);
  const before = asked("/realtime/v1/runs").length + asked("/realtime/v1/batches").length;
  await stage.replace_gateway({ number: 1 });
  await sleep(300);
  const after = asked("/realtime/v1/runs").length + asked("/realtime/v1/batches").length;
  assert.ok(after - before <= 2 * feeds.length, `${after - before} requests of ${feeds.length} feeds`);
  const refused = asked("/realtime/v1/").filter(({ path, status }) => !path.includes("/streams/") && status !== undefined && status !== 200);
  assert.deepEqual(refused, []);

  await worker.say({ run: made[0], calls: [["complete", "done"]] });
  await feeds[0].until((seen) => seen.at(-1).output === "done", SECONDS);
  assert.deepEqual(feeds[0].seen.at(-1).payload, { kept: true });
  assert.deepEqual(await reading.end(20), numbers(count));
  const written = await collect(await streams.read(made[0], "javascript")).end(20);
  assert.deepEqual(written, numbers(written.length));
  assert.ok(written.length > 50, `${written.length} were written`);
  subscriptions.forEach((subscription) => subscription.unsubscribe());
  console.log(`${requests.length} requests, ${after - before} of them while nothing happened`);
});
