// What happens to a page that concerns its connection: seen or hidden, frozen or left, online or not.

import type { Link } from "./link.ts";

/** Lets `link` know what happens, until what is returned is called. */
export function watchPage(link: Link): () => void {
  const done = new AbortController();
  const on = (types: string, hear: () => void) => {
    // Some of them happen to the document, and don't bubble.
    const options = { capture: true, signal: done.signal };
    for (const type of types.split(" ")) addEventListener(type, hear, options);
  };
  // Not `unload`: with it a page is not kept for when its visitor comes back.
  on("online pageshow visibilitychange resume", () => globalThis.document?.hidden || link.wake());
  on("offline", () => link.end(link.inUse, { reason: "there is no network", unreachable: true }));
  on("pagehide freeze", () => link.pause());
  return () => done.abort();
}
