/** Keys that do something wherever the focus is, but for where one types. */

import { element } from "./dom.ts";

export interface Actions {
  search(): void;
  step(by: number): void;
  /** To the list. */
  home(): void;
  gateway?(): void;
}

const HELP: readonly (readonly [string, string])[] = [
  ["/", "type a filter"],
  ["j k, ↓ ↑", "next and previous run"],
  ["Enter", "open the run"],
  ["PageDown, PageUp, Home, End", "move in the list"],
  ["Esc", "leave the filter; from a run back to the list"],
  ["g", "the gateway"],
  ["?", "this help"],
];

/** Single letters get in the way of whoever speaks to their computer: they can be switched off, for this tab. */
const OFF = "runcast.noShortcuts";

export class Shortcuts {
  readonly dialog: HTMLDialogElement;
  readonly #actions: Actions;
  readonly #switch = element("input", { type: "checkbox", checked: true });

  constructor(actions: Actions) {
    this.#actions = actions;
    this.#switch.checked = sessionStorage.getItem(OFF) === null;
    this.#switch.addEventListener("change", () => {
      if (this.#switch.checked) sessionStorage.removeItem(OFF);
      else sessionStorage.setItem(OFF, "1");
    });
    this.dialog = element(
      "dialog",
      { class: "help", "aria-labelledby": "help-title" },
      element("h2", { id: "help-title" }, "Keys"),
      element(
        "dl",
        { class: "facts" },
        ...HELP.filter(([keys]) => keys !== "g" || actions.gateway).flatMap(([keys, words]) => [
          element("dt", {}, keys),
          element("dd", {}, words),
        ]),
      ),
      element("p", {}, element("label", {}, this.#switch, " keys that are single letters or signs")),
      element("form", { method: "dialog" }, element("button", {}, "Close")),
    );
    document.addEventListener("keydown", (event) => this.#onKey(event));
  }

  help(): void {
    this.dialog.showModal();
  }

  #onKey(event: KeyboardEvent): void {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || this.dialog.open) return;
    const typing = event.target instanceof Element && event.target.closest("input, select, textarea") !== null;
    if (event.key === "Escape") {
      if (typing && event.target instanceof HTMLElement) event.target.blur();
      else this.#actions.home();
      return;
    }
    if (typing) return;
    const free = document.activeElement?.matches("body, main") ?? true;
    const does = this.#switch.checked ? this.#letters[event.key] : undefined;
    const moves = free ? ARROWS[event.key] : undefined;
    if (does === undefined && moves === undefined) return;
    event.preventDefault();
    if (does) does();
    else if (moves !== undefined) this.#actions.step(moves);
  }

  readonly #letters: Record<string, () => void> = {
    "/": () => this.#actions.search(),
    j: () => this.#actions.step(1),
    k: () => this.#actions.step(-1),
    g: () => this.#actions.gateway?.(),
    "?": () => this.help(),
  };
}

const ARROWS: Record<string, number> = { ArrowDown: 1, ArrowUp: -1 };
