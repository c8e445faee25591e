// The calls about runs that answer once: retrieve, list, poll, cancel, batches; and what does not exist here yet.

import assert from "node:assert/strict";
import { batch, configure, runs, sessions, tasks, wait } from "./sdk.mjs";
import { collect, promise, requests, say, secret, together, unique, url, worker } from "./stage.mjs";

configure({ baseURL: url, accessToken: secret });

const ids = (page) => page.data.map(({ id }) => id);

async function all(iterable) {
  const found = [];
  for await (const item of iterable) found.push(item.id);
  return found;
}

together("one run", () => {
  promise("retrieve: all of a run that has completed, and of those it belongs to", async () => {
    const root = await worker.create({ task: "root" });
    const parent = await worker.create({ task: "parent", parent: root, root });
    const run = await worker.create({
      task: "child",
      parent,
      root,
      payload: { n: 1 },
      tags: ["a", "b"],
      metadata: { m: [1] },
      ttl: "10m",
      idempotency_key: unique("key"),
      is_test: true,
    });
    await say(run, ["start"], ["complete", { ok: true }]);
    const found = await runs.retrieve(run);
    assert.deepEqual(
      [found.id, found.taskIdentifier, found.status, found.payload, found.output, found.metadata, found.tags, found.isTest],
      [run, "child", "COMPLETED", { n: 1 }, { ok: true }, { m: [1] }, ["a", "b"], true],
    );
    assert.deepEqual([found.isCompleted, found.isSuccess, found.isFailed, found.isQueued], [true, true, false, false]);
    assert.ok(found.finishedAt >= found.startedAt && found.startedAt >= found.createdAt);
    assert.deepEqual([found.relatedRuns.parent.id, found.relatedRuns.root.id], [parent, root]);
  });

  promise("retrieve: a run in each status", async () => {
    const lives = [
      [[], "QUEUED", "isQueued"],
      [[["status", "DEQUEUED"]], "DEQUEUED", "isExecuting"],
      [[["start"]], "EXECUTING", "isExecuting"],
      [[["start"], ["wait"]], "WAITING", "isWaiting"],
      [[["start"], ["fail", "it broke"]], "FAILED", "isFailed"],
      [[["start"], ["cancel"]], "CANCELED", "isCancelled"],
      [[["start"], ["crash", "gone"]], "CRASHED", "isFailed"],
      [[["status", "SYSTEM_FAILURE"]], "SYSTEM_FAILURE", "isFailed"],
      [[["expire"]], "EXPIRED", "isFailed"],
      [[["start"], ["time_out"]], "TIMED_OUT", "isFailed"],
    ];
    for (const [calls, status, flag] of lives) {
      const run = await worker.create({});
      await say(run, ...calls);
      const found = await runs.retrieve(run);
      assert.deepEqual([found.status, found[flag]], [status, true]);
      if (status === "FAILED") assert.equal(found.error.message, "it broke");
    }
    for (const status of ["DELAYED", "PENDING_VERSION"]) {
      const found = await runs.retrieve(await worker.create({ status }));
      assert.deepEqual([found.status, found.isQueued], [status, true]);
    }
  });

  promise("poll: waits for the end", async () => {
    const run = await worker.create({});
    const polling = runs.poll(run, { pollIntervalMs: 50 });
    await say(run, ["start"], ["complete", "polled"]);
    assert.equal((await polling).output, "polled");
  });

  promise("cancel: the worker hears it, and stops", async () => {
    const run = await worker.create({});
    await say(run, ["start"]);
    const stopping = worker.be_cancelled({ run, timeout: 10 });
    const following = collect(runs.subscribeToRun(run));
    assert.deepEqual(await runs.cancel(run), { id: run });
    await stopping;
    const seen = await following.until((all) => all.at(-1)?.finishedAt);
    assert.deepEqual([seen.status, seen.isCancelled], ["CANCELED", true]);
    assert.deepEqual(await runs.cancel(run), { id: run }, "once more does no harm");
  });

  promise("cancel: asked before the run was begun, heard when it is", async () => {
    const run = await worker.create({});
    await runs.cancel(run);
    await say(run, ["start"]);
    await worker.be_cancelled({ run, timeout: 10 });
    assert.equal((await runs.poll(run, { pollIntervalMs: 50 })).status, "CANCELED");
  });
});

together("lists", () => {
  promise("list: pages forwards and backwards, newest first, each run once", async () => {
    const task = unique("task");
    const made = (await worker.create_many({ count: 25, task })).reverse();
    const only = { taskIdentifier: task, limit: 10 };
    assert.deepEqual(await all(runs.list(only)), made);
    const first = await runs.list(only);
    assert.deepEqual([ids(first), first.hasNextPage(), first.hasPreviousPage()], [made.slice(0, 10), true, false]);
    const second = await first.getNextPage();
    const third = await second.getNextPage();
    assert.deepEqual([ids(third), third.hasNextPage(), third.hasPreviousPage()], [made.slice(20), false, true]);
    const back = await third.getPreviousPage();
    assert.deepEqual(ids(back), made.slice(10, 20));
    assert.deepEqual(ids(await back.getPreviousPage()), made.slice(0, 10));
    assert.deepEqual(ids(await back.getNextPage()), made.slice(20), "and forwards again");
  });

  promise("list: filters, each alone and together", async () => {
    const [task, tag, other, name] = [unique("task"), unique("tag"), unique("other"), unique("batch")];
    const plain = await worker.create({ task, tags: [tag] });
    const tested = await worker.create({ task, tags: [other], is_test: true });
    const batched = await worker.create({ task, batch: name });
    const failed = await worker.create({ task });
    await say(failed, ["start"], ["fail", "x"]);
    await say(batched, ["start"]);
    const sorted = async (filter) => (await all(runs.list({ taskIdentifier: task, ...filter }))).sort();
    const expect = async (filter, ...expected) => assert.deepEqual(await sorted(filter), expected.sort(), JSON.stringify(filter));
    await expect({}, plain, tested, batched, failed);
    await expect({ status: "FAILED" }, failed);
    await expect({ status: ["QUEUED", "EXECUTING"] }, plain, tested, batched);
    await expect({ tag }, plain);
    await expect({ tag: [tag, other] }, plain, tested);
    await expect({ isTest: true }, tested);
    await expect({ isTest: false }, plain, batched, failed);
    await expect({ batch: name }, batched);
    await expect({ taskIdentifier: [task, "nothing"] }, plain, tested, batched, failed);
    await expect({ period: "1d" }, plain, tested, batched, failed);
    await expect({ from: new Date(Date.now() - 60_000), to: new Date(Date.now() + 60_000) }, plain, tested, batched, failed);
    await expect({ from: new Date(Date.now() + 60_000) });
    await expect({ tag, status: "FAILED" });
    await assert.rejects(sorted({ version: "v1" }), { status: 400 }, "runs have no versions here: said, not ignored");
  });

  promise("list: of a project, whatever it is called: a gateway serves one", async () => {
    const task = unique("task");
    const run = await worker.create({ task });
    const found = await runs.list("proj_any", { taskIdentifier: task });
    assert.deepEqual(ids(found), [run]);
    assert.ok(found.data[0].env.id && found.data[0].env.name);
  });

  promise("batch.retrieve: what became of its runs", async () => {
    const name = unique("batch");
    const made = await worker.create_many({ count: 3, batch: name });
    const open = await batch.retrieve(name);
    assert.deepEqual([open.id, open.runCount, [...open.runs].sort()], [name, 3, [...made].sort()]);
    assert.ok(["PENDING", "PROCESSING"].includes(open.status), open.status);
    for (const run of made) await say(run, ["start"], ["complete"]);
    assert.equal((await batch.retrieve(name)).status, "COMPLETED");
  });
});

// One after the other: each counts its requests.
for (const [name, ask] of [
  ["tasks.trigger", () => tasks.trigger("resize", { width: 1 })],
  ["tasks.batchTrigger", () => tasks.batchTrigger("resize", [{ payload: 1 }])],
  ["batch.trigger", () => batch.trigger([{ id: "resize", payload: 1 }])],
  ["wait.createToken", () => wait.createToken({ timeout: "1h" })],
  ["wait.retrieveToken", () => wait.retrieveToken("waitpoint_1")],
  ["wait.completeToken", () => wait.completeToken("waitpoint_1", {})],
  ["sessions.start", () => sessions.start({ type: "chat", taskIdentifier: "chat", triggerConfig: { basePayload: {} } })],
  ["runs.replay", () => runs.replay("run_1")],
  ["runs.reschedule", () => runs.reschedule("run_1", { delay: "1h" })],
]) {
  promise(`${name}: not here yet, said at once and once`, async () => {
    const before = requests.length;
    const error = await ask().then(
      () => assert.fail("it was answered"),
      (error) => error,
    );
    const cause = error.cause ?? error;
    assert.equal(cause.status, 501, `${error.stack}`);
    assert.match(cause.message, /not .*(yet|here|offer|support|implement)/i);
    assert.equal(requests.length - before, 1);
  });
}
