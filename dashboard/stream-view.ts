/**
 * One stream of a run as it comes: lines of a log, or one text made of all chunks.
 *
 * A model writes a word a chunk and a job a line a chunk, so of what is shown as one text many more are kept.
 */

import type { Chunk, Runcast, StreamSubscription } from "../client/src/index.ts";
import { copyButton } from "./copying.ts";
import { element, perFrame, setAttribute, setText } from "./dom.ts";
import { clockTime, count, plural } from "./words.ts";

/** Chunks that stay in the page, by how they are shown; a log may have millions. What is left out is said. */
const MOST: Record<Look, number> = { log: 2_000, json: 2_000, text: 50_000 };
/** So many over that may stay for a moment, that not each chunk costs another one. */
const OVER = 1.1;

type Look = "log" | "text" | "json";

interface LogLine {
  time?: unknown;
  level?: unknown;
  message?: unknown;
}

export class StreamView {
  readonly key: string;
  readonly element: HTMLElement;
  readonly #followed: StreamSubscription;
  readonly #state = element("span", { class: "quiet" });
  readonly #tabs = element("span", { class: "tabs", role: "group" });
  readonly #lines = element("div", { class: "chunks", role: "log", "aria-live": "off", tabindex: 0 });
  #chunks: Chunk[] = [];
  /** Chunks that came since the last frame. */
  #fresh: Chunk[] = [];
  #look: Look | null = null;
  #cleared = false;
  #ended = false;
  /** Why it is not to be had. */
  #refused = "";
  readonly #draw = perFrame(() => this.#show());

  constructor(runcast: Runcast, run: string, key: string) {
    this.key = key;
    setAttribute(this.#lines, "aria-label", `stream ${key}`);
    setAttribute(this.#tabs, "aria-label", `how ${key} is shown`);
    this.element = element(
      "section",
      { class: "stream", "data-stream": key },
      element("h3", {}, element("code", {}, key), this.#state),
      element(
        "div",
        { class: "tools" },
        this.#tabs,
        copyButton(() => this.#plainText(), "copy"),
      ),
      this.#lines,
    );
    this.#followed = runcast.stream(run, key);
    this.#followed.on("begin", () => this.#clear());
    this.#followed.on("chunk", (chunk) => {
      this.#ended = false; // another attempt writes on
      this.#fresh.push(chunk);
      this.#draw();
    });
    this.#followed.on("end", () => {
      this.#ended = true;
      this.#draw();
    });
    this.#followed.on("error", ({ message }) => {
      this.#refused = message;
      this.#draw();
    });
    this.#draw();
  }

  close(): void {
    this.#followed.close();
  }

  /** What came before is void. */
  #clear(): void {
    this.#chunks = [];
    this.#fresh = [];
    this.#cleared = true;
    this.#draw();
  }

  #show(): void {
    const box = this.#lines;
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 24;
    if (this.#cleared) box.replaceChildren();
    this.#cleared = false;
    const fresh = this.#fresh.splice(0);
    for (const chunk of fresh) this.#chunks.push(chunk);
    const trimmed = this.#trim();
    const [first] = this.#chunks;
    if (this.#look === null && first !== undefined) this.#choose(lookOf(this.key, first.value));
    else if (trimmed) box.replaceChildren(...this.#drawn(this.#chunks));
    else box.append(...this.#drawn(fresh));
    if (this.#look !== "text") while (box.childElementCount > MOST.json) box.firstElementChild?.remove();
    // Who reads what was written before is not moved away from it.
    if (atEnd) box.scrollTop = box.scrollHeight;
    this.#showState();
  }

  /** Forget the oldest where there are too many. Returns whether there were. */
  #trim(): boolean {
    // Who looks at the chunks of a text may go back to the text.
    const most = MOST[this.#looks[0] ?? "json"];
    if (this.#chunks.length <= most * OVER) return false;
    this.#chunks = this.#chunks.slice(-most);
    return true;
  }

  get #looks(): Look[] {
    const first = this.#chunks[0]?.value;
    return first === undefined ? [] : lookOf(this.key, first) === "log" ? ["log", "json"] : ["text", "json"];
  }

  /** What shows these chunks: a line for each, or one piece of text for all. */
  #drawn(chunks: readonly Chunk[]): Node[] {
    if (this.#look === "text") return [new Text(chunks.map(({ value }) => plainText(value)).join(""))];
    return chunks.slice(-MOST.json).map((chunk) => this.#line(chunk));
  }

  #showState(): void {
    const most = MOST[this.#look ?? "json"];
    const first = this.#chunks[Math.max(0, this.#chunks.length - most)]?.index ?? 0;
    const last = this.#chunks.at(-1);
    const counted = last === undefined ? "nothing yet" : plural(last.index + 1, "chunk");
    // Too old for the gateway, or too many for this page: either way they are not here.
    const shown = first > 0 ? `, shown from number ${count(first)} on` : "";
    const how = this.#refused ? ` · not to be had: ${this.#refused}` : this.#ended ? "" : " · open";
    setText(this.#state, `${counted}${shown}${how}`);
  }

  #choose(wanted: Look): void {
    this.#look = wanted;
    this.#tabs.replaceChildren(
      ...this.#looks.map((name) =>
        element(
          "button",
          { type: "button", "aria-pressed": String(name === wanted), onclick: () => this.#choose(name) },
          name,
        ),
      ),
    );
    setAttribute(this.#lines, "data-look", wanted);
    this.#lines.replaceChildren(...this.#drawn(this.#chunks));
    this.#lines.scrollTop = this.#lines.scrollHeight;
    this.#showState();
  }

  #line({ value, index }: Chunk): HTMLElement {
    if (this.#look === "json") {
      return element("div", { class: "line" }, element("span", { class: "at" }, String(index)), JSON.stringify(value));
    }
    const { time, level, message, ...more } = value as LogLine & Record<string, unknown>;
    return element(
      "div",
      { class: "line", "data-level": typeof level === "string" ? level.toLowerCase() : null },
      element("span", { class: "at" }, typeof time === "string" ? clockTime(time, { milliseconds: true }) : ""),
      element("span", { class: "level" }, typeof level === "string" ? level : ""),
      element(
        "span",
        { class: "message" },
        plainText(message),
        Object.keys(more).length > 0 && ` ${JSON.stringify(more)}`,
      ),
    );
  }

  #plainText(): string {
    if (this.#look === "text") return this.#chunks.map(({ value }) => plainText(value)).join("");
    return this.#chunks.map(({ value }) => JSON.stringify(value)).join("\n");
  }
}

function lookOf(key: string, first: unknown): Look {
  if (key === "log") return typeof first === "object" && first !== null ? "log" : "text";
  return typeof first === "string" ? "text" : "json";
}

function plainText(value: unknown): string {
  return typeof value === "string" ? value : value === undefined ? "" : JSON.stringify(value);
}
