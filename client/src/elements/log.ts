// A stream as it comes: lines of a log, or the words of a model, which follow each other without a break.

import type { StreamSubscription } from "../index.ts";
import { part, setText } from "./dom.ts";
import type { Voice } from "./words.ts";

const MOST_CHUNKS = 5000; // more than anybody scrolls through; what came before them goes, and a line says so
const AT_THE_END_PX = 24;

export class LogView {
  readonly #lost = part("lost");
  #subscription: StreamSubscription | null = null;
  #voice: Voice | null = null;
  #coming: Node[] = [];

  /** @param element what scrolls */
  constructor(private readonly element: HTMLElement) {}

  /** Show another stream from its start, or none. With *lines* each chunk is one, also where it is only text. */
  follow(subscription: StreamSubscription | null, lines: boolean): void {
    this.#subscription?.close();
    this.#subscription = subscription;
    this.#clear();
    subscription?.on("begin", (first) => this.#clear(first > 0));
    subscription?.on("chunk", ({ value }) => {
      if (!this.#coming.length) requestAnimationFrame(() => this.#show());
      this.#coming.push(typeof value === "string" && !lines ? new Text(value) : this.#line(value));
    });
  }

  say(voice: Voice): void {
    this.#voice = voice;
    setText(this.#lost, voice.say("lost"));
  }

  #clear(lost = false): void {
    this.#coming = [];
    this.element.replaceChildren(...(lost ? [this.#lost] : []));
  }

  /** A line of a log has `message`, and perhaps `level` and `time`; whatever else a job writes is shown as it is. */
  #line(value: unknown): Node {
    const { message, level, time } = (value ?? {}) as Record<string, unknown>;
    const text = typeof message === "string" ? message : typeof value === "string" ? value : JSON.stringify(value);
    const at = typeof time === "string" ? Date.parse(time) : NaN;
    const clock = part("at", [new Text(at ? `${this.#voice?.clock(at)} ` : "")], "span");
    const line = part("line", [clock, new Text(text)]);
    if (typeof level === "string") line.dataset["level"] = level.toLowerCase();
    return line;
  }

  /** Put in what came, once for each frame. Who reads further up is left there. */
  #show(): void {
    const { element } = this;
    const follows = element.scrollHeight - element.scrollTop - element.clientHeight < AT_THE_END_PX;
    element.append(...this.#coming);
    this.#coming = [];
    const over = [...element.childNodes].slice(0, -MOST_CHUNKS);
    over.forEach((node) => node.remove());
    if (over.length) element.prepend(this.#lost);
    if (follows) element.scrollTop = element.scrollHeight;
  }
}
