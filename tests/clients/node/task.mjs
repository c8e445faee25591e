// What a task worker process sets up around the code of a task, so that `metadata`, `tags` and `streams` find their run
// (trigger-realtime.md, section 6.1). One run at a time, as there; and as there, before the SDK is imported.

import { core } from "./packages.mjs";
import { secret, url } from "./stage.mjs";

const address = (process.env.TRIGGER_API_URL ??= url);
process.env.TRIGGER_SECRET_KEY = secret;

const { apiClientManager, inputStreams, realtimeStreams, runMetadata, taskContext } = await core("v3");
const { StandardInputStreamManager, StandardMetadataManager, StandardRealtimeStreamsManager } = await core("v3/workers");

const client = apiClientManager.clientOrThrow();
const metadataManager = new StandardMetadataManager(client);
const streamsManager = new StandardRealtimeStreamsManager(client, address);
const inputManager = new StandardInputStreamManager(client, address);
runMetadata.setGlobalManager(metadataManager);
realtimeStreams.setGlobalManager(streamsManager);
inputStreams.setGlobalManager(inputManager);

// The code of tasks gets the SDK from here.
export const sdk = await import("./sdk.mjs");

// What the worker's runtime does beside a task: it sends the metadata now and then.
export const flushEvery = (ms) => metadataManager.startPeriodicFlush(ms);
export const stopFlushing = () => metadataManager.stopPeriodicFlush();

// From now on the code is that of this run.
export function enterTask(run, { parent, root, metadata = {} } = {}) {
  metadataManager.stopPeriodicFlush();
  metadataManager.reset();
  streamsManager.reset();
  inputManager.reset();
  metadataManager.runId = run;
  metadataManager.runIdIsRoot = root === undefined;
  metadataManager.enterWithMetadata(metadata);
  inputStreams.setRunId(run, "v2");
  taskContext.setGlobalTaskContext({
    ctx: {
      run: { id: run, parentTaskRunId: parent, rootTaskRunId: root, tags: [], isTest: false, createdAt: new Date(), startedAt: new Date() },
      task: { id: "hello", filePath: "hello.ts" },
      attempt: { number: 1, startedAt: new Date() },
      queue: { id: "queue_1", name: "task/hello" },
      environment: { id: "default", slug: "prod", type: "PRODUCTION" },
      organization: { id: "org_1", slug: "org", name: "Org" },
      project: { id: "proj_1", ref: "proj_1", slug: "project", name: "Project" },
    },
    worker: { id: "worker_1", version: "20260101.1", contentHash: "x" },
    isWarmStart: false,
  });
}
