/** A live list of runs with its counts, filters and throughput: the list's page, and the lower part of a batch's. */

import type { Runcast } from "../client/src/index.ts";
import { serverClock } from "./clock.ts";
import { element, perFrame, setText } from "./dom.ts";
import { FeedRuns } from "./feed-runs.ts";
import { FilterForm, type Filtering } from "./filter-form.ts";
import { type Filters, isFiltered } from "./filters.ts";
import { Sparkline } from "./sparkline.ts";
import { StatusCounts } from "./status-counts.ts";
import { type Bin, BIN_MILLISECONDS, BINS } from "./throughput.ts";
import { WindowedList } from "./windowed-list.ts";
import { count, duration, plural } from "./words.ts";

export interface RunsViewOptions {
  runcast: Runcast;
  credential: string;
  filters: Filters;
  /** Takes the filters that somebody chose. They come back by `setFilters`, when the address has them. */
  choose: (filters: Filters, options?: { replace?: boolean }) => void;
  /** Whether the list of these filters is one to be asked for; by default each is. */
  isOffered?: (filters: Filters) => boolean;
  /** The list is of this batch, and stays so. */
  fixedBatch?: boolean;
  /** What somebody knows better who counted all of them, where the page has only some; null while nobody does. */
  counted?: () => { counts: ReadonlyMap<string, number>; of: string } | null;
  /** Called at most once per frame, when anything may be another than before. */
  drawn?: (runs: FeedRuns) => void;
}

export class RunsView {
  readonly runs: FeedRuns;
  readonly #options: RunsViewOptions;
  readonly #counts: StatusCounts;
  readonly #form: FilterForm;
  readonly #sparkline = new Sparkline();
  readonly #ended = element("p", { class: "ended" });
  readonly #summary = element("p", { class: "summary", role: "status" });
  readonly #older = element("button", { type: "button", class: "older", onclick: () => void this.runs.loadOlder() });
  readonly #empty = element("p", { class: "empty", hidden: true });
  readonly #list: WindowedList;
  readonly element: HTMLElement;
  readonly #timer = setInterval(() => this.#draw(), 1000);
  readonly #draw = perFrame(() => this.#show());

  constructor(options: RunsViewOptions) {
    this.#options = options;
    this.runs = new FeedRuns(options, () => this.#draw?.());
    const { table } = this.runs;
    const filtering: Filtering = (change, how) => options.choose({ ...this.runs.filters, ...change }, how);
    this.#counts = new StatusCounts((statuses) => filtering({ statuses }));
    this.#form = new FilterForm(table, filtering, { batch: !options.fixedBatch });
    this.#list = new WindowedList(table);
    this.#list.now = () => this.now();
    this.element = element(
      "section",
      { class: "runs", "aria-label": "runs" },
      element(
        "div",
        { class: "overview" },
        this.#counts.element,
        element("div", { class: "throughput" }, this.#sparkline.element, this.#ended),
      ),
      this.#form.element,
      element(
        "div",
        { class: "head", "aria-hidden": "true" },
        ...HEADINGS.map((heading) => element("span", {}, heading)),
      ),
      this.#empty,
      this.#list.element,
      element("div", { class: "foot" }, this.#summary, this.#older),
    );
    this.#draw();
  }

  /** What time it is; while what is shown may be old, the time that it is from. */
  now(): number {
    const connection = this.runs.connection;
    if (connection === null || connection.state === "live" || connection.asOf === null) return serverClock.now();
    return connection.asOf.getTime();
  }

  setFilters(filters: Filters): void {
    this.runs.setFilters(filters);
    this.#list.reset();
  }

  focusFilter(): void {
    this.#form.focus();
  }

  move(by: number): void {
    this.#list.move(by);
  }

  close(): void {
    clearInterval(this.#timer);
    this.runs.close();
    this.#list.close();
  }

  #show(): void {
    const { filters, view } = this.runs;
    const complete = view?.complete === true;
    this.#showCounts(complete);
    this.#form.show(filters, { fixedBatch: this.#options.fixedBatch ?? false });
    this.#showThroughput();
    this.#showSummary(complete);
    this.#list.invalidate();
    this.#options.drawn?.(this.runs);
  }

  #showCounts(complete: boolean): void {
    const { table, filters, allStatusesWhole } = this.runs;
    const loaded = `of the ${count(table.known)} runs that are loaded`;
    const own = { counts: table.counts, of: complete && !allStatusesWhole ? loaded : "" };
    const canBeOthers = own.of !== "" && !isFiltered({ ...filters, statuses: [], batch: "" });
    const { counts, of } = (canBeOthers && this.#options.counted?.()) || own;
    this.#counts.show(counts, filters.statuses, complete, of);
  }

  #showThroughput(): void {
    const now = this.now();
    const bins = this.runs.throughput.last(now);
    const from = Math.ceil((this.runs.endingsKnownFrom - now) / BIN_MILLISECONDS) + BINS;
    const known = bins.map((bin, i) => (i < from ? null : bin));
    const words = this.runs.view?.complete ? endedWords(known.filter((bin) => bin !== null)) : "";
    setText(this.#ended, words);
    this.#sparkline.show(known, words || "not known yet");
  }

  #showSummary(complete: boolean): void {
    const { table, filters, whole, hasOlder, loadingOlder, problem } = this.runs;
    const listed = table.listed.length;
    const waits = this.runs.connection !== null && this.runs.connection.state !== "denied";
    setText(this.#summary, problem || (complete ? this.#counted(listed) : waits ? "Loading…" : ""));
    this.#older.hidden = !hasOlder;
    this.#older.disabled = loadingOlder;
    setText(this.#older, loadingOlder ? "Loading older runs…" : "Load older runs");
    this.#empty.hidden = !complete || listed > 0;
    const filtered = isFiltered(this.#options.fixedBatch ? { ...filters, batch: "" } : filters);
    if (!this.#empty.hidden)
      setText(this.#empty, loadingOlder ? "Looking for older ones…" : emptyWords(filtered, whole));
  }

  /** Never a number that could be taken for more than is known. */
  #counted(listed: number): string {
    const { table, whole, allStatusesWhole, hasOlder, hasReadOlder } = this.runs;
    const known = table.known;
    if (whole && !allStatusesWhole) return plural(listed, "run");
    if (whole) return listed === known ? plural(known, "run") : `${count(listed)} of ${plural(known, "run")}`;
    const more = hasOlder
      ? hasReadOlder
        ? "there may be older ones"
        : "there are older ones"
      : "narrow the filter to see older ones";
    const these = `${count(known)} runs that are loaded; ${more}`;
    return listed === known ? `The ${these}` : `${count(listed)} of the ${these}`;
  }
}

const HEADINGS = ["", "status", "task and id", "progress", "tags", "took", "age"];

/** What the chart shows, as text. Args: bins are those of which all is known. */
function endedWords(bins: readonly Bin[]): string {
  if (bins.length === 0) return "what ends from now on is counted here";
  const total = bins.reduce((sum, { good, other }) => sum + good + other, 0);
  const bad = bins.reduce((sum, { other }) => sum + other, 0);
  const span = bins.length === BINS ? "" : "the last ";
  const words = `${count(total)} ended in ${span}${duration(bins.length * BIN_MILLISECONDS).replace(" 0 s", "")}`;
  return bad > 0 ? `${words}, ${count(bad)} failed or stopped` : words;
}

function emptyWords(filtered: boolean, whole: boolean): string {
  if (filtered)
    return whole ? "No run passes these filters." : "None of the runs that are loaded passes these filters.";
  return "No runs yet. They appear here as soon as a job says something.";
}
