/** Who is signed in: a secret key or a token, kept for no longer than the tab. */

import { listQuery } from "./filters.ts";
import { offeredFeeds, type Permissions, permissionsOf } from "./scopes.ts";
import { ApiError, request } from "./api.ts";

/** Session storage ends with its tab, and no other tab or site can read it. */
const PLACE = "runcast.credential";

export interface Session {
  credential: string;
  permissions: Permissions;
}

/** Who signed in before this tab was reloaded, or whom a link with `#token=…` brings. */
export function rememberedSession(): Session | null {
  const linked = new URLSearchParams(location.hash.slice(1)).get("token");
  if (linked !== null) {
    // Out of the address at once: it would be in the history, and in every screenshot.
    history.replaceState(null, "", location.pathname + location.search);
    remember(linked);
  }
  const credential = linked ?? sessionStorage.getItem(PLACE);
  return credential === null ? null : { credential, permissions: permissionsOf(credential) };
}

/**
 * Ask the gateway whether it takes this credential, and remember it if so.
 *
 * Throws ApiError when it does not, with the gateway's own words.
 */
export async function signIn(credential: string): Promise<Session> {
  const permissions = permissionsOf(credential);
  try {
    await request(credential, probeFor(permissions));
  } catch (error) {
    // Of a run that does not exist yet a token is no worse.
    if (!(error instanceof ApiError) || (error.status !== 404 && error.status !== 403)) throw error;
  }
  remember(credential);
  return { credential, permissions };
}

/** Whether this is still who is signed in: a page that was left comes back as it was. */
export function isSignedIn(credential: string): boolean {
  return sessionStorage.getItem(PLACE) === credential;
}

export function signOut(): void {
  sessionStorage.removeItem(PLACE);
}

function remember(credential: string): void {
  sessionStorage.setItem(PLACE, credential);
}

/** The smallest question that only a valid credential is answered. */
function probeFor(permissions: Permissions): string {
  const [feed] = offeredFeeds(permissions);
  const [run] = permissions.runs;
  if (feed === undefined && run !== undefined) return `/v1/runs/${encodeURIComponent(run)}`;
  return `/v1/runs?${listQuery(feed ?? {}, { limit: 1 })}`;
}
