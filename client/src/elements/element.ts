// What <run-status> and <run-list> have in common: from attributes to a subscription, from what that tells to a picture.

import { connect, type FeedOptions, type Options, type Run, type Runcast, type RunSubscription } from "../index.ts";
import { Announcer } from "./announcer.ts";
import { draw, icon, part, setAttribute, setText, sheet, slot } from "./dom.ts";
import css from "./element.css";
import { isSure, shownOf, type Shown, type Told } from "./shown.ts";
import { isOver, kindOf } from "./statuses.ts";
import { Voice, type Words } from "./words.ts";

const FEEDS = ["run", "tag", "batch", "task", "all"] as const;
/** Attributes that say what is followed, and how: when one changes, the element follows anew. */
const FOLLOWED: readonly string[] = [...FEEDS, "token", "token-url", "src", "since", "limit"];
const STYLES = sheet(css);
const SECOND_MS = 1000;

type Feed = (typeof FEEDS)[number];
type Ids = ReadonlySet<string>;

/** Elements that are in the page, and words for all of them. */
const here = new Set<RunElement>();
let common: Words = {};

export abstract class RunElement extends HTMLElement {
  static readonly observedAttributes = [...FOLLOWED, "lang", "label", "variant", "stream", "href"];

  /** What all elements of the page say in other words, or in another language. */
  static get words(): Words {
    return common;
  }

  static set words(words: Words) {
    common = words;
    for (const element of here) element.words = element.#words;
  }

  /** What there is to see of a run, once something is known of it. */
  protected readonly frame = part("frame");
  protected client: Runcast | null = null;
  /** Where that is from, if the page says so. */
  protected gateway = "";
  protected voice = new Voice("", {});
  readonly #internals = this.attachInternals();
  readonly #note = part("note", [icon(), part("", [], "bdi")]);
  readonly #fallback = part("fallback", [slot("")]);
  readonly #outcome = slot("-"); // of the name `done` or `failed`, when it is
  readonly #box = part("box", [slot("before"), this.#fallback, this.frame, this.#note, this.#outcome, slot("after")]);
  readonly #announcer = new Announcer();
  #subscription: RunSubscription | null = null;
  #data: Run | Run[] | null = null;
  #getToken: Options["getToken"];
  #words: Words = {};
  #lang: string | null = null; // of the voice; null when it must be another one
  #closed = false;
  #follows = false; // what the attributes say, or must it begin to?
  #due = false;
  #clock = 0;

  constructor(styles: CSSStyleSheet) {
    super();
    this.#internals.role = "group";
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [STYLES, styles];
    root.append(this.#box, this.#announcer.polite, this.#announcer.loud);
    this.frame.hidden = this.#note.hidden = true;
  }

  /** The run that is shown, or the runs, or null. Set it to show what your page knows already, or has from elsewhere. */
  get data(): Run | Run[] | null {
    const { single, runs } = this.#told();
    return single ? ([...runs.values()][0] ?? null) : [...runs.values()];
  }

  set data(data: Run | Run[] | null) {
    this.#data = data;
    this.later();
  }

  /** Where tokens come from, when they come neither from `token` nor from `token-url`. */
  get getToken(): Options["getToken"] {
    return this.#getToken;
  }

  set getToken(getToken: Options["getToken"]) {
    this.#getToken = getToken;
    this.refresh();
  }

  /** What this element says in other words than the others. */
  get words(): Words {
    return this.#words;
  }

  set words(words: Words) {
    this.#words = words;
    this.#lang = null;
    this.later();
  }

  /** Follow anew, also what was denied or closed. */
  refresh(): void {
    this.#follows = false;
    this.later();
  }

  /** Follow no longer. What is shown stays, and says how old it is. */
  close(): void {
    this.client?.close();
    this.#closed = true;
    this.later();
  }

  connectedCallback(): void {
    // A property that was set before the element was defined hides the one of its class.
    const self = this as unknown as Record<string, unknown>;
    for (const name of ["data", "getToken", "words"]) {
      if (!Object.hasOwn(this, name)) continue;
      const value = self[name];
      delete self[name];
      self[name] = value;
    }
    here.add(this);
    this.words = this.#words; // it may be in a place of another language now
  }

  disconnectedCallback(): void {
    here.delete(this);
    // One that is only moved within the page is back at once, and goes on.
    queueMicrotask(() => {
      if (this.isConnected) return;
      this.close();
      this.#follows = false;
    });
  }

  attributeChangedCallback(name: string): void {
    if (FOLLOWED.includes(name)) this.#follows = false;
    this.later();
  }

  /** Show it. *changed* are the ids of the runs that are not as they were; without them anything may be. */
  protected abstract paint(shown: Shown, told: Told, changed?: Ids): void;

  /** Paint soon, once for all that changes now; before that follow what the attributes say. */
  protected later(): void {
    if (this.#due) return;
    this.#due = true;
    queueMicrotask(() => {
      this.#due = false;
      if (!this.isConnected) return;
      if (!this.#follows) this.#follow();
      this.#paint();
    });
  }

  #told(): Told {
    const [feed, subject] = this.#asked();
    const data = this.#data;
    const { view, connection } = this.#subscription ?? {};
    const { state = "given", asOf = null, reason = "" } = connection ?? {};
    const known = view && (view.complete || !data) ? view : null; // and else what the page knows
    return {
      single: known || !data ? feed === "run" : !Array.isArray(data),
      runs: known?.runs ?? new Map([data ?? []].flat().map((run) => [run.id, run])),
      complete: known ? known.complete : !!data,
      whole: !known || !(known.truncated || feed === "task" || feed === "all"),
      state: this.#closed && connection && state !== "ended" ? "offline" : state,
      asOf: known && asOf,
      reason,
      subject,
    };
  }

  /** The first that there is of the attributes that name a feed, and what it says. */
  #asked(): [Feed | undefined, string] {
    const feed = FEEDS.find((name) => this.hasAttribute(name));
    return [feed, this.getAttribute(feed ?? "run") ?? ""];
  }

  #follow(): void {
    this.client?.close();
    this.#announcer.reset();
    this.#follows = true;
    this.#closed = false;
    this.client = this.#subscription = null;
    const [feed, id] = this.#asked();
    const given = (name: string): string | undefined => this.getAttribute(name) || undefined;
    if (!feed || !(id || feed === "all")) {
      if (given("token") || given("token-url")) console.warn(this, `says none of ${FEEDS}`);
      return;
    }
    const url = (name: string): string | undefined => given(name) && new URL(given(name)!, document.baseURI).href;
    const getToken = this.#getToken;
    const src = (this.gateway = (url("src") ?? "").replace(/\/$/, ""));
    const client = connect({ url: src || undefined, token: given("token"), tokenUrl: url("token-url"), getToken });
    const limits = { since: given("since"), limit: Number(given("limit")) || undefined } as FeedOptions;
    const subscription =
      feed === "tag"
        ? client.tags(id.split(","), limits)
        : feed === "all"
          ? client.all(limits)
          : client[feed](id, limits);
    this.client = client;
    this.#subscription = subscription;
    subscription.on("change", (view) => {
      this.#paint(view.changed);
      this.#tell("update", view);
    });
    subscription.on("transition", (run, { status }) => isOver(kindOf(status)) && this.#tell("end", { run, status }));
    subscription.on("error", (error) => this.#tell("error", error));
    subscription.on("connection", (connection) => {
      this.#paint(new Set());
      this.#tell("connection", connection);
    });
  }

  #tell(what: string, detail: object): void {
    this.dispatchEvent(new CustomEvent(`run-${what}`, { detail, bubbles: true, composed: true }));
  }

  #paint(changed?: Ids): void {
    if (!changed) this.#choose(this.closest<HTMLElement>("[lang]") ?? document.documentElement);
    const told = this.#told();
    const shown = shownOf(told, this.voice, Date.now(), this.getAttribute("label") ?? "");
    const { kind, note, status, name } = shown;
    const { state } = told;
    const [sign, words] = this.#note.children as unknown as [Element, Element];
    this.#internals.ariaLabel = name;
    // Until something is known the page's own content stays: it may be what a server rendered.
    this.#fallback.hidden = !!status;
    this.frame.hidden = !status;
    setAttribute(this.frame, "aria-busy", state === "connecting" ? "true" : null);
    this.#note.hidden = !note;
    draw(sign, state);
    setText(words, note);
    this.#outcome.name = kind === "ok" ? "done" : kind === "bad" ? "failed" : "-";
    setAttribute(this.#box, "data-kind", isSure(told) ? kind : "old");
    setAttribute(this.#box, "data-state", state);
    this.#reflect(kind ?? "empty", state);
    this.paint(shown, told, changed);
    this.#announcer.consider(shown);
    // Ages and durations grow without any news.
    if (!note && (!kind || isOver(kind))) return;
    this.#clock ||= setTimeout(() => {
      this.#clock = 0;
      this.later();
    }, SECOND_MS);
  }

  /** Whose words and numbers: another voice only when there is a reason, for whatever was said must be said again. */
  #choose({ lang }: HTMLElement): void {
    lang ||= navigator.language;
    if (lang !== this.#lang) this.voice = new Voice(lang, { ...common, ...this.#words });
    this.#lang = lang;
  }

  /** For style sheets: `run-status:state(bad)`, `:state(offline)`. */
  #reflect(...names: string[]): void {
    try {
      const { states } = this.#internals;
      states.clear();
      names.forEach((name) => states.add(name));
    } catch {
      // Browsers of 2023 and before know no such states, or want dashes before them.
    }
  }
}
