// runs.subscribeToRun, subscribeToRunsWithTag and subscribeToBatch, while a Python worker publishes.

import assert from "node:assert/strict";
import { configure, endsWithTheRun, runs } from "./sdk.mjs";
import { asked, collect, promise, same, say, secret, sleep, together, unique, until, url, worker } from "./stage.mjs";

configure({ baseURL: url, accessToken: secret });

const last = (seen) => seen.at(-1);
const statuses = (seen) => seen.map(({ status }) => status).filter((status, at, all) => status !== all[at - 1]);
const byId = (seen) => new Map(seen.map((run) => [run.id, run]));

together("a run", () => {
  promise("comes as it is, with each change, and ends", async () => {
    const run = await worker.create({
      task: "export",
      tags: ["customer:7", "quoted'tag"],
      payload: { rows: [1, "zwei", null] },
      metadata: { step: 0 },
      is_test: true,
    });
    const subscription = runs.subscribeToRun(run);
    const following = collect(subscription);
    const begin = await following.until((seen) => seen.length === 1);
    assert.equal(begin.id, run);
    assert.deepEqual(
      pick(begin, "taskIdentifier", "status", "isQueued", "isTest", "payload", "metadata", "output", "tags"),
      {
        taskIdentifier: "export",
        status: "QUEUED",
        isQueued: true,
        isTest: true,
        payload: { rows: [1, "zwei", null] },
        metadata: { step: 0 },
        output: undefined,
        tags: ["customer:7", "quoted'tag"],
      },
    );
    assert.ok(Math.abs(begin.createdAt - Date.now()) < 60_000, String(begin.createdAt));
    assert.deepEqual([begin.durationMs, begin.costInCents, begin.realtimeStreams], [0, 0, []]);

    await say(run, ["start"]);
    const started = await following.until((seen) => last(seen).status === "EXECUTING");
    assert.ok(started.startedAt instanceof Date && started.isExecuting);
    await say(run, ["set", "step", 1], ["set", "deep", { list: [{ ünïcode: "✓" }] }]);
    const told = await following.until((seen) => last(seen).metadata.step === 1 && last(seen).metadata.deep);
    assert.deepEqual(told.metadata, { step: 1, deep: { list: [{ ünïcode: "✓" }] } });
    assert.deepEqual(told.payload, { rows: [1, "zwei", null] }, "what did not change stays");
    await say(run, ["delete", "deep"], ["add_tags", "late"]);
    await following.until((seen) => same(last(seen).tags, ["customer:7", "quoted'tag", "late"]) && !last(seen).metadata.deep);
    await say(run, ["complete", { rows: 3 }]);
    const end = await following.until((seen) => last(seen).finishedAt);
    assert.deepEqual(
      pick(end, "status", "isCompleted", "isSuccess", "isFailed", "output", "error"),
      { status: "COMPLETED", isCompleted: true, isSuccess: true, isFailed: false, output: { rows: 3 }, error: undefined },
    );
    assert.deepEqual(statuses(following.seen), ["QUEUED", "EXECUTING", "COMPLETED"]);

    const polls = asked(run).length;
    if (endsWithTheRun) {
      await following.end(5);
      await sleep(500);
      assert.ok(asked(run).length <= polls + 1, "but for the poll that was on its way it asks for nothing after the end");
    } else {
      await sleep(3000);
      assert.ok(!following.ended, "this version leaves it open");
      assert.ok(asked(run).length <= polls + 1, "and its poll is held");
      subscription.unsubscribe();
    }
  });

  promise("that has ended before comes once", async () => {
    const run = await worker.create({});
    await say(run, ["start"], ["fail", "no space left"]);
    const subscription = runs.subscribeToRun(run);
    const following = collect(subscription);
    const [seen] = [await following.until((all) => all.length === 1)];
    assert.deepEqual([seen.status, seen.isFailed, seen.error.message], ["FAILED", true, "no space left"]);
    if (endsWithTheRun) {
      await following.end(5);
      assert.equal(asked(run).length, 1);
    } else {
      await sleep(2500);
      assert.ok(asked(run).length <= 2, `${asked(run).length} requests`);
      subscription.unsubscribe();
    }
    assert.equal(following.seen.length, 1);
  });

  for (const [call, status, flag] of [
    [["cancel", "no longer needed"], "CANCELED", "isCancelled"],
    [["crash", "out of memory"], "CRASHED", "isFailed"],
    [["time_out"], "TIMED_OUT", "isFailed"],
    [["expire"], "EXPIRED", "isFailed"],
    [["status", "SYSTEM_FAILURE"], "SYSTEM_FAILURE", "isFailed"],
  ]) {
    promise(`that ends as ${status} says so, and that it has finished`, async () => {
      const run = await worker.create({});
      const subscription = runs.subscribeToRun(run);
      const following = collect(subscription);
      await following.until((seen) => seen.length === 1);
      await say(run, ...(status === "EXPIRED" ? [] : [["start"]]), call);
      const seen = await following.until((all) => last(all).finishedAt);
      assert.deepEqual([seen.status, seen[flag]], [status, true]);
      if (endsWithTheRun) await following.end(5);
      else subscription.unsubscribe();
    });
  }

  promise("shows every status on its way, in order, however fast they come", async () => {
    const run = await worker.create({});
    const subscription = runs.subscribeToRun(run);
    const following = collect(subscription);
    await following.until((seen) => seen.length === 1);
    const way = ["DEQUEUED", "EXECUTING", "WAITING", "EXECUTING", "WAITING", "EXECUTING", "COMPLETED"];
    await worker.live({ run, statuses: way });
    await following.until((seen) => last(seen).finishedAt);
    assert.deepEqual(statuses(following.seen), ["QUEUED", ...way]);
    subscription.unsubscribe();
  });

  promise("is visible as soon as it was created", async () => {
    for (let n = 0; n < 20; n++) {
      const run = await worker.create({});
      const following = collect(runs.subscribeToRun(run));
      await following.until((seen) => seen.length === 1);
    }
  });

  promise("is told to two who follow it, one of whom leaves", async () => {
    const run = await worker.create({});
    const [one, two] = [runs.subscribeToRun(run), runs.subscribeToRun(run)];
    const [first, second] = [collect(one), collect(two)];
    await Promise.all([first, second].map((each) => each.until((seen) => seen.length === 1)));
    await say(run, ["start"]);
    await Promise.all([first, second].map((each) => each.until((seen) => last(seen).status === "EXECUTING")));
    one.unsubscribe();
    await say(run, ["set", "after", 1], ["complete", "done"]);
    await second.until((seen) => last(seen).output === "done");
    assert.notEqual(last(first.seen).output, "done");
    two.unsubscribe();
  });

  promise("without its skipped columns is a whole run all the same", async () => {
    const run = await worker.create({ payload: { large: "x".repeat(1000) }, tags: ["a"] });
    const subscription = runs.subscribeToRun(run, { skipColumns: ["payload", "output", "costInCents", "runTags", "ttl"] });
    const following = collect(subscription);
    const seen = await following.until((all) => all.length === 1);
    assert.deepEqual([seen.payload, seen.tags, seen.status], [undefined, [], "QUEUED"]);
    await say(run, ["start"], ["complete", "left out"]);
    const end = await following.until((all) => last(all).finishedAt);
    assert.deepEqual([end.status, end.output], ["COMPLETED", undefined]);
    subscription.unsubscribe();
  });

  promise("with stopOnCompletion off goes on after its end: a new attempt is seen", async () => {
    const run = await worker.create({});
    const subscription = runs.subscribeToRun(run, { stopOnCompletion: false });
    const following = collect(subscription);
    await following.until((seen) => seen.length === 1);
    await say(run, ["start"], ["fail", "once"]);
    await following.until((seen) => last(seen).status === "FAILED");
    await say(run, ["start", { by_name: { attempt: 2 } }]);
    const again = await following.until((seen) => last(seen).status === "EXECUTING" && seen.some((one) => one.finishedAt));
    assert.deepEqual([again.finishedAt, again.error], [undefined, undefined]);
    subscription.unsubscribe();
    await until(() => following.ended, "the end of a subscription that was left");
  });
});

together("runs of a tag", () => {
  promise("those that carry all of the tags come, new ones and changes of both, and it does not end", async () => {
    const [a, b] = [unique("a"), unique("b:c")];
    const old = await worker.create({ tags: [a, b] });
    const half = await worker.create({ tags: [a] });
    const subscription = runs.subscribeToRunsWithTag([a, b]);
    const following = collect(subscription);
    await following.until((seen) => seen.length === 1);
    const fresh = await worker.create({ tags: [b, a, "more"], payload: [1] });
    const seen = await following.until((all) => last(all).id === fresh);
    assert.deepEqual(seen.payload, [1]);
    await say(old, ["start"], ["complete"]);
    await say(fresh, ["start"]);
    await following.until((all) => byId(all).get(old).status === "COMPLETED" && byId(all).get(fresh).status === "EXECUTING");
    assert.ok(!byId(following.seen).has(half));
    assert.ok(!following.ended);
    subscription.unsubscribe();
  });

  promise("a run that is given the tag later comes whole, and its changes after it", async () => {
    const tag = unique("late");
    const run = await worker.create({ payload: { whole: true }, tags: ["something"] });
    await say(run, ["start"], ["set", "step", 1]);
    const subscription = runs.subscribeToRunsWithTag(tag);
    const following = collect(subscription);
    await until(() => asked("/realtime/v1/runs").some(({ params, status }) => params.get("tags") === tag && status), "its first answer");
    await say(run, ["add_tags", tag]);
    const seen = await following.until((all) => all.length === 1);
    assert.deepEqual([seen.payload, seen.status, seen.metadata, seen.tags], [{ whole: true }, "EXECUTING", { step: 1 }, ["something", tag]]);
    await say(run, ["set", "step", 2]);
    await following.until((all) => last(all).metadata.step === 2);
    assert.deepEqual(last(following.seen).payload, { whole: true });
    subscription.unsubscribe();
  });

  promise("a window and skipped columns are asked for with each request, and heeded", async () => {
    const tag = unique("window");
    const run = await worker.create({ tags: [tag], payload: "not told" });
    const subscription = runs.subscribeToRunsWithTag(tag, { createdAt: "1h", skipColumns: ["payload"] });
    const following = collect(subscription);
    await following.until((seen) => seen.length === 1);
    await say(run, ["start"]);
    const seen = await following.until((all) => last(all).status === "EXECUTING");
    assert.deepEqual([seen.payload, seen.tags], [undefined, [tag]]);
    const ours = asked("/realtime/v1/runs").filter(({ params }) => params.get("tags") === tag);
    assert.deepEqual([...new Set(ours.map(({ params }) => `${params.get("createdAt")} ${params.get("skipColumns")}`))], ["1h payload"]);
    subscription.unsubscribe();
  });
});

together("a batch", () => {
  promise("its runs come, later ones too, with their changes", async () => {
    const batch = unique("batch");
    const one = await worker.create({ batch });
    const subscription = runs.subscribeToBatch(batch);
    const following = collect(subscription);
    await following.until((seen) => seen.length === 1);
    const two = await worker.create({ batch, tags: ["x"] });
    await worker.create({});
    await following.until((seen) => byId(seen).has(two));
    await say(one, ["start"], ["complete", 1]);
    await say(two, ["start"], ["fail", "broken"]);
    await following.until((seen) => byId(seen).get(one).output === 1 && byId(seen).get(two).error?.message === "broken");
    assert.equal(byId(following.seen).size, 2);
    subscription.unsubscribe();
  });
});

function pick(object, ...names) {
  return Object.fromEntries(names.map((name) => [name, object[name]]));
}
