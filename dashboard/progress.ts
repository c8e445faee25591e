/** How far a run says it is: `metadata.progress`, as every publisher of ours writes it (docs/publishing.md). */

import type { Run } from "../client/src/index.ts";
import { element, setAttribute, setNumber } from "./dom.ts";
import { isFinal, look } from "./statuses.ts";
import { count } from "./words.ts";

interface Progress {
  current?: unknown;
  total?: unknown;
  percent?: unknown;
  text?: unknown;
}

function said(run: Run): Progress {
  const progress: unknown = run.metadata?.["progress"];
  return typeof progress === "object" && progress !== null ? progress : {};
}

/** From 0 to 1, or null when the run does not say. One that completed is done, whatever it said last. */
export function partDone(run: Run): number | null {
  if (run.status === "COMPLETED") return 1;
  const { current, total } = said(run);
  if (typeof current !== "number" || typeof total !== "number" || !(total > 0) || current < 0) return null;
  return Math.min(1, current / total);
}

/** `3 of 10 · writing rows`, as far as the run says so. */
export function progressText(run: Run): string {
  const { current, total, text } = said(run);
  const counted =
    typeof current === "number" && typeof total === "number" && total > 0 ? `${count(current)} of ${count(total)}` : "";
  return [counted, typeof text === "string" ? text : ""].filter(Boolean).join(" · ");
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
    const part = partDone(run);
    const { kind, text } = look(run.status);
    const unmeasured = part === null;
    setAttribute(this.element, "data-kind", kind);
    setAttribute(this.element, "data-unmeasured", unmeasured && kind === "working");
    setAttribute(this.element, "data-empty", unmeasured && kind !== "working");
    setNumber(this.#filled, "--part", part ?? 0);
    if (this.element.getAttribute("role") !== "progressbar") return;
    setAttribute(this.element, "aria-label", "progress");
    setAttribute(this.element, "aria-valuemin", 0);
    setAttribute(this.element, "aria-valuemax", 100);
    setAttribute(this.element, "aria-valuenow", unmeasured ? null : Math.floor(part * 100));
    setAttribute(this.element, "aria-valuetext", (!isFinal(run.status) && progressText(run)) || text);
  }
}
