/**
 * `<run-status>` and `<run-list>` in Vue templates; Vue must be told that they are no components of its own
 * (`compilerOptions.isCustomElement`):
 *
 *     import "@runcast/client/elements";
 *     import type {} from "@runcast/client/vue";
 */

import type { HTMLAttributes } from "vue";
import type {
  RunElementEvents,
  RunList,
  RunListAttributes,
  RunStatus,
  RunStatusAttributes,
} from "../dist/types/elements/index.d.ts";

/** `@run-end` in a template. */
interface Listeners {
  onRunUpdate?: (event: RunElementEvents["run-update"]) => void;
  onRunEnd?: (event: RunElementEvents["run-end"]) => void;
  onRunError?: (event: RunElementEvents["run-error"]) => void;
  onRunConnection?: (event: RunElementEvents["run-connection"]) => void;
}

declare module "vue" {
  interface GlobalComponents {
    "run-status": new () => RunStatus & { $props: HTMLAttributes & Listeners & RunStatusAttributes };
    "run-list": new () => RunList & { $props: HTMLAttributes & Listeners & RunListAttributes };
  }
}
