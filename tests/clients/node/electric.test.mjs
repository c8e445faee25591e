// ShapeStream and Shape, without the SDK around them.

import assert from "node:assert/strict";
import { promise, requests, say, secret, sleep, together, unique, until, url, worker } from "./stage.mjs";

const version = process.env.ELECTRIC_CLIENT;
const { Shape, ShapeStream } = await import(`electric-${version}`);

const headers = { authorization: `Bearer ${secret}` };
const runFeed = (run) => `${url}/realtime/v1/runs/${run}`;
const tagFeed = `${url}/realtime/v1/runs`;

// A stream, and all that it brings: messages, and how often it was up to date.
function follow(options) {
  const stream = new ShapeStream({ headers, ...options });
  const state = { stream, messages: [], controls: [], errors: [] };
  stream.subscribe(
    (batch) => {
      for (const message of batch) (message.key ? state.messages : state.controls).push(message);
    },
    (error) => state.errors.push(error),
  );
  state.operations = () => state.messages.map(({ headers }) => headers.operation);
  state.until = (holds, what) => until(() => holds(state), what ?? holds, 15);
  return state;
}

const asked = (params) =>
  requests.filter((request) => Object.entries(params).every(([name, value]) => (name === "path" ? request.path.endsWith(value) : request.params.get(name) === value)));

together("a stream", () => {
  promise("of a run: the snapshot in one answer, then its changes, and an idle one asks once", async () => {
    const run = await worker.create({ payload: { a: 1 }, tags: ['a "b"'.replaceAll('"', "'"), "c,d".replace(",", ";")], is_test: true });
    const seen = follow({ url: runFeed(run) });
    await seen.until(({ controls }) => controls.length === 1, "up to date");
    assert.deepEqual(seen.operations(), ["insert"]);
    const { value } = seen.messages[0];
    assert.deepEqual(
      [value.id, value.friendlyId, value.status, value.isTest, value.usageDurationMs, value.costInCents, value.runTags, value.realtimeStreams, value.payload],
      [run, run, "PENDING", true, 0, 0, ["a 'b'", "c;d"], [], '{"a":1}'],
    );
    await sleep(700);
    assert.deepEqual(asked({ path: run }).map(({ params }) => params.get("live")), [null, "true"]);
    await say(run, ["start"], ["set", "step", 1]);
    await seen.until(({ messages }) => messages.some(({ value }) => value.metadata === '{"step":1}'));
    assert.ok(seen.operations().slice(1).every((operation) => operation === "update"), String(seen.operations()));
    assert.ok(!("payload" in seen.messages.at(-1).value), "what did not change is not sent again");
    assert.deepEqual(seen.errors, []);
  });

  promise("goes on from a stored offset and handle with what it missed, and nothing else", async () => {
    const tag = unique("tag");
    const [changed, unchanged] = [await worker.create({ tags: [tag] }), await worker.create({ tags: [tag] })];
    const controller = new AbortController();
    const first = follow({ url: tagFeed, params: { tags: tag }, signal: controller.signal });
    await first.until(({ controls }) => controls.length === 1);
    const { shapeHandle: handle, lastOffset: offset } = first.stream;
    controller.abort();
    await say(changed, ["start"]);
    const fresh = await worker.create({ tags: [tag] });
    const second = follow({ url: tagFeed, params: { tags: tag }, handle, offset });
    await second.until(({ controls, messages }) => controls.length > 0 && messages.length >= 2);
    const keys = new Set(second.messages.map(({ value }) => value.id));
    assert.deepEqual([keys.has(changed), keys.has(fresh), keys.has(unchanged)], [true, true, false]);
    assert.deepEqual([first.errors, second.errors], [[], []]);
  });

  promise("with a handle that nobody knows recovers by one 409", async () => {
    const run = await worker.create({});
    const seen = follow({ url: runFeed(run), handle: "forgotten", offset: "12_0" });
    await seen.until(({ messages }) => messages.length === 1);
    await say(run, ["start"]);
    await seen.until(({ messages }) => messages.at(-1).value.status === "EXECUTING");
    assert.deepEqual(asked({ path: run }).filter(({ status }) => status === 409).length, 1);
    assert.deepEqual(seen.errors, []);
  });

  promise("whose handle is refused while it waits begins anew, once, without an error", async () => {
    const run = await worker.create({});
    let spoil = false;
    const seen = follow({
      url: runFeed(run),
      fetchClient: (input, init) => {
        const target = new URL(input);
        if (spoil && target.searchParams.get("live")) {
          spoil = false;
          target.searchParams.set("handle", "spoilt");
        }
        return fetch(target, init);
      },
    });
    await seen.until(({ controls }) => controls.length === 1);
    spoil = true;
    await say(run, ["start"]);
    await until(() => !spoil, "a request to spoil");
    await seen.until(({ controls }) => controls.some(({ headers }) => headers.control === "must-refetch"));
    await seen.until(({ operations }) => operations().filter((operation) => operation === "insert").length === 2);
    await say(run, ["complete"]);
    await seen.until(({ messages }) => messages.at(-1).value.status === "COMPLETED_SUCCESSFULLY");
    assert.equal(asked({ path: run }).filter(({ status }) => status === 409).length, 1);
    assert.deepEqual(seen.errors, []);
  });

  promise("that is refused reports it once, and asks no more", async () => {
    const run = await worker.create({});
    for (const [authorization, path, status] of [
      ["Bearer nobody", run, 401],
      [headers.authorization, unique("run_unknown"), 404],
    ]) {
      const reported = [];
      const seen = follow({ url: runFeed(path), headers: { authorization }, onError: (error) => void reported.push(error) });
      await seen.until(() => reported.length === 1, "a report");
      await sleep(500);
      assert.deepEqual([reported[0].status, reported.length, typeof reported[0].json.error], [status, 1, "string"]);
      assert.deepEqual(asked({ path }).map(({ status }) => status), [status]);
    }
  });

  promise("knows parameters that are none of ours", async () => {
    const run = await worker.create({});
    const seen = follow({ url: runFeed(run), params: { table: "TaskRun", where: "id = $1", columns: ["id", "status"], replica: "full", other: "x" } });
    await seen.until(({ messages }) => messages.length === 1);
    assert.deepEqual(seen.errors, []);
  });
});

together("a shape", () => {
  promise("shows the merged rows of a tag, two of the same URL as well", async () => {
    const tag = unique("tag");
    const [one, two] = [await worker.create({ tags: [tag], payload: 1 }), await worker.create({ tags: [tag], payload: 2 })];
    const open = () => new Shape(new ShapeStream({ url: tagFeed, params: { tags: tag }, headers }));
    const first = open();
    assert.equal((await first.rows).length, 2);
    const second = open();
    assert.equal((await second.rows).length, 2, "the second one is up to date, too");
    await say(one, ["start"], ["set", "step", 1]);
    const three = await worker.create({ tags: [tag], payload: 3 });
    const rows = (shape) => new Map(shape.currentRows.map((row) => [row.id, row]));
    for (const shape of [first, second]) {
      await until(() => rows(shape).has(three) && rows(shape).get(one)?.metadata === '{"step":1}', "the changes");
      assert.deepEqual([rows(shape).get(one).status, rows(shape).get(one).payload, rows(shape).get(two).payload], ["EXECUTING", "1", "2"]);
      assert.equal(shape.error, false);
    }
  });

  promise("shows a batch, and a run without its skipped columns", async () => {
    const batch = unique("batch");
    const run = await worker.create({ batch, payload: "skipped" });
    const whole = new Shape(new ShapeStream({ url: `${url}/realtime/v1/batches/${batch}`, headers }));
    assert.deepEqual((await whole.rows).map(({ id, payload }) => [id, payload]), [[run, '"skipped"']]);
    const less = new Shape(new ShapeStream({ url: runFeed(run), params: { skipColumns: "payload,id,updatedAt" }, headers }));
    const [row] = await less.rows;
    assert.deepEqual([row.id, "payload" in row, "updatedAt" in row], [run, false, true]);
    await say(run, ["start"], ["complete", { ok: true }]);
    await until(() => less.currentRows[0].output === '{"ok":true}' && whole.currentRows[0].completedAt, "the end");
  });
});

if (version !== "1.0.14") {
  // 1.0.14 cannot do it in Node: a library of its needs a browser.
  promise("server-sent events bring the changes over one connection", async () => {
    const run = await worker.create({});
    const seen = follow({ url: runFeed(run), liveSse: true });
    await seen.until(({ controls }) => controls.length === 1);
    await until(() => asked({ path: run, live_sse: "true" }).some(({ status }) => status === 200), "an open connection");
    for (const step of [1, 2, 3]) {
      await say(run, ["set", "step", step]);
      await seen.until(({ messages }) => messages.some(({ value }) => value.metadata === `{"step":${step}}`), `step ${step}`);
    }
    await say(run, ["start"], ["complete"]);
    await seen.until(({ messages }) => messages.at(-1).value.status === "COMPLETED_SUCCESSFULLY");
    assert.equal(asked({ path: run, live: "true" }).length, 1, "one connection for all");
    assert.deepEqual(seen.errors, []);
  });

  promise("from now on: no history, then what changes", async () => {
    const tag = unique("tag");
    await worker.create({ tags: [tag] });
    const seen = follow({ url: tagFeed, params: { tags: tag }, offset: "now" });
    await seen.until(({ controls }) => controls.length === 1);
    assert.deepEqual(seen.messages, []);
    const fresh = await worker.create({ tags: [tag] });
    await seen.until(({ messages }) => messages.length === 1);
    assert.equal(seen.messages[0].value.id, fresh);
  });
}
