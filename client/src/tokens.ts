// The token that a page shows: one that it was given, or the newest that its backend made.

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

/** Why there is none: what is thrown here, or by who makes them. */
export interface NoToken {
  message: string;
  status?: number | undefined;
  /** Why it is refused for good, if the status says that it is. */
  code?: string | undefined;
}

export interface Tokens {
  /** Asks for another one, if that can be done. */
  readonly getNew: TokenOptions["getToken"];
  /** The token to show now: another than `refused`, if one can be had. Asks once, however many wait for it. */
  toShow(refused?: string): Promise<string>;
}

export function tokensOf({ token: current, getToken, tokenUrl }: TokenOptions): Tokens {
  const getNew = getToken ?? (tokenUrl ? () => post(tokenUrl) : undefined);
  let making: Promise<string> | undefined;

  async function ask(): Promise<string> {
    if (!getNew) throw { message: "no token", status: 401, code: "not_authenticated" } satisfies NoToken;
    const made = await getNew();
    const token = (made as { token?: string })?.token ?? made;
    if (!token || typeof token !== "string") throw TypeError("no token");
    return (current = token);
  }

  return {
    getNew,
    async toShow(refused) {
      if (current && current !== refused) return current;
      return (making ??= ask().finally(() => (making = undefined)));
    },
  };
}

async function post(url: string): Promise<Made> {
  const answer = await fetch(url, { method: "POST", credentials: "include" });
  const { ok, status } = answer;
  if (ok) return answer.json();
  throw { message: `${url} answers ${status}`, status } satisfies NoToken;
}
