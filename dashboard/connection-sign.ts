/** Whether what is shown is the truth, always in sight: live, or from when it is. */

import type { ConnectionState } from "../client/src/index.ts";
import { serverClock } from "./clock.ts";
import { element, setAttribute, setText } from "./dom.ts";
import { clockTime } from "./words.ts";

const WORDS: Record<ConnectionState["state"], string> = {
  connecting: "connecting…",
  live: "live",
  stale: "stale",
  offline: "offline",
  ended: "ended",
  denied: "not allowed",
};

export class ConnectionSign {
  readonly #word = element("span", { class: "word" });
  readonly #from = element("span", { class: "from" });
  readonly element = element(
    "p",
    { class: "connection", role: "status" },
    element("span", { class: "dot", "aria-hidden": "true" }),
    this.#word,
    this.#from,
  );
  readonly #why = element("span");
  readonly #again: HTMLButtonElement;
  /** Across the page when it is not the truth that it shows. */
  readonly banner = element("section", { class: "banner", "aria-label": "how true this is", hidden: true }, this.#why);
  #connection: (() => ConnectionState | null) | null = null;

  /** Args: again lets whoever is refused sign in as somebody else, and see the same page. */
  constructor(again: () => void) {
    this.#again = element("button", { type: "button", onclick: again }, "Sign in again");
    this.banner.append(this.#again);
    setInterval(() => this.#show(), 500);
  }

  /** Speak of this one from now on; null where a page has none. */
  follow(connection: (() => ConnectionState | null) | null): void {
    this.#connection = connection;
    this.#show();
  }

  #show(): void {
    const connection = this.#connection?.() ?? null;
    this.element.hidden = connection === null;
    this.banner.hidden = true;
    setAttribute(document.body, "data-connection", connection?.state ?? "none");
    if (connection === null) return;
    const { state, asOf, reason, transport } = connection;
    if (asOf !== null && state === "live") serverClock.saw(asOf);
    setText(this.#word, WORDS[state]);
    setAttribute(this.element, "data-state", state);
    setAttribute(this.element, "title", [reason, transport && `by ${transport}`].filter(Boolean).join(", ") || null);
    const old = state === "stale" || state === "offline" || state === "denied";
    const from = asOf === null ? "" : `as of ${clockTime(asOf)}`;
    // While it is live the time moves all the time, which is for nobody to read aloud, nor to look at.
    setText(this.#from, old ? from : "");
    this.banner.hidden = !old;
    if (old) setText(this.#why, bannerWords(state, from, reason));
    this.#again.hidden = state !== "denied";
  }
}

function bannerWords(state: ConnectionState["state"], from: string, reason: string): string {
  if (state === "denied")
    return `The gateway says no: ${reason || "this is not allowed"}.${from ? ` What you see is ${from}.` : ""}`;
  const why = state === "offline" ? "There is no connection to the gateway" : "The gateway has lost sight of the data";
  const what = from ? `what you see is ${from}, and may have changed since` : "nothing is known yet";
  return `${why}: ${what}. It goes on by itself.`;
}
