// Follow a run with the official SDK, and mint a token for a page. TRIGGER_API_URL and TRIGGER_SECRET_KEY say where.

import { auth, runs } from "@trigger.dev/sdk";

const [id] = process.argv.slice(2);

for await (const run of runs.subscribeToRun(id)) {
  console.log(run.status, run.metadata?.progress?.percent ?? 0);
  if (run.finishedAt) break; // 4.8 ends by itself
}

console.log(await auth.createPublicToken({ scopes: { read: { runs: id } }, expirationTime: "1h" }));
process.exit(); // 4.5 would go on asking for half a minute
