// What somebody writes in TypeScript who has installed the package; it need not do anything.

import {
  connect,
  isFinal,
  RuncastError,
  type Chunk,
  type ConnectionState,
  type Options,
  type Run,
  type RunSubscription,
  type Status,
  type StreamSubscription,
  type Transition,
  type Transport,
  type View,
} from "@runcast/client";

declare function show(...told: unknown[]): void;

const transports: Transport[] = ["websocket", "poll"];
const options: Options = { url: "https://runs.example.com", getToken: async () => ({ token: "…" }), transports };
const runcast = connect(options);
const run: RunSubscription = runcast.run("run_1", { skipColumns: ["payload"] });
const off: () => void = run.on("change", ({ runs, run, connection, complete }: View) => {
  const state: ConnectionState["state"] = connection.state;
  const time: number | undefined = connection.asOf?.getTime();
  if (complete && state !== "live") show(runs.size, run?.metadata?.["progress"], time);
});
run.on("transition", ({ id }: Run, { status, at }: Transition) => isFinal(status) && id + at);
run.on("error", (error) => {
  if (error instanceof RuncastError) throw new Error(error.code);
});
run.on("end", (status: Status, run: Run | null) => show(status, run?.output, run?.error?.message));
const chunks: StreamSubscription = runcast.stream("run_1", "log", { from: "now" });
for await (const { value, index, cursor } of chunks satisfies AsyncIterable<Chunk>) show(value, index + 1, cursor);
const ended: Run | null = await run.ended;
for (const subscription of [runcast.tags(["a", "b"], { since: "1h", limit: 10 }), runcast.batch("batch_1"), runcast.all()])
  subscription.close();
// @ts-expect-error no such event
run.on("changed", () => {});
// @ts-expect-error no such transport
connect({ transports: ["smoke"] });
show(ended?.status, off());
