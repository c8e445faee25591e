/** A batch: how far all of its runs are together, and the runs. */

import { percentOf } from "../client/src/elements/progress.ts";
import type { ConnectionState, Run, Runcast } from "../client/src/index.ts";
import { batchPath, go, type Place } from "./address.ts";
import { request } from "./api.ts";
import { copyable } from "./copying.ts";
import { element, Keyed, setAttribute, setNumber, setText } from "./dom.ts";
import type { FeedRuns } from "./feed-runs.ts";
import { type Filters, writeFilters } from "./filters.ts";
import { watchBatchCommand } from "./minting.ts";
import type { Page } from "./page.ts";
import { RunsView } from "./runs-view.ts";
import type { Session } from "./session.ts";
import { isFinal, type Kind, KINDS, look } from "./statuses.ts";
import { clockTime, count, plural } from "./words.ts";

/** How often a batch is counted by the gateway that is too large for the page. */
const COUNT_SECONDS = 5;

/** As `GET /v1/batches/{id}` has it. */
interface Counted {
  runCount: number;
  statuses: Record<string, number>;
  truncated: boolean;
}

export class BatchPage implements Page {
  readonly title: string;
  readonly element: HTMLElement;
  readonly #id: string;
  readonly #credential: string;
  readonly #view: RunsView;
  readonly #words = element("p", { class: "said" });
  readonly #working = element("p", { class: "quiet" });
  readonly #bar = element("div", { class: "shares", role: "progressbar", "aria-label": "ended" });
  readonly #shares = new Keyed<{ kind: Kind; part: number }, HTMLElement>(
    this.#bar,
    ({ kind }) => element("span", { "data-kind": kind }),
    (share, { part }) => setNumber(share, "--part", part),
  );
  readonly #abort = new AbortController();
  #counted: { at: Date; counted: Counted } | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #counting = false;

  constructor(runcast: Runcast, { credential }: Session, id: string, filters: Filters) {
    this.#id = id;
    this.#credential = credential;
    this.title = `batch ${id}`;
    this.#view = new RunsView({
      runcast,
      credential,
      filters: { ...filters, batch: id },
      fixedBatch: true,
      choose: (chosen, how) => {
        const query = writeFilters({ ...chosen, batch: "" });
        go(query ? `${batchPath(id)}?${query}` : batchPath(id), how);
      },
      counted: () => this.#counts(),
      drawn: (runs) => this.#show(runs),
    });
    this.element = element(
      "div",
      { class: "batch-page" },
      element(
        "header",
        { class: "batch-head" },
        element("h1", {}, "Batch"),
        copyable(id),
        copyable(watchBatchCommand(id)),
        this.#bar,
        this.#words,
        this.#working,
      ),
      this.#view.element,
    );
  }

  connection(): ConnectionState | null {
    return this.#view.runs.connection;
  }

  move(place: Place): boolean {
    if (place.page !== "batch" || place.id !== this.#id) return false;
    this.#view.setFilters({ ...place.filters, batch: this.#id });
    return true;
  }

  search(): void {
    this.#view.focusFilter();
  }

  step(by: number): void {
    this.#view.move(by);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#abort.abort();
    this.#view.close();
  }

  #show(runs: FeedRuns): void {
    const { view } = runs;
    if (view === null || !view.complete) return;
    if (view.truncated) {
      this.#countThere();
      if (this.#counted !== null) this.#showCounted(this.#counted.counted, this.#counted.at);
      return;
    }
    const statuses: Record<string, number> = {};
    const known = [...runs.table.runs()];
    for (const { status } of known) statuses[status] = (statuses[status] ?? 0) + 1;
    this.#showCounted({ runCount: known.length, statuses, truncated: false }, null);
    this.#showWorking(known);
  }

  /** The numbers of the bar for each status, where the page does not have all runs. */
  #counts(): { counts: ReadonlyMap<string, number>; of: string } | null {
    if (this.#counted === null || this.#view.runs.view?.truncated !== true) return null;
    const { counted, at } = this.#counted;
    const of = counted.truncated ? `of the newest ${plural(counted.runCount, "run")}` : "of the whole batch";
    return { counts: new Map(Object.entries(counted.statuses)), of: `${of}, counted at ${clockTime(at)}` };
  }

  #showCounted({ runCount, statuses, truncated }: Counted, at: Date | null): void {
    const kinds = new Map<Kind, number>();
    let ended = 0;
    for (const [status, number] of Object.entries(statuses)) {
      const { kind } = look(status);
      kinds.set(kind, (kinds.get(kind) ?? 0) + number);
      if (isFinal(status)) ended += number;
    }
    const shares = KINDS.map((kind) => ({ kind, part: (kinds.get(kind) ?? 0) / Math.max(1, runCount) }));
    this.#shares.show(shares, ({ kind }) => kind);
    const percent = runCount === 0 ? 0 : Math.floor((100 * ended) / runCount);
    setAttribute(this.#bar, "aria-valuemin", 0);
    setAttribute(this.#bar, "aria-valuemax", 100);
    setAttribute(this.#bar, "aria-valuenow", percent);
    const of = truncated ? `the newest ${plural(runCount, "run")}` : plural(runCount, "run");
    const when = at === null ? "" : `, counted at ${clockTime(at)}`;
    const words =
      runCount === 0 ? "This batch has no runs yet." : `${count(ended)} of ${of} ended (${percent} %)${when}`;
    setText(this.#words, words);
    setAttribute(this.#bar, "aria-valuetext", words);
  }

  /** What those at work say of themselves, which is not in the bar: it counts what has ended. */
  #showWorking(runs: readonly Run[]): void {
    const percents = runs.filter(({ status }) => look(status).kind === "working").map(percentOf);
    const known = percents.filter((percent) => percent !== null);
    const mean = known.reduce((sum, percent) => sum + percent, 0) / Math.max(1, known.length);
    const words = `${plural(percents.length, "run")} at work`;
    const far = known.length === 0 ? "" : known.length === percents.length ? ", " : `, ${count(known.length)} of them `;
    setText(
      this.#working,
      percents.length === 0
        ? ""
        : known.length === 0
          ? words
          : `${words}${far}${Math.floor(mean)} % done on average`,
    );
  }

  /** The page has the runs that changed last; of all of them only the gateway can say how they stand. */
  #countThere(): void {
    if (this.#counting) return;
    this.#counting = true;
    const again = (): void => {
      void request<Counted>(this.#credential, `/v1/batches/${encodeURIComponent(this.#id)}`, {
        signal: this.#abort.signal,
      })
        .then((counted) => {
          this.#counted = { at: new Date(), counted };
          this.#showCounted(counted, this.#counted.at);
        })
        .catch(() => undefined) // what was counted last says from when it is
        .finally(() => {
          if (!this.#abort.signal.aborted) this.#timer = setTimeout(again, COUNT_SECONDS * 1000);
        });
    };
    again();
  }
}
