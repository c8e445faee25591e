// How a page that has the client from a gateway finds its parts (parts.ts): under their hashes, at the same gateway.

import type * as ofBrowser from "./browser.ts";
import type * as ofViews from "./elements/views.ts";
import type * as ofNetworks from "./networks.ts";
import { GATEWAY } from "./gateway.ts";

/** Put in by build.mjs: `runcast.views.0a1b2c3d4e5f.js`. */
declare const VIEWS_FILE: string;
declare const NETWORKS_FILE: string;
declare const BROWSER_FILE: string;

function part<Part>(file: string): (gateway: string) => Promise<Part> {
  let more = "";
  return async (gateway) => {
    try {
      // Not every browser asks again for a module that could not be loaded: after that it has another address.
      return await import(`${GATEWAY ?? gateway}/_/v1/${file}${more}`);
    } catch (error) {
      more = "?" + Math.random();
      throw error;
    }
  };
}

export const networks = /* @__PURE__ */ part<typeof ofNetworks>(NETWORKS_FILE);
export const browser = /* @__PURE__ */ part<typeof ofBrowser>(BROWSER_FILE);
export const views = /* @__PURE__ */ part<typeof ofViews>(VIEWS_FILE);
