// What Server-Sent Events and long polls have in common: requests that name their feeds, and what refuses them.
//
// Feeds that were asked for alike share one request, because over HTTP/1.1 a browser has six for all its tabs.

import { earliest } from "../cursors.ts";
import type { Ending } from "../errors.ts";
import type { Feed } from "../feeds.ts";
import type { Message } from "../messages.ts";
import type { Surroundings, Wire } from "./wire.ts";

/** A request may name so many. */
const MOST_FEEDS = 100;

/** What requests are made for, besides. */
export interface Needs extends Surroundings {
  feeds: ReadonlyMap<string, Feed>;
}

/** One request, or one after another, for feeds that share it. */
export interface Errand {
  /** Where the gateway is, and the token to show there: it may be another one for the next request. */
  readonly around: Needs;
  readonly group: Feed[];
  readonly signal: AbortSignal;
  hear(message: Message): void;
  /** By what the request can be given another token while it is answered. */
  connection?: string | null | undefined;
  done?: boolean;
  end(): void;
  /** Begins anew with those feeds that are left. */
  again(): void;
}

/**
 * A transport that consists of requests.
 *
 * @param run makes the requests of an errand until all its feeds have ended; rejects with an `Ending`
 */
export const requests =
  (run: (errand: Errand) => Promise<void>) =>
  (given: Needs): Wire => {
    const around = { ...given };
    const errands = new Map<string, Errand>();
    let arranging: ReturnType<typeof setTimeout>;

    function arrange() {
      const wanted = groupsOf(around.feeds.values());
      for (const [name, errand] of errands) if (!wanted.has(name)) errand.end();
      for (const [name, group] of wanted) if (!errands.has(name)) begin(name, group);
    }

    function begin(name: string, group: Feed[]) {
      const abort = new AbortController();
      const { signal } = abort;
      const errand: Errand = {
        around,
        group,
        signal,
        hear: (message) => signal.aborted || around.hear(message),
        end: () => {
          abort.abort();
          errands.delete(name);
        },
        again: () => {
          errand.end();
          soon();
        },
      };
      errands.set(name, errand);
      run(errand).then(
        () => {
          errand.done = true;
          if (!signal.aborted && [...errands.values()].every(({ done }) => done))
            around.over({ reason: "", done: true });
        },
        (ending) => signal.aborted || around.over(ending),
      );
    }

    // Not at once: whoever follows ten feeds one after the other wants one request.
    function soon() {
      clearTimeout(arranging);
      arranging = setTimeout(arrange);
    }

    soon();
    return {
      say(said, feed) {
        if (said.type === "authenticate") {
          around.token = said.token;
          for (const { connection } of errands.values()) if (connection) renew(around, connection);
          return;
        }
        if (said.type === "unsubscribe") {
          for (const errand of errands.values()) if (errand.group.includes(feed!)) errand.end();
          around.hear({ type: "unsubscribed", feed: said.feed });
        }
        soon();
      },
      close() {
        clearTimeout(arranging);
        for (const errand of errands.values()) errand.end();
      },
    };
  };

/** By a name that says all of it: feeds that one request can carry. A stream has one of its own. */
function groupsOf(feeds: Iterable<Feed>): Map<string, Feed[]> {
  const found = new Map<string, Feed[]>();
  const named = new Map<string, Feed[]>();
  for (const feed of feeds) {
    const { stream, since, limit, skipColumns } = feed.wish;
    const alike = JSON.stringify(stream ? feed.name : [since, limit, skipColumns]);
    const group = found.get(alike);
    if (group && group.length < MOST_FEEDS) group.push(feed);
    else found.set(alike, [feed]);
  }
  for (const [alike, group] of found) named.set(alike + group.map(({ name }) => name), group);
  return named;
}

/** The address of a request for these feeds, from where all of them stand. */
export function addressOf(path: string, { around, group }: Errand, more: Record<string, string> = {}): string {
  const query = new URLSearchParams(more);
  const add = (name: string, value: unknown) => value != null && query.append(name, "" + value);
  for (const { wish } of group) {
    add("run", wish.run);
    add("batch", wish.batch);
    add("task", wish.task);
    add("tags", wish.tags);
    add("all", wish.all);
  }
  const { since, limit, skipColumns, stream, from } = group[0]!.wish;
  const cursor = earliest(group.map((feed) => feed.cursor));
  add("since", since);
  add("limit", limit);
  add("skipColumns", skipColumns);
  if (stream && cursor) add("after", cursor);
  else add(stream ? "from" : "cursor", stream ? from : cursor);
  const where = stream ? `runs/${encodeURIComponent(stream.run)}/streams/${encodeURIComponent(stream.key)}` : path;
  return `${around.url}/v1/${where}?${query}`;
}

/** What is thrown instead of an answer. `refused` says that the gateway will not have what was asked for. */
type Refusal = Ending & { refused?: boolean };

/** Asks, and returns an answer that is good. Rejects with an `Ending`. */
export async function ask({ around, signal }: Errand, address: string, accept: string): Promise<Response> {
  const headers = { authorization: "Bearer " + around.token, accept };
  const answer = await fetch(address, { headers, signal, cache: "no-store" }).catch(() => {
    throw { reason: "the gateway can't be reached", unreachable: true } satisfies Refusal;
  });
  if (answer.ok) return answer;
  // What has no code comes from something in between.
  const { detail, code, retry } = await answer.json().catch(() => ({}));
  const after = +answer.headers.get("retry-after")! * 1000 * (1 + Math.random()) || undefined;
  const refused = retry === false && answer.status !== 401 && code !== "origin_not_allowed";
  throw { reason: detail ?? "HTTP " + answer.status, code, after, refused } satisfies Refusal;
}

/** As `ask`, for feeds of runs: undefined when they have ended, or one of them is refused, which is told. */
export async function askFor(errand: Errand, address: string, accept: string): Promise<Response | undefined> {
  const { group, hear } = errand;
  const answer = await ask(errand, address, accept).catch(async (refusal: Refusal) => {
    if (!refusal.refused) throw refusal;
    // The whole request is refused for any one of its feeds.
    for (const feed of group) {
      const single = { ...errand, group: [feed] };
      const alone =
        group.length > 1 ? ask(single, addressOf("poll", single, { wait: "0" }), accept) : Promise.reject(refusal);
      await alone.catch(({ refused, code, reason }) => {
        if (refused) hear({ type: "error", feed: feed.name, code, message: reason });
      });
    }
    errand.again();
    return undefined;
  });
  if (!answer) return;
  if (answer.status !== 204) return answer;
  for (const { name, mirror, wish } of group) {
    const status = mirror.runs.get(wish.run!)?.status;
    if (status) hear({ type: "end", feed: name, status });
  }
}

/** Everything up to `cursor` was told for the feeds of this request. Those of others may have more to come. */
export function vouch({ group, hear }: Errand, cursor: string): void {
  for (const { name, mirror, wish } of group) {
    const { truncated } = mirror;
    if (!wish.stream)
      hear({ type: "snapshot", feed: name, runs: [], replaces: false, complete: true, truncated, cursor });
  }
}

/** Gives a request that is being answered another token. When that fails, the next one shows it. */
function renew({ url, token }: Surroundings, connection: string): void {
  const headers = { authorization: "Bearer " + token };
  fetch(`${url}/v1/connections/${connection}/token`, { method: "POST", headers }).catch(() => {});
}
