/** Every status that a run had, in order, and how long it stayed in each. */

import type { Run, Transition } from "../client/src/index.ts";
import { element, Keyed, setAttribute, setNumber, setText } from "./dom.ts";
import { isFinal, look } from "./statuses.ts";
import { clockTime, duration } from "./words.ts";

interface Step {
  transition: Transition;
  words: string;
  milliseconds: number | null;
  part: number;
}

export class Timeline {
  readonly element = element("ol", { class: "timeline", "aria-label": "statuses, in order" });
  readonly #steps = new Keyed<Step, HTMLLIElement>(
    this.element,
    ({ transition }) => {
      const { icon, kind } = look(transition.status);
      const at = element("time", { datetime: transition.at }, clockTime(transition.at, { milliseconds: true }));
      return element(
        "li",
        { "data-kind": kind },
        element("span", { class: "icon", "aria-hidden": "true" }, icon),
        element("span", { class: "word" }),
        at,
        element("span", { class: "lasted" }),
        element("span", { class: "share", "aria-hidden": "true" }, element("span", { class: "filled" })),
      );
    },
    (item, { words, milliseconds, part }) => {
      const [, word, , lasted, share] = item.children;
      setText(word!, words);
      setText(lasted!, milliseconds === null ? "" : duration(milliseconds));
      setAttribute(share!, "hidden", milliseconds === null);
      if (share?.firstElementChild instanceof HTMLElement) setNumber(share.firstElementChild, "--part", part);
    },
  );

  /** As of *now*, in unix milliseconds. */
  show(run: Run, now: number): void {
    this.#steps.show(steps(run.transitions ?? [], now), ({ transition }) => String(transition.sequence));
  }
}

function steps(transitions: readonly Transition[], now: number): Step[] {
  const lasted = transitions.map(({ at, status }, i) => {
    const next = transitions[i + 1];
    if (next === undefined && isFinal(status)) return null; // this is how it stays
    return Math.max(0, (next === undefined ? now : Date.parse(next.at)) - Date.parse(at));
  });
  const longest = Math.max(1, ...lasted.map((milliseconds) => milliseconds ?? 0));
  return transitions.map((transition, i) => ({
    transition,
    words: happened(transition, transitions[i - 1]),
    milliseconds: lasted[i] ?? null,
    part: (lasted[i] ?? 0) / longest,
  }));
}

/** A transition in words. The same status again in one attempt: it failed, and another attempt follows. */
function happened({ status, attempt }: Transition, before: Transition | undefined): string {
  if (before?.status === status && before.attempt === attempt) return "to be tried again";
  const { text } = look(status);
  return attempt > (before?.attempt ?? 1) ? `${text} (attempt ${attempt})` : text;
}
