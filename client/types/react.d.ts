/**
 * `<run-status>` and `<run-list>` in JSX, for React 18.3 and later:
 *
 *     import "@runcast/client/elements";
 *     import type {} from "@runcast/client/react";
 *
 * React 19 sets `data`, `getToken` and `words` as properties and listens for `onrun-end`; React 18 needs a ref for these.
 */

import type { HTMLAttributes, RefAttributes } from "react";
import type { RunElementListeners, RunListAttributes, RunStatusAttributes } from "../dist/types/elements/index.d.ts";

/** What every tag has; of elements like these React 18 knows the class as `class`. */
interface Tag extends HTMLAttributes<HTMLElement>, RefAttributes<HTMLElement>, RunElementListeners {
  class?: string | undefined;
}

declare module "react" {
  namespace JSX {
    interface IntrinsicElements {
      "run-status": Tag & RunStatusAttributes;
      "run-list": Tag & RunListAttributes;
    }
  }
}
