// Many changes, and many runs.

import assert from "node:assert/strict";
import { configure, runs } from "./sdk.mjs";
import { collect, promise, secret, unique, url, worker } from "./stage.mjs";

configure({ baseURL: url, accessToken: secret });

promise("4,000 updates of a run: none out of order, and the last one is seen", manyUpdates);
promise("a thousand runs of a tag: all of them at once, then the changes of each", manyRuns);

async function manyUpdates() {
  const tag = unique("many");
  const run = await worker.create({ tags: [tag], payload: "x".repeat(10_000) });
  const [one, tagged] = [runs.subscribeToRun(run), runs.subscribeToRunsWithTag(tag)];
  const followings = [collect(one), collect(tagged)];
  await Promise.all(followings.map((following) => following.until((seen) => seen.length === 1)));
  await worker.count_up({ run, key: "n", count: 4000 });
  for (const following of followings) {
    const last = await following.until((seen) => seen.at(-1).metadata?.n === 4000, { seconds: 30 });
    assert.equal(last.payload.length, 10_000);
    const seen = following.seen.map(({ metadata }) => metadata?.n ?? 0);
    assert.ok(seen.every((n, at) => at === 0 || n > seen[at - 1]), `in order, and none twice: ${seen.slice(0, 50)}…`);
    assert.ok(seen.length > 2, `${seen.length} of them were seen`);
  }
  one.unsubscribe();
  tagged.unsubscribe();
}

async function manyRuns() {
  const tag = unique("crowd");
  const made = await worker.create_many({ count: 1000, tags: [tag], payload: { text: "y".repeat(500) } });
  const subscription = runs.subscribeToRunsWithTag(tag);
  const following = collect(subscription);
  const newest = () => new Map(following.seen.map((run) => [run.id, run]));
  await following.until((seen) => seen.length === 1000);
  assert.deepEqual([...newest().keys()].sort(), [...made].sort());
  await worker.set_everywhere({ runs: made, key: "step", value: 1 });
  await following.until((seen) => seen.length >= 2000 && [...newest().values()].every(({ metadata }) => metadata?.step === 1));
  assert.ok([...newest().values()].every(({ payload }) => payload.text.length === 500));
  const late = await worker.create({ tags: [tag] });
  await following.until((seen) => seen.at(-1).id === late);
  assert.equal(following.seen.length, 2001, "each change once");
  subscription.unsubscribe();
}
