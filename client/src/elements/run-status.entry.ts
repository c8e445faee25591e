// What a page loads for <run-status>: `<script src="https://gateway/run-status.js" defer></script>`.

import { RunStatus } from "./run-status.ts";

// A page may load this twice, in two versions: whoever comes first stays.
if (!customElements.get("run-status")) customElements.define("run-status", RunStatus);

export { RunStatus };
export type * from "./attributes.ts";
export type { RunElement } from "./element.ts";
export type { Words } from "./words.ts";

declare global {
  interface HTMLElementTagNameMap {
    "run-status": RunStatus;
  }
}
