/**
 * Runs that the gateway has forgotten. Each is kept for some time after its end, and nothing tells when that is over; a
 * list that is open for days must notice all the same, or it shows and counts runs that are no more.
 *
 * So it asks, at a calm pace, for those that it knows: a page of a hundred at a time, round after round. No DOM here.
 */

import type { Run } from "../client/src/index.ts";
import { request } from "./api.ts";
import { listQuery, type FeedChoice } from "./filters.ts";

/** Milliseconds between two pages; less when the last one had runs missing, for then there are more. */
const PACE = 10_000;
const HASTE = 500;
const PAGE = 100;
/** Of the answer only the ids matter. */
const SKIPPED = ["payload", "output", "context", "metadata", "error", "transitions", "tags"];

interface Known {
  id: string;
  /** The number of its first change, which lists are sorted by. */
  number: number;
}

export class Forgotten {
  readonly #credential: string;
  readonly #feed: FeedChoice;
  readonly #runs: () => Iterable<Run>;
  readonly #forget: (id: string) => void;
  readonly #abort = new AbortController();
  /** What this round has yet to look for, the newest first. */
  #round: Known[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #asking = false;

  /**
   * Args:
   *   runs: Those that are known, or none while what is known may be old anyway.
   *   forget: Called with the id of each that is no more.
   */
  constructor(credential: string, feed: FeedChoice, runs: () => Iterable<Run>, forget: (id: string) => void) {
    this.#credential = credential;
    this.#feed = feed;
    this.#runs = runs;
    this.#forget = forget;
    this.#later(PACE);
    // Whoever comes back after hours is not to see for a while what was.
    document.addEventListener("visibilitychange", () => void this.#look(), this.#abort);
  }

  close(): void {
    this.#abort.abort();
    clearTimeout(this.#timer);
  }

  #later(milliseconds: number): void {
    clearTimeout(this.#timer);
    if (!this.#abort.signal.aborted) this.#timer = setTimeout(() => void this.#look(), milliseconds);
  }

  async #look(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    let missing = 0;
    try {
      if (!document.hidden) missing = await this.#lookAtPage();
    } catch {
      // Nobody answers, or not to us: the page says so, and nothing is known of what is no more.
    }
    this.#asking = false;
    this.#later(missing > 0 ? HASTE : PACE);
  }

  /** Returns how many were missing of those on this page. */
  async #lookAtPage(): Promise<number> {
    if (this.#round.length === 0) this.#round = [...this.#runs()].flatMap(placed).sort((a, b) => b.number - a.number);
    const [first] = this.#round;
    if (first === undefined) return 0;
    const query = listQuery(this.#feed, { limit: PAGE, skipColumns: SKIPPED.join(","), after: first.number + 1 });
    const { runs, next } = await request<{ runs: Run[]; next: string | null }>(this.#credential, `/v1/runs?${query}`, {
      signal: this.#abort.signal,
    });
    const found = new Set(runs.map(({ id }) => id));
    const end = this.#round.findIndex(({ number }) => number < Number(next));
    const looked = this.#round.splice(0, end < 0 ? this.#round.length : end);
    // One that was created again meanwhile under the same id is another run.
    const now = new Map([...this.#runs()].flatMap(placed).map(({ id, number }) => [id, number]));
    const missing = looked.filter(({ id, number }) => !found.has(id) && now.get(id) === number);
    for (const { id } of missing) this.#forget(id);
    return missing.length;
  }
}

/** Where a run stands in lists; nowhere if its first change is not among those that are told: of many the oldest go. */
function placed({ id, createdAt, transitions }: Run): Known[] {
  const [first] = transitions ?? [];
  return first !== undefined && first.at === createdAt ? [{ id, number: first.sequence }] : [];
}
