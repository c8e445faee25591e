/**
 * Runs beyond the snapshot of a feed, which holds a thousand at most: read page by page, the newest first.
 *
 * Once they are known the feed keeps them fresh, for it tells each change of any of its runs. Not so after a break,
 * when the gateway may have begun with another snapshot: then they are read again.
 */

import type { Run } from "../client/src/index.ts";
import { request } from "./api.ts";
import { type FeedChoice, listQuery } from "./filters.ts";

/** What a list does not show. Payloads and outputs may be megabytes each. */
export const SKIPPED = ["payload", "output", "context"];
/** Who looks for older ones than so many had better narrow the filter. */
export const MOST_RUNS = 20_000;
const PAGE = 100;
/** So many runs more at each click, if that is not more work for the gateway than so many requests. */
const STEP = 1_000;
const MOST_REQUESTS = 100;

interface Page {
  runs: Run[];
  next: string | null;
}

export class OlderRuns {
  readonly #credential: string;
  readonly #feed: FeedChoice;
  readonly #statuses: readonly string[];
  readonly #abort = new AbortController();
  #after: string | null = "";
  #read = 0;
  /** A page is on its way. */
  loading = false;

  constructor(credential: string, feed: FeedChoice, statuses: readonly string[]) {
    this.#credential = credential;
    this.#feed = feed;
    this.#statuses = statuses;
  }

  /** Whether there are no more: every run of the feed with one of the statuses has been read. */
  get exhausted(): boolean {
    return this.#after === null;
  }

  /** How many pages were asked for, in runs. */
  get read(): number {
    return this.#read;
  }

  /**
   * Read on until *put* has found so many runs new, or there are no more, or it was enough for once.
   *
   * Args: put takes a run, and returns whether it was not known before.
   */
  async load(put: (run: Run) => boolean, most = STEP): Promise<void> {
    if (this.loading || this.exhausted) return;
    this.loading = true;
    try {
      let found = 0;
      for (let asked = 0; asked < MOST_REQUESTS && found < most && !this.exhausted && this.#read < MOST_RUNS; asked++) {
        const page: Page = await request(this.#credential, this.#address(this.#after ?? ""), {
          signal: this.#abort.signal,
        });
        for (const run of page.runs) if (put(run)) found += 1;
        this.#read += page.runs.length;
        this.#after = page.next;
      }
    } finally {
      this.loading = false;
    }
  }

  close(): void {
    this.#abort.abort();
  }

  get closed(): boolean {
    return this.#abort.signal.aborted;
  }

  #address(after: string): string {
    const query = listQuery(this.#feed, { limit: PAGE, skipColumns: SKIPPED.join(",") });
    if (this.#statuses.length > 0) query.set("status", this.#statuses.join(","));
    if (after) query.set("after", after);
    return `/v1/runs?${query}`;
  }
}
