// Node: `ws` and ioredis pub/sub, and plain HTTP for Server-Sent Events. Arguments: port, URL of Redis.
//
// Kindly: no compression, each feed subscribed to once, an event kept as the bytes that came (no decoding), and viewers
// who do not read are passed over instead of being buffered for without end.
import { createServer } from "node:http";
import Redis from "ioredis";
import { WebSocketServer } from "ws";

const [port, redisUrl] = process.argv.slice(2);
const CHANNEL = "bench:";
const BACKLOG = 16_384;
const UNSENT_LIMIT = 256 * 1024;

const redis = new Redis(redisUrl, { maxRetriesPerRequest: null });
const feeds = new Map(); // channel: { sockets, streams }

async function follow(url, kind, viewer, onLeave) {
  const channel = CHANNEL + new URL(url, "http://localhost").searchParams.get("feed");
  if (!feeds.has(channel)) {
    feeds.set(channel, { sockets: new Set(), streams: new Set() });
    await redis.subscribe(channel);
  }
  const viewers = feeds.get(channel)[kind];
  viewers.add(viewer);
  onLeave(() => viewers.delete(viewer));
}

redis.on("messageBuffer", (channel, event) => {
  const { sockets, streams } = feeds.get(channel.toString());
  for (const socket of sockets) {
    if (socket.bufferedAmount < UNSENT_LIMIT) socket.send(event, { binary: false });
  }
  if (streams.size > 0) {
    const data = Buffer.concat([Buffer.from("data: "), event, Buffer.from("\n\n")]);
    for (const stream of streams) {
      if (stream.writableLength < UNSENT_LIMIT) stream.write(data);
    }
  }
});

const server = createServer((request, response) => {
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  response.flushHeaders();
  follow(request.url, "streams", response, (left) => response.on("close", left));
});

const webSockets = new WebSocketServer({ server, perMessageDeflate: false, skipUTF8Validation: true });
webSockets.on("connection", (socket, request) => {
  socket.on("error", () => socket.terminate());
  follow(request.url, "sockets", socket, (left) => socket.on("close", left));
});

server.listen({ port: Number(port), host: "127.0.0.1", backlog: BACKLOG });
