/**
 * `<run-status>` and `<run-list>` in JSX, for Preact:
 *
 *     import "@runcast/client/elements";
 *     import type {} from "@runcast/client/preact";
 */

import type { HTMLAttributes } from "preact";
import type { RunElementListeners, RunListAttributes, RunStatusAttributes } from "../dist/types/elements/index.d.ts";

declare module "preact" {
  namespace JSX {
    interface IntrinsicElements {
      "run-status": HTMLAttributes<HTMLElement> & RunElementListeners & RunStatusAttributes;
      "run-list": HTMLAttributes<HTMLElement> & RunElementListeners & RunListAttributes;
    }
  }
}
