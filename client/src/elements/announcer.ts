// What is said to those who listen, and when: not every tick of a bar, but each status and each quarter of the way.

import { part } from "./dom.ts";
import type { Shown } from "./shown.ts";

const REST_MS = 10_000; // between two polite messages
const KEPT_MS = 5_000; // whoever reads on later should not come across what was so

/**
 * Fills two live regions that nobody sees.
 *
 * What the page began with is not said: a screen reader reads it with the page. Polite messages come at most every ten
 * seconds, and say what is so then; an alert comes at once, and once.
 */
export class Announcer {
  #said: string | null = null;
  #alarm = "";
  #newest: Shown | null = null;
  #last = -REST_MS;
  #timer = 0;
  readonly polite = part("ears", [], "div", "status");
  readonly loud = part("ears", [], "div", "alert");

  consider(shown: Shown): void {
    const { mark, alarm, kind, status, note } = shown;
    if (alarm && alarm !== this.#alarm && (this.#said !== null || note)) {
      speak(this.loud, alarm);
      this.#said = mark;
    }
    this.#alarm = alarm;
    if (kind === null && !status) return; // nothing is known yet
    this.#newest = shown;
    this.#said ??= mark;
    if (mark === this.#said) return;
    this.#timer ||= setTimeout(() => this.#say(), Math.max(0, this.#last + REST_MS - performance.now()));
  }

  /** Nothing more of this will be said: something else is shown, or nothing. */
  reset(): void {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#said = this.#newest = null;
    this.#alarm = this.polite.textContent = this.loud.textContent = "";
  }

  #say(): void {
    this.#timer = 0;
    const newest = this.#newest;
    if (!newest || newest.mark === this.#said) return; // it was said by an alert, or is as it was
    this.#said = newest.mark;
    this.#last = performance.now();
    speak(this.polite, newest.spoken);
  }
}

function speak(region: HTMLElement, text: string): void {
  region.textContent = text;
  setTimeout(() => region.textContent === text && (region.textContent = ""), KEPT_MS);
}
