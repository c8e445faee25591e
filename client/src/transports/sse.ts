// `GET /v1/events`: feeds as Server-Sent Events, read with `fetch`, which can send a token in a header and tells why it
// was refused. An `EventSource` can do neither.

import type { Ending } from "../errors.ts";
import { addressOf, askFor, requests, vouch, type Errand } from "./requests.ts";

/** Text of an event stream → the JSON of its messages, and how long to wait before coming back, in milliseconds. */
export class EventDecoder {
  retry: number | undefined;
  #rest = "";

  /** Ours have their JSON on one line, with the type in it; that is all there is to know of them. */
  *decode(text: string): Generator<string> {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop()!;
    for (const line of lines) {
      const value = line.slice(line.indexOf(":") + 1).trim();
      if (line.startsWith("data:")) yield value;
      if (line.startsWith("retry:")) this.retry = +value;
    }
  }
}

async function listen(errand: Errand): Promise<void> {
  const answer = await askFor(errand, addressOf("events", errand), "text/event-stream");
  if (!answer) return;
  const decoder = new EventDecoder();
  const text = new TextDecoder();
  const reader = answer.body!.getReader();
  for (;;) {
    const { done, value } = await reader.read().catch(() => ({ done: true, value: undefined }));
    if (done) break;
    for (const data of decoder.decode(text.decode(value, { stream: true }))) {
      const message = JSON.parse(data);
      if (message.type === "welcome") errand.connection = message.connection;
      if (message.type === "heartbeat" && message.cursor) {
        vouch(errand, message.cursor);
        delete message.cursor;
      }
      errand.hear(message);
    }
  }
  if (!errand.group.every(({ ended }) => ended))
    throw { reason: "the stream was cut", retry: decoder.retry } satisfies Ending;
}

export const openEvents = requests(listen);
