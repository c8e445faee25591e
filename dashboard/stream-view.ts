/** One stream of a run as it comes: lines of a log, or one text made of all chunks. */

import type { Chunk, Runcast, StreamSubscription } from "../client/src/index.ts";
import { copyButton } from "./copying.ts";
import { element, perFrame, setAttribute, setText } from "./dom.ts";
import { clockTime, count, plural } from "./words.ts";

/** Chunks that stay in the page; a log may have millions. What is left out is said. */
const MOST_CHUNKS = 2_000;

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
  #left = 0;
  #cleared = false;
  #ended = false;
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
        copyButton(() => this.#plainText(), "copy all"),
      ),
      this.#lines,
    );
    this.#followed = runcast.stream(run, key);
    this.#followed.on("begin", () => this.#clear());
    this.#followed.on("chunk", (chunk) => {
      this.#fresh.push(chunk);
      this.#draw();
    });
    this.#followed.on("end", () => {
      this.#ended = true;
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
    this.#left = 0;
    this.#cleared = true;
    this.#draw();
  }

  #show(): void {
    const box = this.#lines;
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 24;
    if (this.#cleared) box.replaceChildren();
    this.#cleared = false;
    const fresh = this.#fresh.splice(0);
    this.#chunks.push(...fresh);
    if (this.#look === null && fresh[0] !== undefined) this.#choose(lookOf(this.key, fresh[0].value));
    else box.append(...fresh.map((chunk) => this.#line(chunk)));
    this.#trim();
    // Who reads what was written before is not moved away from it.
    if (atEnd) box.scrollTop = box.scrollHeight;
    this.#showState();
  }

  #trim(): void {
    const over = this.#chunks.length - MOST_CHUNKS;
    if (over <= 0) return;
    this.#chunks.splice(0, over);
    this.#left += over;
    for (let i = 0; i < over; i += 1) this.#lines.firstElementChild?.remove();
  }

  #showState(): void {
    const first = this.#chunks[0]?.index ?? 0;
    const last = this.#chunks.at(-1);
    const counted = last === undefined ? "nothing yet" : plural(last.index + 1, "chunk");
    // Too old for the gateway, or too many for this page: either way they are not here.
    const shown = first > 0 ? `, shown from number ${count(first)} on` : "";
    setText(this.#state, `${counted}${shown}${this.#ended ? "" : " · open"}`);
    setAttribute(this.element, "data-left", this.#left > 0 ? this.#left : null);
  }

  #choose(wanted: Look): void {
    this.#look = wanted;
    const looks: Look[] = lookOf(this.key, this.#chunks[0]?.value) === "log" ? ["log", "json"] : ["text", "json"];
    this.#tabs.replaceChildren(
      ...looks.map((name) =>
        element(
          "button",
          { type: "button", "aria-pressed": String(name === wanted), onclick: () => this.#choose(name) },
          name,
        ),
      ),
    );
    setAttribute(this.#lines, "data-look", wanted);
    this.#lines.replaceChildren(...this.#chunks.map((chunk) => this.#line(chunk)));
    this.#lines.scrollTop = this.#lines.scrollHeight;
  }

  #line({ value, index }: Chunk): HTMLElement {
    if (this.#look === "json") {
      return element("div", { class: "line" }, element("span", { class: "at" }, String(index)), JSON.stringify(value));
    }
    if (this.#look === "text") return element("span", {}, plainText(value));
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
