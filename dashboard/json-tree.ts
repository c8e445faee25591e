/**
 * Any JSON as a tree that can be folded. Given another value it changes only what is different, marks that for a
 * moment, and leaves open what was open.
 */

import { element, setAttribute, setText } from "./dom.ts";
import { plural } from "./words.ts";

/** Children that are shown at first, and with each "more". */
const STEP = 100;
/** Levels that are open at first; and what has more children than this is not. */
const OPEN_LEVELS = 2;
const OPEN_CHILDREN = 25;
/** A text longer than this gets a place of its own to be scrolled in. */
const LONG_TEXT = 1_500;
/** How long a mark stays, in milliseconds. */
const MARKED = 2_500;

export class JsonTree {
  readonly element = element("div", { class: "json" });
  #root: Branch | null = null;
  #value: unknown;

  show(value: unknown): void {
    if (value === this.#value && this.#root !== null) return;
    this.#value = value;
    if (this.#root === null) {
      this.#root = new Branch(null, 0);
      this.element.append(this.#root.element);
      this.#root.show(value, false);
    } else this.#root.show(value, true);
  }
}

/** A value with its name, and whatever is in it. */
class Branch {
  readonly element = element("div", { class: "branch" });
  readonly #name: string | null;
  readonly #level: number;
  readonly #text = element("span", { class: "value" });
  #details: HTMLDetailsElement | null = null;
  #summary: HTMLElement | null = null;
  #inside: HTMLElement | null = null;
  #more: HTMLButtonElement | null = null;
  readonly #children = new Map<string, Branch>();
  #value: unknown;
  #shown = STEP;
  #mark: ReturnType<typeof setTimeout> | undefined;

  constructor(name: string | null, level: number) {
    this.#name = name;
    this.#level = level;
  }

  show(value: unknown, mark: boolean): void {
    const before = this.#value;
    this.#value = value;
    if (isContainer(value)) this.#showContainer(value, mark, isContainer(before));
    else this.#showLeaf(value, mark && before !== value);
  }

  #showLeaf(value: unknown, mark: boolean): void {
    if (this.#details !== null || this.element.childElementCount === 0) {
      this.#close();
      this.element.replaceChildren(...this.#label(), this.#text);
    }
    const text = leafText(value);
    setText(this.#text, text);
    setAttribute(this.#text, "data-type", value === null ? "null" : typeof value);
    // What scrolls must be within reach of the keyboard.
    const long = text.length > LONG_TEXT;
    for (const [name, said] of Object.entries({ "data-long": true, tabindex: 0, role: "group", "aria-label": "text" }))
      setAttribute(this.#text, name, long && said);
    if (mark) this.#markChanged();
  }

  #showContainer(value: object, mark: boolean, wasContainer: boolean): void {
    const entries = Object.entries(value);
    if (this.#details === null) this.#build(entries.length);
    if (mark && !wasContainer) this.#markChanged();
    const words = Array.isArray(value) ? plural(entries.length, "item") : plural(entries.length, "key");
    if (this.#text) setText(this.#text, entries.length === 0 ? (Array.isArray(value) ? "[]" : "{}") : words);
    if (this.#details?.open) this.#showChildren(mark && wasContainer);
  }

  #build(size: number): void {
    this.#summary = element("summary", {}, ...this.#label(), this.#text);
    this.#inside = element("div", { class: "inside" });
    this.#details = element("details", {}, this.#summary, this.#inside);
    setAttribute(this.#text, "data-type", "size");
    // What is folded is made when it is looked at: an output may have a hundred thousand parts.
    this.#details.open = this.#level === 0 || (this.#level < OPEN_LEVELS && size <= OPEN_CHILDREN);
    this.#details.addEventListener("toggle", () => this.#details?.open && this.#showChildren(false));
    this.element.replaceChildren(this.#details);
  }

  #showChildren(mark: boolean): void {
    if (!isContainer(this.#value) || this.#inside === null) return;
    const entries = Object.entries(this.#value);
    const shown = entries.slice(0, this.#shown);
    const names = new Set(shown.map(([name]) => name));
    for (const [name, child] of this.#children) {
      if (names.has(name)) continue;
      child.element.remove();
      this.#children.delete(name);
    }
    let after: Element | null = null;
    for (const [name, value] of shown) {
      let child = this.#children.get(name);
      const isNew = child === undefined;
      if (child === undefined) this.#children.set(name, (child = new Branch(name, this.#level + 1)));
      const place: Element | null = after === null ? this.#inside.firstElementChild : after.nextElementSibling;
      if (child.element !== place) this.#inside.insertBefore(child.element, place);
      child.show(value, mark);
      if (isNew && mark) child.#markChanged();
      after = child.element;
    }
    this.#showMore(entries.length - shown.length);
  }

  #showMore(hidden: number): void {
    if (hidden <= 0) {
      this.#more?.remove();
      this.#more = null;
      return;
    }
    this.#more ??= element("button", {
      type: "button",
      class: "more",
      onclick: () => {
        this.#shown += STEP;
        this.#showChildren(false);
      },
    });
    setText(this.#more, `${hidden.toLocaleString("en")} more`);
    this.#inside?.append(this.#more);
  }

  #label(): HTMLElement[] {
    return this.#name === null ? [] : [element("span", { class: "key" }, this.#name)];
  }

  #close(): void {
    this.#children.clear();
    this.#details = this.#summary = this.#inside = this.#more = null;
  }

  /** Not by its colour alone, and gone after a moment, with or without motion. */
  #markChanged(): void {
    clearTimeout(this.#mark);
    // Taken away and put back in the next frame, so that the fading begins anew.
    delete this.element.dataset["changed"];
    requestAnimationFrame(() => (this.element.dataset["changed"] = ""));
    this.#mark = setTimeout(() => delete this.element.dataset["changed"], MARKED);
  }
}

/** Texts have their quotes from the stylesheet: what is selected and copied is the text. */
function leafText(value: unknown): string {
  const text = String(value);
  // Read as a number by JavaScript it may have lost its last digits, which could be those of an id.
  return Number.isInteger(value) && !Number.isSafeInteger(value) && /^-?\d+$/.test(text) ? `≈ ${text}` : text;
}

function isContainer(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}
