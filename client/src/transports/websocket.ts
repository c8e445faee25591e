// `GET /v1/ws`: every feed on one socket.

import type { Open } from "./wire.ts";

/** What a subprotocol may be made of, and a size with which the headers stay under the 8 KiB that proxies take. */
const FITS_HEADER = /^[\w.~-]{1,4000}$/;

export const openSocket: Open = ({ url, token, opened, hear, over }) => {
  const inHeader = FITS_HEADER.test(token);
  const protocols = ["runcast.v1"].concat(inHeader ? "token." + token : []);
  const socket = new WebSocket(url.replace(/^http/, "ws") + "/v1/ws", protocols);
  const say = (said: object) => {
    if (socket.readyState === 1) socket.send(JSON.stringify(said));
  };
  socket.onopen = () => {
    if (!inHeader) say({ type: "authenticate", token });
    opened();
  };
  socket.onmessage = ({ data }) => hear(JSON.parse(data));
  socket.onclose = ({ code, reason }) => over({ code: "" + code, reason: reason || "closed" });
  return { say, close: () => socket.close(1000) };
};
