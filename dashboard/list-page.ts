/** The live list: every run that whoever is signed in may see, or those of a feed. */

import type { ConnectionState, Runcast } from "../client/src/index.ts";
import { go, listPath, type Place, runPath } from "./address.ts";
import { element } from "./dom.ts";
import { feedName, feedOf, type Filters } from "./filters.ts";
import type { Page } from "./page.ts";
import { RunsView } from "./runs-view.ts";
import { offeredFeeds, type Permissions } from "./scopes.ts";
import type { Session } from "./session.ts";
import { count } from "./words.ts";

/** A token may have five hundred scopes. */
const MOST_OFFERED = 20;

export class ListPage implements Page {
  readonly title = "Runs";
  readonly element: HTMLElement;
  readonly #view: RunsView;
  readonly #permissions: Permissions;
  readonly #offers = element("nav", { class: "offers", "aria-label": "what your token opens" });

  constructor(runcast: Runcast, { credential, permissions }: Session, filters: Filters) {
    this.#permissions = permissions;
    this.#view = new RunsView({
      runcast,
      credential,
      filters,
      isOffered: (chosen) => isOffered(chosen, permissions),
      choose: (chosen, how) => go(listPath(chosen), how),
    });
    this.element = element(
      "div",
      { class: "list-page" },
      element("h1", { class: "visually-hidden" }, "Runs"),
      this.#offers,
      this.#view.element,
    );
    this.#offer(filters);
  }

  connection(): ConnectionState | null {
    return this.#view.runs.connection;
  }

  move(place: Place): boolean {
    if (place.page !== "list") return false;
    this.#view.setFilters(place.filters);
    this.#offer(place.filters);
    return true;
  }

  search(): void {
    this.#view.focusFilter();
  }

  step(by: number): void {
    this.#view.move(by);
  }

  close(): void {
    this.#view.close();
  }

  #offer(filters: Filters): void {
    this.#offers.hidden = this.#permissions.everything;
    this.#offers.replaceChildren(...offers(this.#permissions, filters));
  }
}

/**
 * Where a token that does not allow all runs leads instead of the list of all runs: to the first feed that it names, or
 * to its run. Null where the address is good as it is.
 */
export function insteadOf(filters: Filters, permissions: Permissions): string | null {
  if (isOffered(filters, permissions)) return null;
  const [feed] = offeredFeeds(permissions);
  if (feed !== undefined)
    return listPath({ ...filters, tags: feed.tags ?? [], task: feed.task ?? "", batch: feed.batch ?? "" });
  const [run] = permissions.runs;
  return run === undefined ? null : runPath(run);
}

/** Whether it makes sense to ask for this list: the gateway judges the others, but all runs are not for every token. */
function isOffered(filters: Filters, permissions: Permissions): boolean {
  return permissions.everything || feedName(feedOf(filters)) !== feedName({});
}

/** What a token opens, in words and links. */
function offers(permissions: Permissions, filters: Filters): (HTMLElement | string)[] {
  const links = [
    ...offeredFeeds(permissions).map((feed) => {
      const href = listPath({ tags: feed.tags ?? [], task: feed.task ?? "", batch: feed.batch ?? "" });
      const current = feedName(feed) === feedName(feedOf(filters));
      return element("a", { class: "chip", href, "aria-current": current ? "page" : null }, feedName(feed));
    }),
    ...permissions.runs.map((run) => element("a", { class: "chip", href: runPath(run) }, `run ${run}`)),
  ];
  const words =
    permissions.anyOf.length > 0
      ? `Your token opens any one of: ${permissions.anyOf.join(", ")}. Name one below.`
      : "Your token opens:";
  const more = links.length > MOST_OFFERED ? [`and ${count(links.length - MOST_OFFERED)} more`] : [];
  return [words, ...links.slice(0, MOST_OFFERED), ...more];
}
