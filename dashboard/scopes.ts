/**
 * What a token allows, as far as a page must know it to offer the right things.
 *
 * It is read, not verified: the gateway judges each request, and whoever changes what is written here sees nothing more.
 */

import type { FeedChoice } from "./filters.ts";

export interface Permissions {
  /** A secret key: it may read everything, and mint tokens. */
  isSecretKey: boolean;
  /** All runs of the environment. */
  everything: boolean;
  tags: string[];
  tasks: string[];
  batches: string[];
  runs: string[];
  /** Types of which any one may be followed, but not all together: `tags`, `tasks`, `batch`. */
  anyOf: string[];
  /** When a token ends; null for a secret key, or when it does not say. */
  expiresAt: Date | null;
  subject: string | null;
}

const NOTHING: Permissions = {
  isSecretKey: false,
  everything: false,
  tags: [],
  tasks: [],
  batches: [],
  runs: [],
  anyOf: [],
  expiresAt: null,
  subject: null,
};

export function permissionsOf(credential: string): Permissions {
  const claims = readClaims(credential);
  if (claims === null) return { ...NOTHING, isSecretKey: true, everything: true };
  const found: Permissions = { ...NOTHING, tags: [], tasks: [], batches: [], runs: [], anyOf: [] };
  for (const scope of Array.isArray(claims["scopes"]) ? claims["scopes"] : []) allow(found, String(scope));
  if (typeof claims["exp"] === "number") found.expiresAt = new Date(claims["exp"] * 1000);
  const actor = claims["act"];
  if (typeof actor === "object" && actor !== null && "sub" in actor) found.subject = String(actor.sub);
  return found;
}

/** Each list that this credential may follow; the first is where its holder begins. */
export function offeredFeeds({ everything, tags, batches, tasks }: Permissions): FeedChoice[] {
  if (everything) return [{}];
  return [
    ...tags.map((tag) => ({ tags: [tag] })),
    ...batches.map((batch) => ({ batch })),
    ...tasks.map((task) => ({ task })),
  ];
}

function allow(found: Permissions, scope: string): void {
  const [action, type, ...rest] = scope.split(":");
  const id = rest.length > 0 ? rest.join(":") : null; // ids may have colons in them
  if (scope === "admin") found.everything = true;
  if ((action !== "read" && action !== "*") || id === "") return; // an empty part grants nothing
  if (id === null) {
    if (type === "runs" || type === "all") found.everything = true;
    else if (type !== undefined) found.anyOf.push(type);
  } else if (type === "runs") found.runs.push(id);
  else if (type === "tags") found.tags.push(id);
  else if (type === "tasks") found.tasks.push(id);
  else if (type === "batch") found.batches.push(id);
}

/** What a public token says of itself; null for what is none, such as a secret key. */
function readClaims(credential: string): Record<string, unknown> | null {
  const [, body, signature] = credential.split(".");
  if (body === undefined || signature === undefined) return null;
  try {
    const bytes = Uint8Array.from(atob(body.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof claims === "object" && claims !== null ? { ...claims } : null;
  } catch {
    return null;
  }
}
