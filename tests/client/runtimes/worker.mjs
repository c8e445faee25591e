// Follows runs in a worker of any kind: a message says which, and brings a port for what is told of it.

import { connect } from "./node_modules/@runcast/client/dist/runcast.js";

async function follow({ run: id, ...options }, port) {
  const run = connect({ ...options, share: false }).run(id);
  run.on("transition", (_, { status }) => port.postMessage(status));
  run.on("connection", ({ state }) => port.postMessage(state));
  await run.ended;
  port.postMessage("over");
}

function asked(event) {
  const over = follow(event.data, event.ports[0]);
  event.waitUntil?.(over); // a service worker is stopped when it has nothing to wait for
}

addEventListener("message", asked);
addEventListener("connect", ({ ports: [page] }) => (page.onmessage = asked));
