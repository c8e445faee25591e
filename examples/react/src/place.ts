// What is shown, kept in the address, so that a page can be reloaded, linked to and gone back from.

import { useCallback, useSyncExternalStore } from "react";

export type Place = { run?: string; batch?: string; tag?: string; view?: string };

function subscribe(changed: () => void): () => void {
  addEventListener("popstate", changed);
  return () => removeEventListener("popstate", changed);
}

export function usePlace(): { place: Place; go: (change: Place) => void } {
  const search = useSyncExternalStore(subscribe, () => location.search);
  const go = useCallback((change: Place) => {
    const next = new URLSearchParams(location.search);
    for (const [name, value] of Object.entries(change)) {
      next.set(name, value);
    }
    history.pushState(null, "", `?${next}`);
    dispatchEvent(new PopStateEvent("popstate"));
  }, []);
  return { place: Object.fromEntries(new URLSearchParams(search)), go };
}
