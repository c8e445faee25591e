// Makes each call of the SDK that docs/triggerdev.md lists, and prints what became of it: node sdk_calls.mjs SDK RUN BATCH
// SDK is where it is installed. The run has ended, has the tag `customer:7`, and a stream `text` with a chunk.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [installed, run, batchId] = process.argv.slice(2);
const { exports } = JSON.parse(readFileSync(join(installed, "package.json")));
const sdk = await import(pathToFileURL(join(installed, exports["."].import.default)).href);
const { auth, batch, deployments, envvars, queues, query, runs, schedules, sessions, streams, tasks, wait } = sdk;

// A call that is to be repeated would take seconds; whether it is, others look at.
sdk.configure({ requestOptions: { retry: { maxAttempts: 1 } } });

async function first(sequence) {
  for await (const one of await sequence) return one;
}

async function read(credential) {
  const found = await runs.retrieve(run);
  if (found.id !== run) throw new Error(`${credential} read ${found.id}`);
}

const session = { type: "chat", taskIdentifier: "hello", triggerConfig: { basePayload: {} } };
const calls = {
  "runs.subscribeToRun": () => first(runs.subscribeToRun(run)),
  "runs.subscribeToRunsWithTag": () => first(runs.subscribeToRunsWithTag("customer:7")),
  "runs.subscribeToBatch": () => first(runs.subscribeToBatch(batchId)),
  "runs.retrieve": () => read("the key"),
  "runs.poll": () => runs.poll(run),
  "runs.list": () => runs.list({ tag: "customer:7" }),
  "runs.cancel": () => runs.cancel(run),
  "runs.fetchStream": () => first(runs.fetchStream(run, "text")),
  "streams.read": () => first(streams.read(run, "text")),
  "streams.input": () => streams.input({ id: "approval" }).send(batchId, 1),
  "batch.retrieve": () => batch.retrieve(batchId),
  "auth.createPublicToken": () => auth.createPublicToken({ scopes: { read: { runs: run } } }),
  "auth.createTriggerPublicToken": () => auth.createTriggerPublicToken("hello"),
  "auth.createBatchTriggerPublicToken": () => auth.createBatchTriggerPublicToken("hello"),
  "auth.withAuth": () => auth.withAuth({ accessToken: process.env.TRIGGER_SECRET_KEY }, () => read("withAuth")),
  "auth.withPublicToken": () => auth.withPublicToken({ scopes: { read: { runs: run } } }, () => read("withPublicToken")),
  "runs.replay": () => runs.replay(run),
  "runs.reschedule": () => runs.reschedule(run, { delay: "1h" }),
  "tasks.trigger": () => tasks.trigger("hello", {}),
  "tasks.batchTrigger": () => tasks.batchTrigger("hello", [{ payload: {} }]),
  "batch.trigger": () => batch.trigger([{ id: "hello", payload: {} }]),
  "wait.createToken": () => wait.createToken({ timeout: "1m" }),
  "wait.retrieveToken": () => wait.retrieveToken("waitpoint_1"),
  "wait.listTokens": () => wait.listTokens(),
  "wait.completeToken": () => wait.completeToken("waitpoint_1", {}),
  "sessions.start": () => sessions.start(session),
  "sessions.retrieve": () => sessions.retrieve("session_1"),
  "sessions.list": () => sessions.list(),
  "schedules.list": () => schedules.list(),
  "queues.list": () => queues.list(),
  "envvars.list": () => envvars.list("project", "prod"),
  "deployments.retrieveCurrent": () => deployments.retrieveCurrent(),
  "query.execute": () => query.execute("select 1"),
};

const became = {};
for (const [name, call] of Object.entries(calls)) {
  try {
    await call();
    became[name] = "works";
  } catch (error) {
    became[name] = String(error.status ?? error.cause?.status ?? error);
  }
}
console.log(JSON.stringify(became));
process.exit(0);
