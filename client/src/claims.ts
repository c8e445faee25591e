// What a token says of itself. Only what is not always needed looks at it.

/** What a JWT says; null when it is something else, such as a secret key. Nobody here can tell whether it is true. */
export function claimsOf(token: string): Record<string, unknown> | null {
  try {
    return JSON.parse(atob(token.split(".")[1]!.replace(/-/g, "+").replace(/_/g, "/")));
  } catch {
    return null;
  }
}

/** How long a token that came now lasts, in seconds; undefined when it does not say so, or has no end. */
export function lifeOf(token: string): number | undefined {
  const { exp, iat } = (claimsOf(token) ?? {}) as { exp?: number; iat?: number };
  if (!exp) return;
  const left = exp - Date.now() / 1000;
  // A clock that is wrong by more than its life says nothing of how much is left.
  return iat && (left < 0 || left > exp - iat) ? exp - iat : left;
}
