// Follows a run and its stream wherever it runs, and prints what it was told. In Node, Deno and Bun:
// follow.mjs URL TOKEN RUN

import { connect } from "@runcast/client";
import process from "node:process";

const [url, token, id] = process.argv.slice(2);
const runcast = connect({ url, token });
const run = runcast.run(id);
const statuses = [];
run.on("transition", (_, { status }) => statuses.push(status));
const lines = [];
const reading = (async () => {
  for await (const { value } of runcast.stream(id, "log")) lines.push(value);
})();
const seen = [];
let transport;
for await (const { status } of run) {
  if (!transport) console.log("live");
  transport ??= run.connection.transport;
  seen.push(status);
}
await reading;
const { status } = await run.ended;
console.log(JSON.stringify({ statuses, last: seen.at(-1), status, lines, transport }));
runcast.close();
