// Follows a run and its stream in Node, and prints what it was told.
// node node_client.mjs CLIENT URL TOKEN RUN

const [client, url, token, id] = process.argv.slice(2);
const { connect } = await import(client);

const runcast = connect({ url, token });
const run = runcast.run(id);
const statuses = [];
run.on("transition", (_, { status }) => statuses.push(status));
const lines = [];
const reading = (async () => {
  for await (const { value } of runcast.stream(id, "log")) lines.push(value);
})();
const seen = [];
for await (const { status } of run) {
  if (!seen.length) console.log("live");
  seen.push(status);
}
await reading;
const { status } = await run.ended;
const { transport } = run.connection;
console.log(JSON.stringify({ statuses, last: seen.at(-1), status, lines, transport }));
runcast.close();
