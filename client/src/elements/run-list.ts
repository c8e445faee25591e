// <run-list>: the runs of a tag, a batch, a task, or all of them, newest first, each as it stands.
//
// A change touches the row of its run, and of that only what differs; rows that are out of sight are not laid out
// (content-visibility). So a thousand of them may change some hundred times a second.

import type { Run } from "../index.ts";
import { draw, fill, icon, part, setAttribute, setText, sheet } from "./dom.ts";
import { RunElement } from "./element.ts";
import { percentOf, tallyOf } from "./progress.ts";
import css from "./run-list.css";
import { countsOf, detailOf, errorOf, moment, shortName, type Shown, type Told } from "./shown.ts";
import { isOver, kindOf } from "./statuses.ts";
import type { Voice } from "./words.ts";

const STYLES = sheet(css);
const MOST_ROWS = 1000;
const COLUMNS = ["status", "run", "progress", "since"];

export class RunList extends RunElement {
  readonly #summary = part("summary", [], "bdi");
  readonly #heads = part(
    "row",
    COLUMNS.map((name) => part(`${name} head`, [], "div", "columnheader")),
    "div",
    "row",
  );
  readonly #body = part("rows", [], "div", "rowgroup");
  readonly #table = part("table", [this.#heads, this.#body], "div", "table");
  readonly #rows = new Map<string, Row>();
  #order: Row[] = []; // those created last come first, so that rows don't jump about

  constructor() {
    super(STYLES);
    this.frame.append(this.#summary, this.#table);
  }

  protected override paint({ name }: Shown, { runs, whole }: Told, changed?: ReadonlySet<string>): void {
    const { voice } = this;
    const most = Number(this.getAttribute("limit")) || MOST_ROWS;
    const anything = new Set([...this.#rows.keys(), ...runs.keys()]);
    for (const id of changed ?? anything) this.#put(id, runs.get(id), voice);
    // When rows went, there may be older runs to take their place.
    if (this.#order.length < Math.min(most, runs.size)) for (const id of anything) this.#put(id, runs.get(id), voice);
    for (const row of this.#order.splice(most)) this.#drop(row);
    const cut = this.#order.length < runs.size || (!whole && runs.size >= most);
    const counts = countsOf(tallyOf(runs.values()), voice).join(" · ");
    setText(
      this.#summary,
      counts && cut ? `${counts} (${voice.say("newest", this.#order.length)})` : counts || voice.say("none"),
    );
    this.#table.hidden = !counts;
    setAttribute(this.#table, "aria-label", name);
    if (!changed) COLUMNS.forEach((column, i) => setText(this.#heads.children[i] as Element, voice.say(column)));
  }

  #put(id: string, run: Run | undefined, voice: Voice): void {
    let row = this.#rows.get(id);
    if (!run) {
      if (row) this.#order.splice(this.#order.indexOf(row), 1);
      return this.#drop(row);
    }
    if (!row) {
      row = new Row(run, this.getAttribute("href"));
      this.#rows.set(id, row);
      const place = placeOf(row, this.#order);
      this.#body.insertBefore(row.element, this.#order[place]?.element ?? null);
      this.#order.splice(place, 0, row);
    }
    row.show(run, voice);
  }

  #drop(row: Row | undefined): void {
    row?.element.remove();
    if (row) this.#rows.delete(row.id);
  }
}

/** One run. */
class Row {
  readonly id: string;
  readonly created: number;
  readonly element: HTMLElement;
  readonly #icon = icon();
  readonly #status = part("text", [], "span");
  readonly #name: HTMLElement;
  readonly #fill = part("fill");
  readonly #bar = part("bar", [this.#fill]);
  readonly #detail = part("detail", [], "bdi");
  readonly #since = part("time", [], "time") as HTMLTimeElement;
  #voice: Voice | null = null;
  #run: Run | null = null;

  /** @param href where its name leads to, with `{id}` in it; null for nowhere */
  constructor(run: Run, href: string | null) {
    this.id = run.id;
    this.created = moment(run.createdAt);
    this.#name = part("name", [new Text(shortName(run))], href ? "a" : "bdi");
    if (href) setAttribute(this.#name, "href", href.replaceAll("{id}", encodeURIComponent(run.id)));
    const id = part("id", [new Text(run.id)], "bdi");
    id.title = run.id; // it gives way to the name
    const columns = [[this.#icon, this.#status], [this.#name, id], [this.#bar, this.#detail], [this.#since]];
    this.element = part(
      "row",
      columns.map((children, i) => part(COLUMNS[i] ?? "", children, "div", "cell")),
      "div",
      "row",
    );
  }

  show(run: Run, voice: Voice): void {
    const { finishedAt, startedAt, queuedAt, createdAt } = run;
    const since = finishedAt ?? startedAt ?? queuedAt ?? createdAt;
    setText(this.#since, voice.ago(moment(since), Date.now()));
    if (run === this.#run && voice === this.#voice) return;
    [this.#run, this.#voice] = [run, voice];
    const kind = kindOf(run.status);
    const percent = percentOf(run);
    setAttribute(this.element, "data-kind", kind);
    draw(this.#icon, kind);
    setText(this.#status, voice.say(run.status));
    this.#bar.hidden = percent === null; // decoration: the words beside it say the same
    fill(this.#fill, kind, percent ?? 0);
    setText(this.#detail, isOver(kind) ? errorOf(run) : detailOf(run, voice));
    this.#since.dateTime = since;
  }
}

/** Where a row belongs. */
function placeOf(made: Row, order: readonly Row[]): number {
  let [low, high] = [0, order.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const { created, id } = order[middle] as Row;
    if (created > made.created || (created === made.created && id > made.id)) low = middle + 1;
    else high = middle;
  }
  return low;
}
