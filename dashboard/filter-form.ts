/** Where filters are typed. What was typed is applied as it comes; what it comes to is in the address. */

import { element, Keyed, setAttribute } from "./dom.ts";
import type { Filters } from "./filters.ts";
import type { RunTable } from "./run-table.ts";

/** How a filter changed: typed letters replace the address, everything else is a step that back undoes. */
export type Filtering = (change: Partial<Filters>, options?: { replace?: boolean }) => void;

const MOST_SUGGESTED = 50;
let lists = 0;

export class FilterForm {
  readonly #text = element("input", {
    type: "search",
    "aria-label": "filter by text",
    placeholder: "Filter by id, task, tag, error…",
    "aria-keyshortcuts": "/",
    autocomplete: "off",
    spellcheck: "false",
  });
  readonly #task: Suggesting;
  readonly #tag: Suggesting;
  readonly #batch: Suggesting;
  readonly #chosen = element("span", { class: "chosen" });
  readonly #chips: Keyed<Chip, HTMLButtonElement>;
  readonly element: HTMLFormElement;
  #filters: Filters | null = null;
  #typed = 0;

  constructor(table: RunTable, change: Filtering, { batch: hasBatch = true } = {}) {
    this.#task = new Suggesting(
      "task",
      table,
      (run) => [run.taskIdentifier],
      (task) => change({ task }),
    );
    this.#tag = new Suggesting(
      "tag",
      table,
      (run) => run.tags ?? [],
      (tag) => change({ tags: [...new Set([...(this.#filters?.tags ?? []), tag])] }),
    );
    this.#batch = new Suggesting(
      "batch",
      table,
      (run) => [run.batchId],
      (batch) => change({ batch }),
    );
    this.#chips = new Keyed(this.#chosen, ({ label, without }) =>
      element(
        "button",
        {
          type: "button",
          class: "chip",
          "aria-label": `remove ${label}`,
          onclick: () => change(without(this.#filters!)),
        },
        label,
        element("span", { "aria-hidden": "true" }, " ×"),
      ),
    );
    this.element = element(
      "form",
      { class: "filters", role: "search", onsubmit: (event: Event) => event.preventDefault() },
      element("span", { class: "text" }, this.#text, element("kbd", { "aria-hidden": "true" }, "/")),
      this.#task.element,
      this.#tag.element,
      hasBatch && this.#batch.element,
      this.#chosen,
    );
    this.#text.addEventListener("input", () => {
      // The first letter is a step of its own, so that back leads to the list as it was before.
      const first = this.#typed === 0 && !this.#filters?.text;
      this.#typed = this.#text.value ? this.#typed + 1 : 0;
      change({ text: this.#text.value.trim() }, { replace: !first });
    });
    this.#text.addEventListener("blur", () => (this.#typed = 0));
  }

  focus(): void {
    this.#text.focus();
    this.#text.select();
  }

  get hasFocus(): boolean {
    return this.element.contains(document.activeElement);
  }

  show(filters: Filters, { fixedBatch = false } = {}): void {
    this.#filters = filters;
    // Spaces at the end are still to be written on.
    if (this.#text.value.trim() !== filters.text) this.#text.value = filters.text;
    const chips: Chip[] = [
      ...filters.tags.map((tag) => ({
        label: `tag ${tag}`,
        without: (now: Filters) => ({ tags: now.tags.filter((other) => other !== tag) }),
      })),
      ...(filters.task ? [{ label: `task ${filters.task}`, without: () => ({ task: "" }) }] : []),
      ...(filters.batch && !fixedBatch ? [{ label: `batch ${filters.batch}`, without: () => ({ batch: "" }) }] : []),
    ];
    this.#chips.show(chips, ({ label }) => label);
    setAttribute(this.#chosen, "hidden", chips.length === 0);
  }
}

interface Chip {
  label: string;
  without: (filters: Filters) => Partial<Filters>;
}

type Run = Parameters<RunTable["put"]>[0];

/** A field that knows which values there are. What is typed counts when it is chosen, or Enter is pressed. */
class Suggesting {
  readonly #input: HTMLInputElement;
  readonly #list = element("datalist", { id: `suggestions-${(lists += 1)}` });
  readonly element: HTMLElement;
  #values = new Set<string>();

  constructor(
    name: string,
    table: RunTable,
    of: (run: Run) => readonly (string | undefined)[],
    chosen: (value: string) => void,
  ) {
    this.#input = element("input", {
      "aria-label": `filter by ${name}`,
      placeholder: name[0]!.toUpperCase() + name.slice(1),
      list: this.#list.id,
      autocomplete: "off",
      spellcheck: "false",
      name,
    });
    this.element = element("span", { class: "suggesting" }, this.#input, this.#list);
    const choose = (): void => {
      const value = this.#input.value.trim();
      this.#input.value = "";
      if (value) chosen(value);
    };
    this.#input.addEventListener("focus", () => this.#suggest(table, of));
    this.#input.addEventListener("change", choose);
    this.#input.addEventListener("input", (event) => {
      // Chosen from the suggestions rather than typed: that is a decision.
      if (!(event instanceof InputEvent) || event.inputType === "insertReplacementText") {
        if (this.#values.has(this.#input.value)) choose();
      }
    });
  }

  #suggest(table: RunTable, of: (run: Run) => readonly (string | undefined)[]): void {
    this.#values = new Set();
    for (const run of table.runs()) {
      for (const value of of(run)) if (value) this.#values.add(value);
      if (this.#values.size >= MOST_SUGGESTED) break;
    }
    this.#list.replaceChildren(...[...this.#values].sort().map((value) => element("option", { value })));
  }
}
