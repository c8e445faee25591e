// The stage as the tests in Node see it: calls to stage.py and to the worker behind it, and waiting.

import { connect } from "node:net";
import { createInterface } from "node:readline";

export { promise, together } from "./tests.mjs";

const { STAGE_PORT, GATEWAY_URL, SECRET_KEY } = process.env;

export const url = GATEWAY_URL;
export const secret = SECRET_KEY;

const socket = connect(Number(STAGE_PORT), "127.0.0.1");
const answers = new Map();
let calls = 0;

createInterface({ input: socket }).on("line", (line) => {
  const answer = JSON.parse(line);
  const { resolve, reject } = answers.get(answer.id);
  answers.delete(answer.id);
  if ("error" in answer) reject(new Error(answer.error));
  else resolve(answer.result);
});

function call(name, given) {
  const id = ++calls;
  socket.write(JSON.stringify({ id, do: name, with: given ?? {} }) + "\n");
  return new Promise((resolve, reject) => answers.set(id, { resolve, reject }));
}

const callsOf = (prefix) => new Proxy({}, { get: (_, name) => (given) => call(prefix + name, given) });

// `await stage.kill_gateway()`: the methods of Stage in stage.py.
export const stage = callsOf("");
// `await worker.create({task: "hello"})`: the methods of Worker in worker.py.
export const worker = callsOf("worker.");

// `await say(run, ["set", "key", 1], ["complete"])`: methods of the run's handle, in the worker.
export const say = (run, ...calls) => worker.say({ run, calls });

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// What this process asked for over HTTP so far, as {method, path, params, status}; status is missing while it waits.
export const requests = [];
const realFetch = globalThis.fetch;
globalThis.fetch = async (input, init) => {
  const target = new URL(input instanceof Request ? input.url : input);
  const method = init?.method ?? (input instanceof Request ? input.method : "GET");
  const entry = { method, path: target.pathname, params: target.searchParams };
  requests.push(entry);
  const response = await realFetch(input, init);
  entry.status = response.status;
  return response;
};

// The requests whose path contains `part`.
export const asked = (part) => requests.filter(({ path }) => path.includes(part));

// Everything that an async iterable brings, as it comes; reading goes on beside the test.
export function collect(iterable) {
  const seen = [];
  const waiting = new Set();
  const look = () => waiting.forEach((check) => check());
  const state = { seen, ended: false, error: undefined };
  state.done = (async () => {
    try {
      for await (const item of iterable) {
        seen.push(item);
        look();
      }
    } catch (error) {
      state.error = error;
    }
    state.ended = true;
    look();
  })();
  // Wait until `holds(seen)`; says what came when it does not.
  state.until = (holds, { seconds = 15, what = String(holds) } = {}) =>
    new Promise((resolve, reject) => {
      const clock = setTimeout(() => {
        waiting.delete(check);
        reject(new Error(`it did not come: ${what}\nbut: ${short(seen)} ended: ${state.ended} ${state.error ?? ""}`));
      }, seconds * 1000);
      const check = () => {
        if (!holds(seen)) return;
        waiting.delete(check);
        clearTimeout(clock);
        resolve(seen.at(-1));
      };
      waiting.add(check);
      check();
    });
  // Wait until it has ended, and throw what it threw.
  state.end = async (seconds = 15) => {
    await within(state.done, seconds, () => `it did not end; it brought ${short(seen)}`);
    if (state.error) throw state.error;
    return seen;
  };
  return state;
}

export async function within(promise, seconds, what) {
  let clock;
  const late = new Promise((_, reject) => {
    clock = setTimeout(() => reject(new Error(typeof what === "function" ? what() : what)), seconds * 1000);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(clock);
  }
}

// Wait until `holds()`, for what does not tell when it changes.
export async function until(holds, what, seconds = 15) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const found = await holds();
    if (found) return found;
    if (Date.now() > end) throw new Error(`it did not come: ${what ?? holds}`);
    await sleep(20);
  }
}

const short = (value) => {
  const text = JSON.stringify(value) ?? "";
  return text.length > 2000 ? `${value.length} items, the last ones ${text.slice(-1500)}` : text;
};

// Names that no other test uses.
let names = 0;
export const unique = (stem) => `${stem}_${process.pid}_${++names}`;

export const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

// A stream of an iterable's items.
export function streamOf(items) {
  const iterator = (async function* () {
    yield* items;
  })();
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await iterator.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
  });
}
