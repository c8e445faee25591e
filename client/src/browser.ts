// What only browsers have: other tabs, and pages that are hidden, frozen, left and come back to. A file of its own,
// since a server or a tool needs none of it.

import type { Link } from "./link.ts";
import { watchPage } from "./page.ts";
import { share, type Sharing } from "./tabs.ts";

export type { Sharing };

const watched = new WeakSet<Link>();

/**
 * Lets `link` know of its page, and share a connection with other tabs.
 *
 * @param token what it shows on that connection; nothing if it is not to be shared
 * @param before how it had part in one before
 */
export function join(link: Link, token: string | false, before?: Sharing): Sharing | undefined {
  if (!watched.has(link)) watchPage(link);
  watched.add(link);
  return token ? share(link, token, before) : undefined;
}
