/** Which page an address names, and moving between them without loading the dashboard anew. */

import { ROOT } from "./root.ts";
import { type Filters, readFilters, writeFilters } from "./filters.ts";

export type Place =
  | { page: "list"; filters: Filters }
  | { page: "run"; id: string }
  | { page: "batch"; id: string; filters: Filters }
  | { page: "gateway" }
  | { page: "nowhere" };

export function readPlace({ pathname, search }: { pathname: string; search: string }): Place {
  const filters = readFilters(new URLSearchParams(search));
  if (!pathname.startsWith(`${ROOT}/`)) return { page: "nowhere" };
  const [, first, ...rest] = pathname.slice(ROOT.length).split("/");
  const id = decoded(rest.join("/"));
  if (first === "") return { page: "list", filters };
  if (first === "gateway" && rest.length === 0) return { page: "gateway" };
  if (first === "runs" && id) return { page: "run", id };
  if (first === "batches" && id) return { page: "batch", id, filters };
  return { page: "nowhere" };
}

export function writePlace(place: Place): string {
  switch (place.page) {
    case "list":
      return withQuery(`${ROOT}/`, place.filters);
    case "run":
      return runPath(place.id);
    case "batch":
      return withQuery(batchPath(place.id), place.filters);
    case "gateway":
      return gatewayPath;
    case "nowhere":
      return `${ROOT}/`;
  }
}

export const runPath = (id: string): string => `${ROOT}/runs/${encodeURIComponent(id)}`;
export const batchPath = (id: string): string => `${ROOT}/batches/${encodeURIComponent(id)}`;
export const gatewayPath = `${ROOT}/gateway`;
export const listPath = (filters: Partial<Filters>): string =>
  withQuery(`${ROOT}/`, { statuses: [], tags: [], task: "", batch: "", text: "", ...filters });

function withQuery(path: string, filters: Filters): string {
  const query = writeFilters(filters);
  return query ? `${path}?${query}` : path;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * Go to another address of the dashboard.
 *
 * `replace` is for what is typed letter by letter: back should not spell it out again.
 */
export function go(address: string, { replace = false } = {}): void {
  if (address === location.pathname + location.search) return;
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  dispatchEvent(new Event("runcast-moved"));
}

/** Call *moved* whenever the address is another one, by whatever means; links within the dashboard load nothing. */
export function onMove(moved: () => void): void {
  addEventListener("popstate", moved);
  addEventListener("runcast-moved", moved);
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (link === null || link.target !== "" || link.origin !== location.origin || link.hash !== "") return;
    if (readPlace(link).page === "nowhere") return;
    event.preventDefault();
    go(link.pathname + link.search);
  });
}
