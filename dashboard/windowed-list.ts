/**
 * A list of any length of which only what can be seen is in the page.
 *
 * Whoever is at its top sees new runs come in. Whoever has scrolled, or is in it with the keyboard, keeps the rows that
 * they look at where they are.
 */

import { element, Keyed, perFrame, setAttribute, setNumber, setText } from "./dom.ts";
import { Row } from "./row.ts";
import type { Entry, RunTable } from "./run-table.ts";
import { serverClock } from "./clock.ts";
import { plural } from "./words.ts";

/** Rows above and below the window, so that scrolling finds them there. */
const SPARE = 8;
/** Pixels; the stylesheet takes them from here. On a phone a row has two lines. */
const ROW = { wide: 38, narrow: 64 };
const NARROW = matchMedia("(max-width: 50rem)");

export class WindowedList {
  readonly #rows = element("ol", { class: "rows", "aria-label": "runs" });
  readonly #newer = element("button", { class: "newer", type: "button", hidden: true, onclick: () => this.toTop() });
  readonly #box = element("div", { class: "window" }, this.#rows);
  readonly element = element("div", { class: "list" }, this.#newer, this.#box);
  readonly #drawnRows = new Map<string, Row>();
  readonly #keyed: Keyed<{ entry: Entry; place: number }, HTMLLIElement>;
  readonly #table: RunTable;
  /** The first row that can be seen, and how many pixels of it can't. */
  #anchor: { id: string; cut: number } | null = null;
  /** Where we scrolled to ourselves, to keep that place; null when somebody has scrolled since. */
  #held: number | null = null;
  /** The newest run when the top was last seen. */
  #newest: string | null = null;
  #selected: string | null = null;
  #height = 0;
  #row = ROW.wide;
  readonly #watch = new ResizeObserver(() => this.#resized());

  /** Draw in the next frame. */
  readonly invalidate = perFrame(() => this.#draw());

  constructor(table: RunTable) {
    this.#table = table;
    this.#keyed = new Keyed(
      this.#rows,
      ({ entry }) => {
        const row = new Row();
        this.#drawnRows.set(entry.id, row);
        row.link.addEventListener("focus", () => this.#select(entry.id));
        return row.element;
      },
      (_, { entry, place }) => {
        const row = this.#drawnRows.get(entry.id);
        row?.show(entry.run, place, this.#table.listed.length, this.now());
        if (row) setAttribute(row.link, "tabindex", entry.id === this.#selected ? 0 : -1);
      },
    );
    this.#box.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#rows.addEventListener("keydown", (event) => this.#onKey(event));
    this.#watch.observe(this.#box);
    this.#resized();
  }

  /** The time that ages are counted to; it stands still while what is shown may be old. */
  now: () => number = () => serverClock.now();

  close(): void {
    this.#watch.disconnect();
  }

  /** Begin at the top again: these are other runs. */
  reset(): void {
    this.#selected = null;
    this.toTop();
  }

  toTop(): void {
    this.#anchor = null;
    this.#box.scrollTop = 0;
    this.invalidate();
  }

  /** Move the keyboard's place by so many rows; whoever was elsewhere is brought to where it was, or to the first. */
  move(by: number): void {
    const { listed } = this.#table;
    if (listed.length === 0) return;
    const place = this.#selected === null ? -1 : this.#table.place(this.#selected);
    const from = place < 0 ? Math.ceil(this.#box.scrollTop / this.#row) : place;
    const wanted = place >= 0 && this.#hasFocus ? from + by : from;
    this.#focus(Math.max(0, Math.min(listed.length - 1, wanted)));
  }

  get #hasFocus(): boolean {
    return this.#rows.contains(document.activeElement);
  }

  #focus(place: number): void {
    const entry = this.#table.listed[place];
    if (entry === undefined) return;
    this.#selected = entry.id;
    const top = place * this.#row;
    if (top < this.#box.scrollTop) this.#box.scrollTop = top;
    else if (top + this.#row > this.#box.scrollTop + this.#height) this.#box.scrollTop = top + this.#row - this.#height;
    this.#remember();
    this.#draw();
    this.#drawnRows.get(entry.id)?.link.focus({ preventScroll: true });
  }

  #select(id: string): void {
    this.#selected = id;
    this.#remember();
    this.invalidate();
  }

  #onKey(event: KeyboardEvent): void {
    const page = Math.max(1, Math.floor(this.#height / this.#row) - 1);
    const steps: Record<string, number> = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: Number.NEGATIVE_INFINITY,
      End: Number.POSITIVE_INFINITY,
    };
    const by = steps[event.key];
    if (by === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.move(by);
  }

  #scrolled(): void {
    // What we did ourselves comes back as an event, perhaps when other runs have come that are not drawn yet.
    if (this.#box.scrollTop !== this.#held) this.#remember();
    this.invalidate();
  }

  /** What is looked at stays where it is, unless that is simply the newest. */
  #remember(): void {
    this.#held = null;
    const top = this.#box.scrollTop;
    const first = this.#table.listed[Math.floor(top / this.#row)];
    this.#anchor = (top > 0 || this.#hasFocus) && first !== undefined ? { id: first.id, cut: top % this.#row } : null;
  }

  #resized(): void {
    this.#row = NARROW.matches ? ROW.narrow : ROW.wide;
    this.#height = this.#box.clientHeight;
    this.#rows.style.setProperty("--row", `${this.#row}px`);
    this.invalidate();
  }

  #draw(): void {
    const { listed } = this.#table;
    setNumber(this.#rows, "--size", listed.length);
    this.#holdAnchor();
    const top = this.#box.scrollTop;
    const first = Math.max(0, Math.floor(top / this.#row) - SPARE);
    const last = Math.min(listed.length, Math.ceil((top + this.#height) / this.#row) + SPARE);
    const shown = listed.slice(first, last).map((entry, i) => ({ entry, place: first + i }));
    this.#keepSelected(shown, first);
    this.#keyed.show(shown, ({ entry }) => entry.id);
    this.#forgetRows(shown);
    this.#showNewer(top);
  }

  #holdAnchor(): void {
    if (this.#anchor === null) return;
    const place = this.#table.place(this.#anchor.id);
    if (place < 0) return; // it is gone, and something has to take its place
    const top = place * this.#row + this.#anchor.cut;
    if (Math.abs(this.#box.scrollTop - top) < 1) return;
    this.#box.scrollTop = top;
    this.#held = this.#box.scrollTop;
  }

  /** The row with the focus stays in the page when it is scrolled away; the first one takes it when there is none. */
  #keepSelected(shown: { entry: Entry; place: number }[], first: number): void {
    const { listed } = this.#table;
    const place = this.#selected === null ? -1 : this.#table.place(this.#selected);
    if (place < 0) {
      this.#selected = listed[Math.ceil(this.#box.scrollTop / this.#row)]?.id ?? null;
      return;
    }
    const entry = listed[place];
    if (entry === undefined || shown.some((row) => row.place === place)) return;
    if (place < first) shown.unshift({ entry, place });
    else shown.push({ entry, place });
  }

  #forgetRows(shown: readonly { entry: Entry }[]): void {
    if (this.#drawnRows.size === shown.length) return;
    const kept = new Set(shown.map(({ entry }) => entry.id));
    for (const id of this.#drawnRows.keys()) if (!kept.has(id)) this.#drawnRows.delete(id);
  }

  #showNewer(top: number): void {
    const place = this.#newest === null ? -1 : this.#table.place(this.#newest);
    if (top < this.#row || place < 0) this.#newest = this.#table.listed[0]?.id ?? null;
    const above = top < this.#row ? 0 : Math.max(0, place);
    this.#newer.hidden = above === 0;
    if (above > 0) setText(this.#newer, `↑ ${plural(above, "newer run")}`);
  }
}
