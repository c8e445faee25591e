/** The dashboard: who is signed in, which page the address names, and what all pages have around them. */

import { connect, type Runcast } from "../client/src/index.ts";
import { gatewayPath, go, listPath, onMove, type Place, readPlace } from "./address.ts";
import { BatchPage } from "./batch-page.ts";
import { ConnectionSign } from "./connection-sign.ts";
import { element, setAttribute } from "./dom.ts";
import { GatewayPage } from "./gateway-page.ts";
import { insteadOf, ListPage } from "./list-page.ts";
import type { Page } from "./page.ts";
import { GATEWAY } from "./root.ts";
import { RunPage } from "./run-page.ts";
import { isSignedIn, rememberedSession, type Session, signOut } from "./session.ts";
import { Shortcuts } from "./shortcuts.ts";
import { signInPage } from "./sign-in.ts";

class Dashboard {
  readonly #session: Session;
  readonly #runcast: Runcast;
  readonly #sign = new ConnectionSign(() => this.#leave(location.href));
  readonly #main = element("main", { id: "main", tabindex: -1 });
  readonly #links: [Place["page"], HTMLAnchorElement][] = [
    ["list", element("a", { href: listPath({}) }, "Runs")],
    ["gateway", element("a", { href: gatewayPath }, "Gateway")],
  ];
  readonly #shortcuts: Shortcuts;
  #page: Page | null = null;
  /** The list as it was filtered when it was left. */
  #list = listPath({});

  constructor(session: Session) {
    this.#session = session;
    this.#shortcuts = new Shortcuts({
      search: () => (this.#page?.search ? this.#page.search() : go(listPath({}))),
      step: (by) => this.#page?.step?.(by),
      home: () => readPlace(location).page !== "list" && go(this.#list),
      ...(session.permissions.isSecretKey && { gateway: () => go(gatewayPath) }),
    });
    // A secret key is for this tab: nothing of it, nor of what it shows, is shared with others.
    this.#runcast = connect({ url: GATEWAY, token: session.credential, share: false });
    const [runs, gateway] = this.#links.map(([, link]) => link);
    document.body.replaceChildren(
      element("a", { class: "skip", href: "#main" }, "Skip to the content"),
      element(
        "header",
        { class: "top" },
        element(
          "a",
          { class: "brand", href: listPath({}), "aria-label": "Runcast" },
          element("span", { class: "mark", "aria-hidden": "true" }),
          element("span", {}, "Runcast"),
        ),
        element("nav", { "aria-label": "pages" }, runs, session.permissions.isSecretKey && gateway),
        this.#sign.element,
        element(
          "button",
          { type: "button", class: "quiet-button help-button", onclick: () => this.#shortcuts.help() },
          "Keys",
        ),
        element(
          "button",
          { type: "button", class: "quiet-button", onclick: () => this.#leave(listPath({})) },
          "Sign out",
        ),
      ),
      this.#sign.banner,
      this.#main,
      this.#shortcuts.dialog,
    );
    onMove(() => this.#move());
    // Going back may bring this page as it was left, to whoever signed in since, or to nobody.
    addEventListener("pageshow", () => isSignedIn(session.credential) || this.#vanish());
    this.#move();
  }

  /** Sign out, and go on at *address*: here, as somebody else, or at the list. */
  #leave(address: string): void {
    signOut();
    if (address !== location.href) history.pushState(null, "", address);
    this.#vanish();
  }

  /** Load the address anew: nothing of what was seen stays, neither in memory nor for who goes back. */
  #vanish(): void {
    this.#page?.close();
    this.#page = null;
    this.#runcast.close();
    document.body.replaceChildren();
    location.reload();
  }

  #move(): void {
    const place = readPlace(location);
    const instead = place.page === "list" ? insteadOf(place.filters, this.#session.permissions) : null;
    if (instead !== null) {
      go(instead, { replace: true });
      return;
    }
    if (place.page === "list") this.#list = location.pathname + location.search;
    for (const [page, link] of this.#links) setAttribute(link, "aria-current", page === place.page ? "page" : null);
    if (this.#page?.move?.(place)) return;
    const first = this.#page === null;
    this.#page?.close();
    this.#page = this.#open(place);
    document.title = this.#page === null ? "Runcast" : `${this.#page.title} · Runcast`;
    const page = this.#page;
    this.#main.replaceChildren(page?.element ?? element("p", { class: "empty" }, "There is nothing here."));
    this.#sign.follow(page && (() => page.connection()));
    if (!first) {
      // Whoever listens or uses the keyboard is on the new page, too.
      this.#main.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
  }

  #open(place: Place): Page | null {
    switch (place.page) {
      case "list":
        return new ListPage(this.#runcast, this.#session, place.filters);
      case "run":
        return new RunPage(this.#runcast, this.#session, place.id);
      case "batch":
        return new BatchPage(this.#runcast, this.#session, place.id, place.filters);
      case "gateway":
        return new GatewayPage(this.#session);
      case "nowhere":
        return null;
    }
  }
}

function start(): void {
  const session = rememberedSession();
  if (session !== null) new Dashboard(session);
  else {
    document.body.replaceChildren(
      element(
        "main",
        { class: "entrance" },
        signInPage((entered) => new Dashboard(entered)),
      ),
    );
  }
}

addEventListener("hashchange", () => {
  // A link with a token, opened in a tab that has the dashboard already.
  if (location.hash.startsWith("#token=")) location.reload();
});
start();
