// The token that a page shows: one that it was given, or the newest that its backend made.

import { RuncastError } from "./errors.ts";

type Made = string | { token: string };

export interface TokenOptions {
  /** A public token; the first one, if there is a way to get others. */
  token?: string | undefined;
  /**
   * Gets another one, before the last one ends and whenever it is refused. One call at a time. When it fails it is
   * called again later; an error whose `status` is 401 or 403 says that there is none to be had.
   */
  getToken?: (() => Made | Promise<Made>) | undefined;
  /** Where a POST, with the cookies of the page, is answered with `{"token": "…"}`. */
  tokenUrl?: string | undefined;
}

/** What a JWT says; null when it is something else, such as a secret key. Nobody here can tell whether it is true. */
export function claimsOf(token: string): Record<string, unknown> | null {
  try {
    return JSON.parse(atob(token.split(".")[1]!.replace(/-/g, "+").replace(/_/g, "/")));
  } catch {
    return null;
  }
}

/** How long to wait until it is time to renew a token that came now, in milliseconds; Infinity for one that lasts. */
export function renewalIn(token: string): number {
  const { exp, iat } = (claimsOf(token) ?? {}) as { exp?: number; iat?: number };
  if (!exp) return Infinity;
  const left = exp * 1000 - Date.now();
  const life = iat ? (exp - iat) * 1000 : left;
  // A clock that is wrong by more than its life says nothing of how much is left. Pages that were opened together
  // don't ask together.
  return (left > 0 && left < life ? left : life) * (0.6 + Math.random() / 5);
}

export class Tokens {
  #current: string | undefined;
  #making: Promise<string> | undefined;
  readonly #make: (() => Made | Promise<Made>) | undefined;

  constructor({ token, getToken, tokenUrl }: TokenOptions) {
    this.#current = token;
    this.#make = getToken ?? (tokenUrl ? () => post(tokenUrl) : undefined);
  }

  /** Whether another one can be had. */
  get renewable(): boolean {
    return !!this.#make;
  }

  /** The token to show now: another than `refused`, if one can be had. Asks once, however many wait for it. */
  async current(refused?: string): Promise<string> {
    if (this.#current && this.#current !== refused) return this.#current;
    if (!this.#make) throw new RuncastError("not_authenticated", "there is no token");
    this.#making ??= this.#ask().finally(() => (this.#making = undefined));
    return this.#making;
  }

  async #ask(): Promise<string> {
    const made = await this.#make!();
    return (this.#current = typeof made === "string" ? made : made.token);
  }
}

async function post(url: string): Promise<Made> {
  const answer = await fetch(url, { method: "POST", credentials: "include" });
  if (answer.ok) return answer.json();
  throw Object.assign(new RuncastError("not_allowed", `${url} answers ${answer.status}`), { status: answer.status });
}
