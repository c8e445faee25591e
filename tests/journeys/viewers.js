// What a page does to follow a run, on both transports. What it was told is in `seen`, by transport.
"use strict";

window.seen = {};

function model(name) {
  const seen = { statuses: [], errors: [], endings: [], snapshots: 0, replaces: 0, opened: 0, cursor: null, last: 0 };
  const note = ({ sequence, status }) => {
    if (sequence > seen.last) {
      seen.last = sequence;
      seen.statuses.push(status);
    }
  };
  seen.take = (message) => {
    if (message.cursor) seen.cursor = message.cursor;
    if (message.type === "snapshot") {
      seen.snapshots += 1;
      seen.replaces += message.replaces;
      for (const run of message.runs) run.transitions.forEach(note);
    } else if (message.type === "update" && message.transition) {
      note(message.transition);
    } else if (message.type === "error") {
      seen.errors.push(message.code);
    } else if (message.type === "end") {
      seen.ended = message.status;
    }
  };
  window.seen[name] = seen;
  return seen;
}

function followByWebSocket(url, token, run) {
  const seen = model("websocket");
  const connect = () => {
    const socket = new WebSocket(url.replace("http", "ws") + "/v1/ws", ["runcast.v1", "token." + token]);
    socket.onopen = () => {
      seen.opened += 1;
      seen.protocol = socket.protocol;
      const place = seen.cursor ? { cursor: seen.cursor } : {};
      socket.send(JSON.stringify({ type: "subscribe", run, ...place }));
    };
    socket.onmessage = (event) => seen.take(JSON.parse(event.data));
    socket.onclose = (event) => {
      seen.endings.push(event.code);
      if (event.code !== 4403) setTimeout(connect, 50);
    };
  };
  connect();
}

function followByEvents(url, token, run) {
  const seen = model("events");
  const events = new EventSource(`${url}/v1/events?run=${run}&token=${token}`);
  events.onopen = () => (seen.opened += 1);
  events.onerror = () => seen.endings.push(events.readyState);
  for (const type of ["snapshot", "update", "end"]) {
    events.addEventListener(type, (event) => seen.take(JSON.parse(event.data)));
  }
}
