/** How many runs have each status; each is a switch of the filter. */

import { element, Keyed, setAttribute, setText } from "./dom.ts";
import { look, STATUSES } from "./statuses.ts";
import { count } from "./words.ts";

/** Always there, so that nothing jumps while runs come and go. */
const ALWAYS = ["EXECUTING", "QUEUED", "COMPLETED", "FAILED"];

export class StatusCounts {
  readonly #group = element("div", { class: "counts", role: "group", "aria-label": "status" });
  /** Of what these are the numbers, where that is not everything. */
  readonly #of = element("p", { class: "of" });
  readonly element = element("div", { class: "counting" }, this.#group, this.#of);
  readonly #chips: Keyed<string, HTMLButtonElement>;
  #counts: ReadonlyMap<string, number> = new Map();
  #chosen: readonly string[] = [];
  #known = false;

  constructor(choose: (statuses: readonly string[]) => void) {
    this.#chips = new Keyed(
      this.#group,
      (status) => {
        const { icon, kind, text } = look(status);
        return element(
          "button",
          { type: "button", class: "count", "data-kind": kind, onclick: () => choose(this.#toggled(status)) },
          element("span", { class: "icon", "aria-hidden": "true" }, icon),
          element("span", { class: "number" }),
          element("span", { class: "word" }, text),
        );
      },
      (chip, status) => {
        const number = this.#counts.get(status) ?? 0;
        const [, shown] = chip.children;
        // Until the first snapshot is whole nobody knows how many there are.
        if (shown) setText(shown, this.#known ? count(number) : "–");
        setAttribute(chip, "data-none", this.#known && number === 0);
        setAttribute(chip, "aria-pressed", String(this.#chosen.includes(status)));
      },
    );
  }

  /** Args: of says of what these are the numbers; nothing where that is everything. */
  show(counts: ReadonlyMap<string, number>, chosen: readonly string[], known: boolean, of: string): void {
    setText(this.#of, of);
    this.#counts = counts;
    this.#chosen = chosen;
    this.#known = known;
    const order = [...new Set([...Object.keys(STATUSES), ...counts.keys(), ...chosen])];
    const shown = order.filter((status) => ALWAYS.includes(status) || counts.has(status) || chosen.includes(status));
    this.#chips.show(shown, (status) => status);
  }

  #toggled(status: string): string[] {
    return this.#chosen.includes(status) ? this.#chosen.filter((other) => other !== status) : [...this.#chosen, status];
  }
}
