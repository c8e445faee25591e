// Streams: written by the code of a task and by a Python worker, read by whoever may see the run; and what is sent in.

import assert from "node:assert/strict";
import { asked, collect, promise, requests, same, say, sleep, streamOf, together, until, worker } from "./stage.mjs";
import { enterTask, sdk } from "./task.mjs";

const { auth, metadata, publicToken, runs, streams, version } = sdk;

const numbers = (count, from = 0) => Array.from({ length: count }, (_, n) => from + n);

async function started(options = {}) {
  const run = await worker.create(options);
  await say(run, ["start"]);
  return run;
}

// All of a stream whose run has ended, or of the first `count` chunks.
async function read(run, key, options) {
  const found = [];
  for await (const chunk of await streams.read(run, key, { timeoutInSeconds: 10, ...options })) found.push(chunk);
  return found;
}

async function* slowly(values, ms = 20) {
  for (const value of values) {
    await sleep(ms);
    yield value;
  }
}

together("written in a task", () => {
  promise("pipe: read while it is written, from its beginning, and the key is told of", async () => {
    const run = await started();
    const subscription = runs.subscribeToRun(run);
    const row = collect(subscription);
    const chunks = [{ token: "Hel" }, "lo", 3, null, [1, { "ü": "\n✓" }], "", "line one\nline two"];
    let go;
    const half = new Promise((resolve) => (go = resolve));
    const { stream, waitUntilComplete } = streams.pipe(
      "tokens",
      (async function* () {
        yield* chunks.slice(0, 3);
        await half;
        yield* chunks.slice(3);
      })(),
      { target: run },
    );
    const passing = collect(stream);
    const reading = collect(await streams.read(run, "tokens"));
    await reading.until((seen) => seen.length === 3, { what: "what was written so far" });
    await row.until((seen) => same(seen.at(-1)?.realtimeStreams, ["tokens"]));
    go();
    await waitUntilComplete();
    await reading.until((seen) => seen.length === chunks.length);
    assert.deepEqual(reading.seen, chunks);
    assert.deepEqual(await passing.end(), chunks, "they are handed on, too");
    await say(run, ["complete"]);
    await reading.end(10);
    assert.deepEqual(await read(run, "tokens"), chunks, "and once more, after the end");
    subscription.unsubscribe();
  });

  promise("ten thousand chunks, each once and in order", async () => {
    const run = await started();
    const reading = collect(await streams.read(run, "rows"));
    await streams.pipe("rows", streamOf(numbers(10_000)), { target: run }).waitUntilComplete();
    await reading.until((seen) => seen.length === 10_000);
    assert.deepEqual(reading.seen, numbers(10_000));
  });

  promise("append: texts, as they are", async () => {
    const run = await started();
    await streams.append("notes", "one", { target: run });
    await streams.append("notes", '{"not": "parsed"}', { target: run });
    await streams.append("notes", "three\nlines\n", { target: run });
    await say(run, ["complete"]);
    assert.deepEqual(await read(run, "notes"), ["one", '{"not": "parsed"}', "three\nlines\n"]);
    await assert.rejects(streams.append("notes", "late", { target: run }));
  });

  promise("writer: what is written and what is merged", async () => {
    const run = await started();
    const { waitUntilComplete } = streams.writer("mixed", {
      target: run,
      execute: async ({ write, merge }) => {
        write({ first: true });
        merge(streamOf(slowly(["a", "b", "c"])));
        await sleep(30);
        write("in between");
      },
    });
    await waitUntilComplete();
    await say(run, ["complete"]);
    const found = await read(run, "mixed");
    assert.deepEqual(found.filter((chunk) => chunk !== "in between"), [{ first: true }, "a", "b", "c"]);
    assert.equal(found.length, 5);
  });

  promise("a defined stream: append, pipe, writer and read", async () => {
    const run = await started();
    const steps = streams.define({ id: "steps" });
    await steps.append({ step: 1 }, { target: run });
    await steps.pipe(streamOf([{ step: 2 }, { step: 3 }]), { target: run }).waitUntilComplete();
    await steps.writer({ target: run, execute: ({ write }) => write({ step: 4 }) }).waitUntilComplete();
    await say(run, ["complete"]);
    const found = [];
    for await (const chunk of await steps.read(run)) found.push(chunk.step);
    assert.deepEqual(found, [1, 2, 3, 4]);
  });

  promise("Python and JavaScript write to one stream, each in its own order; Python reads it, too", async () => {
    const run = await started();
    const python = Promise.all([0, 50].map((from) => worker.write({ run, key: "both", values: numbers(50, from).map((n) => `p${n}`) })));
    await streams.pipe("both", slowly(numbers(100).map((n) => `j${n}`), 1), { target: run }).waitUntilComplete();
    await python;
    await say(run, ["complete"]);
    const found = await read(run, "both");
    assert.deepEqual(found.filter((chunk) => chunk.startsWith("j")), numbers(100).map((n) => `j${n}`));
    assert.equal(new Set(found).size, 200);
    assert.deepEqual(await worker.read({ run, key: "both", timeout: 5 }), found);
  });
});

together("read", () => {
  promise("startIndex: from that chunk on", async () => {
    const run = await started();
    await worker.write({ run, key: "s", values: numbers(10) });
    await say(run, ["complete"]);
    const found = await Promise.all([7, 0, 10].map((startIndex) => read(run, "s", { startIndex })));
    assert.deepEqual(found, [[7, 8, 9], numbers(10), []]);
  });

  promise("timeoutInSeconds: ends after so much silence, and without an error", async () => {
    const run = await started();
    await worker.write({ run, key: "s", values: [1] });
    const begin = Date.now();
    assert.deepEqual(await read(run, "s", { timeoutInSeconds: 1 }), [1]);
    assert.ok(Date.now() - begin >= 950 && Date.now() - begin < 4000, `${Date.now() - begin} ms`);
    assert.equal(asked(run).filter(({ path }) => path.endsWith("/s")).length, 1);
  });

  promise("before it is there: its chunks come when they are written, the default key as well", async () => {
    const run = await started();
    const reading = collect(await streams.read(run));
    await worker.write({ run, key: "default", values: ["there"] });
    await reading.until((seen) => same(seen, ["there"]));
    await say(run, ["complete"]);
    await reading.end(10);
  });

  promise("with a public token of the run, and of nobody else", async () => {
    const [run, other] = [await started(), await started()];
    await worker.write({ run, key: "s", values: ["mine"] });
    await say(run, ["complete"]);
    const token = await publicToken({ read: { runs: run } });
    await auth.withAuth({ accessToken: token }, async () => {
      assert.deepEqual(await read(run, "s"), ["mine"]);
      await assert.rejects(read(other, "s"));
    });
  });

  if (version !== "4.5.0") {
    promise("from: latest: what comes now, after the last of what was there", async () => {
      const run = await started();
      await worker.write({ run, key: "s", values: numbers(10) });
      const reading = collect(await streams.read(run, "s", { from: "latest" }));
      await until(() => asked(`${run}/s`).some(({ status }) => status === 200), "an open connection");
      await worker.write({ run, key: "s", values: ["new"] });
      await reading.until((seen) => seen.at(-1) === "new");
      assert.deepEqual(reading.seen.filter((chunk) => chunk < 9), []);
      await say(run, ["complete"]);
      await reading.end(10);
    });

    promise("with a token that has expired: another one is asked for, and it goes on", async () => {
      const run = await started();
      await worker.write({ run, key: "s", values: ["there"] });
      await say(run, ["complete"]);
      const scopes = { read: { runs: run } };
      const accessToken = await publicToken(scopes, { expirationTime: Math.floor(Date.now() / 1000) - 60 });
      const fresh = await publicToken(scopes);
      await auth.withAuth({ accessToken, refreshAccessToken: async () => fresh }, async () => {
        assert.deepEqual(await read(run, "s"), ["there"]);
      });
      assert.deepEqual(asked(`${run}/s`).map(({ status }) => status), [401, 200]);
    });
  }

  promise("of a run that nobody knows: refused, once", async () => {
    await assert.rejects(read("run_nobody_streams", "s"));
    assert.deepEqual(asked("run_nobody_streams").map(({ status }) => status), [404]);
  });

  promise("withStreams: the run and the chunks of all its streams, one thing after the other", async () => {
    const run = await started();
    const subscription = runs.subscribeToRun(run);
    const parts = collect(subscription.withStreams());
    await parts.until((seen) => seen.some(({ type }) => type === "run"));
    await worker.write({ run, key: "words", values: ["a", "b"] });
    await streams.pipe("numbers", streamOf([1, 2, 3]), { target: run }).waitUntilComplete();
    await worker.write({ run, key: "words", values: ["c"] });
    const of = (type) => parts.seen.filter((part) => part.type === type).map(({ chunk }) => chunk);
    await parts.until(() => of("words").length === 3 && of("numbers").length === 3);
    assert.deepEqual([of("words"), of("numbers")], [["a", "b", "c"], [1, 2, 3]]);
    assert.ok(parts.seen.filter(({ type }) => type === "words").every((part) => part.run.id === run));
    await say(run, ["complete", "done"]);
    await parts.until((seen) => seen.some(({ type, run }) => type === "run" && run.output === "done"));
    const opened = asked(`/streams/${run}/`).map(({ path, method }) => `${method} ${path.split("/").at(-1)}`);
    assert.deepEqual([...new Set(opened.filter((line) => line.startsWith("GET")))].sort(), ["GET numbers", "GET words"]);
    assert.equal(opened.filter((line) => line === "GET words").length, 1, "one connection for each stream");
    subscription.unsubscribe();
  });
});

together("sent in", () => {
  promise("send: a backend and a browser's token send, the Python worker waits and reads", async () => {
    const run = await started();
    const approval = streams.input({ id: "approval" });
    const hearing = worker.hear({ run, key: "approval", count: 3, timeout: 10 });
    await approval.send(run, { approved: true, by: "ü" });
    const token = await publicToken({ write: { inputStreams: run } });
    await auth.withAuth({ accessToken: token }, async () => {
      await approval.send(run, "text");
      await approval.send(run, null);
    });
    assert.deepEqual(await hearing, [{ approved: true, by: "ü" }, "text", null]);
    const other = await publicToken({ write: { inputStreams: "run_of_somebody_else" } });
    await auth.withAuth({ accessToken: other }, () => assert.rejects(approval.send(run, 1), { status: 403 }));
    await say(run, ["complete"]);
    await assert.rejects(approval.send(run, "late"), { status: 400 });
    await assert.rejects(approval.send("run_nobody_hears", 1, { requestOptions: { retry: { maxAttempts: 1 } } }), { status: 404 });
  });
});

// The code of one task has the process for itself from here on: one test after the other.

promise("in a task: pipe, append and writer without a target go to its run, and to its parent and root by name", async () => {
  const [root, parent] = [await started(), await started()];
  const run = await started({ parent, root });
  enterTask(run, { parent, root });
  await streams.pipe(streamOf([1, 2])).waitUntilComplete();
  await streams.append("log", "own");
  await streams.append("log", "of the parent", { target: "parent" });
  await streams.writer("log", { target: "root", execute: ({ write }) => write("of the root") }).waitUntilComplete();
  for await (const chunk of await metadata.stream("older", streamOf(["by metadata"]))) assert.equal(chunk, "by metadata");
  await until(async () => (await runs.retrieve(run)) && asked(`/streams/${run}/self/older`).length > 0);
  for (const each of [run, parent, root]) await say(each, ["complete"]);
  assert.deepEqual(
    await Promise.all([read(run, "default"), read(run, "log"), read(parent, "log"), read(root, "log"), read(run, "older")]),
    [[1, 2], ["own"], ["of the parent"], ["of the root"], ["by metadata"]],
  );
});

promise("in a task: input is heard by on, once and peek, each value once, also what was sent before", async () => {
  const run = await started();
  const words = streams.input({ id: "words" });
  await worker.send({ run, key: "words", value: { n: 0 } });
  enterTask(run);
  assert.equal(words.peek(), undefined);
  assert.deepEqual(await words.once().unwrap(), { n: 0 });
  await words.send(run, { n: 1 });
  assert.deepEqual(await words.once({ timeoutMs: 10_000 }).unwrap(), { n: 1 });
  const silence = await words.once({ timeoutMs: 100 });
  assert.equal(silence.ok, false);
  const heard = [];
  const listening = words.on((value) => void heard.push(value));
  for (const n of [2, 3, 4]) await worker.send({ run, key: "words", value: { n } });
  await until(() => heard.length === 3);
  assert.deepEqual(heard, [{ n: 2 }, { n: 3 }, { n: 4 }]);
  listening.off();
  await words.send(run, { n: 5 });
  await until(() => words.peek() !== undefined);
  assert.deepEqual([words.peek(), words.peek()], [{ n: 5 }, { n: 5 }]);
  assert.deepEqual(await words.once().unwrap(), { n: 5 });
  const text = streams.input({ id: "text" });
  await text.send(run, '{"a text": "that looks like JSON"}');
  assert.deepEqual(await text.once().unwrap(), '{"a text": "that looks like JSON"}');
});

promise("in a task: input.wait needs an engine that suspends tasks: refused at once, and once", async () => {
  const run = await started();
  enterTask(run);
  const before = requests.length;
  await assert.rejects(streams.input({ id: "never" }).wait({ timeout: "1h" }), { status: 501 });
  assert.equal(requests.length - before, 1);
});
