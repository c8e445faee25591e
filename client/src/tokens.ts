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

const LONGEST_TIMER = 2 ** 31 - 1;

/** What a JWT says; null when it is something else, such as a secret key. Nobody here can tell whether it is true. */
export function claimsOf(token: string): Record<string, unknown> | null {
  try {
    return JSON.parse(atob(token.split(".")[1]!.replace(/-/g, "+").replace(/_/g, "/")));
  } catch {
    return null;
  }
}

/** How long to wait until it is time to renew a token that came now, in milliseconds: as long as can be if it lasts. */
export function renewalIn(token: string): number {
  const { exp, iat } = (claimsOf(token) ?? {}) as { exp?: number; iat?: number };
  if (!exp) return LONGEST_TIMER;
  const left = exp * 1000 - Date.now();
  const life = iat ? (exp - iat) * 1000 : left;
  // A clock that is wrong by more than its life says nothing of how much is left. Pages that were opened together
  // don't ask together.
  return Math.min((left > 0 && left < life ? left : life) * (0.6 + Math.random() / 5), LONGEST_TIMER);
}

export class Tokens {
  /** Asks for another one, if that can be done. */
  readonly getNew: (() => Made | Promise<Made>) | undefined;
  #current: string | undefined;
  #making: Promise<string> | undefined;

  constructor({ token, getToken, tokenUrl }: TokenOptions) {
    this.#current = token;
    this.getNew = getToken ?? (tokenUrl ? () => post(tokenUrl) : undefined);
  }

  /** The token to show now: another than `refused`, if one can be had. Asks once, however many wait for it. */
  async toShow(refused?: string): Promise<string> {
    if (this.#current && this.#current !== refused) return this.#current;
    return (this.#making ??= this.#ask().finally(() => (this.#making = undefined)));
  }

  async #ask(): Promise<string> {
    if (!this.getNew) throw refusal("there is no token", 401, "not_authenticated");
    const made = await this.getNew();
    const token = (made as { token?: string })?.token ?? made;
    if (!token || typeof token !== "string") throw new TypeError("what should be a token is none");
    return (this.#current = token);
  }
}

const refusal = (message: string, status: number, code?: string) =>
  Object.assign(new RuncastError(code!, message), { status });

async function post(url: string): Promise<Made> {
  const answer = await fetch(url, { method: "POST", credentials: "include" });
  if (answer.ok) return answer.json();
  throw refusal(`${url} answers ${answer.status}`, answer.status);
}
