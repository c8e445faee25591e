// `GET /v1/poll`: requests that are held until there is something, for networks that let nothing through that goes on.

import { lifeOf } from "../claims.ts";
import type { Message } from "../messages.ts";
import { isFinal, type Status } from "../run.ts";
import { addressOf, ask, askFor, requests, vouch, type Errand, type Needs } from "./requests.ts";
import type { Surroundings, Wire } from "./wire.ts";

/** How long a poll is held, in seconds. Where something cuts it before, it is asked for less. */
const WAIT = 20;
/** A stream has no poll that is held: it is asked for what there is, so often (milliseconds). */
const STREAM_INTERVAL = 1000;

const LOST_SIGHT = { state: "stale", reason: "the gateway has lost sight of the data" } as const;

interface Answer {
  state: "live" | "stale";
  cursor?: string;
  messages: Message[];
}

interface Page {
  chunks: { index: number; chunk: unknown; cursor: string }[];
  firstIndex: number;
  next: string;
  complete: boolean;
  replaces: boolean;
  status: Status;
}

/** Polls have no welcome from the gateway: the first answer is one, and that a token is another. */
function welcome({ token, hear }: Surroundings): void {
  hear({ type: "welcome", expiresInSeconds: lifeOf(token) });
}

async function poll(errand: Errand): Promise<void> {
  const { around, signal, hear } = errand;
  let welcomed = false;
  let wait = 0; // the first one tells at once whether everything is as it was
  while (!signal.aborted) {
    const address = addressOf("poll", errand, { wait: "" + wait });
    const began = Date.now();
    const answer = await askFor(errand, address, "application/json");
    if (!answer) return;
    errand.connection = answer.headers.get("runcast-connection");
    const body: Answer | null = await answer.json().catch(() => null);
    errand.connection = null;
    if (!body) {
      if (wait < 2) throw { reason: "the poll was cut" };
      wait = Math.max(1, Math.min(wait, (Date.now() - began) / 1000) / 2);
      continue;
    }
    if (!welcomed) welcome(around);
    welcomed = true;
    body.messages.forEach(hear);
    const live = body.state === "live";
    if (live && body.cursor) vouch(errand, body.cursor);
    hear({ type: "heartbeat", ...(live ? { state: "live", asOf: new Date().toISOString() } : LOST_SIGHT) });
    wait = live ? wait || WAIT : 0; // one that is not held is answered as soon as the gateway sees the data again
  }
}

async function page(errand: Errand): Promise<void> {
  const { around, hear, signal, group } = errand;
  const feed = group[0]!.name;
  let welcomed = false;
  for (;;) {
    const answer = await ask(errand, addressOf("", errand), "application/json").catch((ending) => {
      if (ending.code !== "not_found") throw ending; // else its run is yet to come
    });
    const told: Page | undefined = await answer?.json();
    if (signal.aborted) return;
    if (!welcomed) welcome(around);
    welcomed = true;
    hear({ type: "heartbeat", state: "live", asOf: new Date().toISOString() });
    if (told) {
      const { chunks, firstIndex, next, replaces } = told;
      if (replaces) hear({ type: "begin", feed, firstIndex, cursor: next.replace(/-.*/, "-0") });
      for (const chunk of chunks) hear({ type: "chunk", feed, ...chunk });
    }
    if (told?.complete) {
      if (isFinal(told.status)) return hear({ type: "end", feed, status: told.status, cursor: told.next });
      await new Promise((resolve) => setTimeout(resolve, STREAM_INTERVAL));
    }
  }
}

const openRequests = requests((errand) => (errand.group[0]!.wish.stream ? page(errand) : poll(errand)));

export const openPoll = (given: Needs): Wire => {
  const wire = openRequests(given);
  return {
    ...wire,
    say(said, feed) {
      wire.say(said, feed);
      if (said.type === "authenticate") welcome({ ...given, token: said.token });
    },
  };
};
