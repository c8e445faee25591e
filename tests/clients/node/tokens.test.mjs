// Tokens that the SDK makes, and what becomes of requests that are not allowed.

import assert from "node:assert/strict";
import { auth, batch, configure, publicToken, runs, version } from "./sdk.mjs";
import { asked, collect, promise, requests, say, secret, sleep, unique, url, worker } from "./stage.mjs";

configure({ baseURL: url, accessToken: secret });

const claimsOf = (token) => JSON.parse(Buffer.from(token.split(".")[1], "base64url"));
const withToken = (accessToken, fn) => auth.withAuth({ accessToken }, fn);
const once = { retry: { maxAttempts: 1 } };

promise("createPublicToken: scopes, expiry and hidden columns, signed with the claims that the gateway gives", async () => {
  const token = await auth.createPublicToken({
    scopes: { read: { runs: ["run_1", "run_2"], tags: "user:42", tasks: true }, write: { inputStreams: "run_1" } },
    expirationTime: "2h",
    realtime: { skipColumns: ["payload"] },
  });
  const { sub, pub, scopes, exp, iat, iss, aud, realtime } = claimsOf(token);
  assert.deepEqual(scopes, ["read:runs:run_1", "read:runs:run_2", "read:tags:user:42", "read:tasks", "write:inputStreams:run_1"]);
  assert.deepEqual(
    { sub, pub, iss, aud, realtime },
    { sub: "default", pub: true, iss: "https://id.trigger.dev", aud: "https://api.trigger.dev", realtime: { skipColumns: ["payload"] } },
  );
  assert.equal(exp - iat, 7200);
});

promise("createTriggerPublicToken and createBatchTriggerPublicToken: tokens for one use, and for more", async () => {
  assert.deepEqual(pick(await auth.createTriggerPublicToken("resize")), { scopes: ["trigger:tasks:resize"], otu: true });
  assert.deepEqual(pick(await auth.createTriggerPublicToken(["a", "b"], { multipleUse: true })), {
    scopes: ["trigger:tasks:a", "trigger:tasks:b"],
    otu: false,
  });
  assert.deepEqual(pick(await auth.createBatchTriggerPublicToken("resize", { expirationTime: "1h" })), {
    scopes: ["batchTrigger:tasks:resize"],
    otu: true,
  });

  function pick(token) {
    const { scopes, otu } = claimsOf(token);
    return { scopes, otu };
  }
});

promise("withAuth: a public token sees what its scopes name, by run, tag, batch and task", async () => {
  const [tag, name, task] = [unique("user:7"), unique("batch"), unique("task")];
  const run = await worker.create({ task, tags: [tag], batch: name });
  const other = await worker.create({});
  for (const read of [{ runs: run }, { tags: tag }, { batch: name }, { tasks: task }]) {
    const token = await publicToken({ read });
    await withToken(token, async () => {
      assert.equal((await runs.retrieve(run)).id, run, JSON.stringify(read));
      await assert.rejects(runs.retrieve(other, once), { name: "TriggerApiError", status: 403 });
    });
  }
  const seen = await withToken(await publicToken({ read: { runs: run } }), () => first(runs.subscribeToRun(run)));
  assert.equal(seen.id, run);
});

promise("withPublicToken makes a token and uses it", async () => {
  const run = await worker.create({});
  await auth.withPublicToken({ scopes: { read: { runs: run } } }, async () => {
    assert.equal((await runs.retrieve(run)).id, run);
    await assert.rejects(runs.cancel(run, once), { status: 403 });
  });
  assert.equal((await runs.retrieve(run)).status, "QUEUED");
});

promise("the subscriptions' scopes: a tag, a batch, and nothing else", async () => {
  const [tag, name] = [unique("tag"), unique("batch")];
  const run = await worker.create({ tags: [tag], batch: name });
  await withToken(await publicToken({ read: { tags: tag } }), async () => {
    assert.equal((await first(runs.subscribeToRunsWithTag([tag]))).id, run);
  });
  await withToken(await publicToken({ read: { batch: name } }), async () => {
    assert.equal((await first(runs.subscribeToBatch(name))).id, run);
  });
});

promise("hidden columns of a token hide them from its subscriptions, whatever these ask for", async () => {
  const run = await worker.create({ payload: { secret: 1 } });
  const token = await publicToken({ read: { runs: run } }, { realtime: { skipColumns: ["payload"] } });
  const seen = await withToken(token, () => first(runs.subscribeToRun(run, { skipColumns: ["metadata"] })));
  assert.equal(seen.payload, undefined);
});

promise("401: no token of ours, a forged one, an expired one, a key that is none; each told once", async () => {
  const run = await worker.create({});
  const forged = (await publicToken({ read: { runs: run } })).slice(0, -4) + "AAAA";
  const expired = await publicToken({ read: { runs: run } }, { expirationTime: Math.floor(Date.now() / 1000) - 60 });
  for (const token of ["tr_dev_nobody", forged, expired, "pk_dev_old", "nonsense"]) {
    const before = requests.length;
    await withToken(token, () =>
      assert.rejects(runs.retrieve(run), (error) => {
        assert.equal(error.name, "TriggerApiError", token);
        assert.equal(error.status, 401, token);
        return true;
      }),
    );
    assert.equal(requests.length - before, 1, "a 401 is not repeated");
  }
});

promise("403: a scope for another run, one that only reads, one of an empty id", async () => {
  const run = await worker.create({});
  const refused = { name: "TriggerApiError", status: 403 };
  for (const read of [{ runs: "run_of_somebody_else" }, { tags: "other" }]) {
    await withToken(await publicToken({ read }), () => assert.rejects(runs.retrieve(run), refused));
  }
  await withToken(await publicToken({ read: { runs: run } }), async () => {
    await assert.rejects(runs.cancel(run), refused);
    await assert.rejects(first(runs.list({ limit: 1 })), refused);
  });
  if (version === "4.5.0") {
    await withToken(await publicToken({ read: { runs: "" } }), () => assert.rejects(runs.retrieve(run), refused));
  } else {
    await assert.rejects(publicToken({ read: { runs: "" } }));
  }
  await withToken(await publicToken({ write: { runs: run } }), () => runs.cancel(run));
});

promise("404: a run that nobody knows, and a batch", async () => {
  const missing = { name: "TriggerApiError", status: 404 };
  await assert.rejects(runs.retrieve("run_nobody_knows", once), missing);
  await assert.rejects(batch.retrieve("batch_nobody_knows", once), missing);
  await assert.rejects(runs.cancel("run_nobody_knows", once), missing);
});

promise("a token that expires in mid-subscription does not end it, and opens no other", async () => {
  const run = await worker.create({});
  const until = Math.floor(Date.now() / 1000) + 2;
  const token = await publicToken({ read: { runs: run } }, { expirationTime: until });
  const following = await withToken(token, async () => collect(runs.subscribeToRun(run)));
  await following.until((seen) => seen.length === 1);
  await sleep(until * 1000 + 500 - Date.now());
  for (const step of [1, 2]) {
    await say(run, ["set", "step", step]);
    await following.until((seen) => seen.at(-1).metadata?.step === step);
  }
  await withToken(token, () => assert.rejects(runs.retrieve(run), { status: 401 }));
});

promise("a subscription that is refused asks once, and not again and again", async () => {
  const unknown = unique("run_unknown");
  const waiting = collect(runs.subscribeToRun(unknown));
  const forbidden = await worker.create({});
  const token = await publicToken({ read: { runs: "run_of_somebody_else" } });
  const refused = await withToken(token, async () => collect(runs.subscribeToRun(forbidden)));
  await sleep(1500);
  assert.deepEqual(asked(unknown).map(({ status }) => status), [404]);
  assert.deepEqual(asked(forbidden).map(({ status }) => status), [403]);
  assert.deepEqual([waiting.seen, refused.seen], [[], []]);
});

async function first(iterable) {
  for await (const item of iterable) return item;
}
