// What a page loads for both elements: `<script src="https://gateway/run-list.js" defer></script>`.

import { RunList } from "./run-list.ts";

export * from "./run-status.entry.ts";
export { RunList };

if (!customElements.get("run-list")) customElements.define("run-list", RunList);

declare global {
  interface HTMLElementTagNameMap {
    "run-list": RunList;
  }
}
