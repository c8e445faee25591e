/** How far a run says it is: `metadata.progress`, in each form that the elements take, too (docs/elements.md). */

import { percentOf, progressOf } from "../client/src/elements/progress.ts";
import type { Run } from "../client/src/index.ts";
import { element, setAttribute, setNumber } from "./dom.ts";
import { isFinal, look } from "./statuses.ts";
import { count } from "./words.ts";

/** `3 of 10 · writing rows`, or `40 % · writing rows`, as far as the run says so. */
export function progressText(run: Run): string {
  const { current, total, percent, text } = progressOf(run);
  const counted = current === null ? "" : total === null ? count(current) : `${count(current)} of ${count(total)}`;
  // Of what is counted in full the bar shows the rest.
  const share = percent === null || (counted && total) ? "" : `${Math.floor(percent)} %`;
  return [share, counted, text].filter(Boolean).join(" · ");
}

/** A bar that never shows more than is known: without a number there is a striped one, and none for a run that waits. */
export class ProgressBar {
  readonly element = element("span", { class: "bar" });
  readonly #filled = this.element.appendChild(element("span", { class: "filled" }));

  constructor({ decorative = false } = {}) {
    // In a row of the list the words say it all; a role there would only be one more thing to listen to.
    setAttribute(this.element, decorative ? "aria-hidden" : "role", decorative ? "true" : "progressbar");
  }

  show(run: Run): void {
    const percent = percentOf(run);
    const { kind, text } = look(run.status);
    const unmeasured = percent === null;
    setAttribute(this.element, "data-kind", kind);
    setAttribute(this.element, "data-unmeasured", unmeasured && kind === "working");
    setAttribute(this.element, "data-empty", unmeasured && kind !== "working");
    setNumber(this.#filled, "--part", (percent ?? 0) / 100);
    if (this.element.getAttribute("role") !== "progressbar") return;
    setAttribute(this.element, "aria-label", "progress");
    setAttribute(this.element, "aria-valuemin", 0);
    setAttribute(this.element, "aria-valuemax", 100);
    setAttribute(this.element, "aria-valuenow", unmeasured ? null : Math.floor(percent));
    setAttribute(this.element, "aria-valuetext", (!isFinal(run.status) && progressText(run)) || text);
  }
}
