// What happens to a page that concerns its connection: seen or hidden, frozen or left, online or not.

import type { Link } from "./link.ts";

/** Lets `link` know what happens, from now on. It may have nothing to do for long, or for ever. */
export function watchPage(link: Link): void {
  const on = (types: string, hear: () => void) => {
    // Some of them happen to the document, and don't bubble.
    for (const type of types.split(" ")) addEventListener(type, hear, true);
  };
  // Not `unload`: with it a page is not kept for when its visitor comes back.
  on("online pageshow visibilitychange resume", () => globalThis.document?.hidden || link.wake());
  on("offline", () => link.end(link.inUse, { reason: "there is no network", unreachable: true }));
  on("pagehide freeze", () => link.sleep());
}
