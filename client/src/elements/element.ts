// What <run-status> and <run-list> have in common: from attributes to a subscription, from what that tells to a picture.

import { connect, type FeedOptions, type Options, type Run, type Runcast, type RunSubscription } from "../index.ts";
import { Announcer } from "./announcer.ts";
import { draw, icon, part, setAttribute, setText, sheet } from "./dom.ts";
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

export abstract class RunElement extends HTMLElement {
  static readonly observedAttributes = [...FOLLOWED, "lang", "label", "variant", "stream", "href"];

  /** What there is to see of a run, once something is known of it. */
  protected readonly frame = part("frame");
  protected client: Runcast | null = null;
  protected voice = new Voice("", {});
  readonly #internals = this.attachInternals();
  readonly #note = part("note", [icon(), document.createElement("bdi")]);
  readonly #fallback = part("fallback", [slot("")]);
  readonly #outcome = slot("-"); // of the name `done` or `failed`, when it is
  readonly #box = part("box", [slot("before"), this.#fallback, this.frame, this.#note, this.#outcome, slot("after")]);
  readonly #announcer: Announcer;
  #subscription: RunSubscription | null = null;
  #data: Run | Run[] | null = null;
  #getToken: Options["getToken"];
  #words: Words = {};
  #closed = false;
  #follows = false; // what the attributes say, or must it begin to?
  #due = false;
  #clock = 0;

  constructor(styles: CSSStyleSheet) {
    super();
    const [polite, loud] = [part("ears", [], "div", "status"), part("ears", [], "div", "alert")];
    this.#announcer = new Announcer(polite, loud);
    this.#internals.role = "group";
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [STYLES, styles];
    root.append(this.#box, polite, loud);
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

  /** What this element says in other words, or in another language. */
  get words(): Words {
    return this.#words;
  }

  set words(words: Words) {
    this.#words = words;
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
    this.refresh();
  }

  disconnectedCallback(): void {
    // One that is only moved within the page comes back at once.
    queueMicrotask(() => this.isConnected || this.close());
  }

  attributeChangedCallback(name: string): void {
    if (FOLLOWED.includes(name)) this.#follows = false;
    this.later();
  }

  /** Paint soon, once for all that changes now; before that follow what the attributes say. */
  protected readonly later = (): void => {
    if (this.#due) return;
    this.#due = true;
    queueMicrotask(() => {
      this.#due = false;
      if (!this.isConnected) return;
      if (!this.#follows) this.#follow();
      this.#paint();
    });
  };

  /** Show it. *changed* are the ids of the runs that are not as they were; without them anything may be. */
  protected abstract paint(shown: Shown, told: Told, changed?: Ids): void;

  #told(): Told {
    const [feed, subject] = this.#asked();
    const { view, connection } = this.#subscription ?? {};
    if (view && (view.complete || !this.#data)) {
      const { runs, complete, truncated } = view;
      const { asOf = null, reason = "", state = "offline" } = connection ?? {};
      const whole = !truncated && feed !== "task" && feed !== "all";
      return {
        single: feed === "run",
        runs,
        complete,
        whole,
        state: this.#closed && state !== "ended" ? "offline" : state,
        asOf,
        reason,
        subject,
      };
    }
    const runs = new Map([this.#data ?? []].flat().map((run) => [run.id, run]));
    const single = this.#data ? !Array.isArray(this.#data) : feed === "run";
    const { state = "given", reason = "" } = connection ?? {};
    return { single, runs, complete: !!this.#data, whole: true, state, asOf: null, reason, subject };
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
    if (!feed || !(id || feed === "all")) return;
    const given = (name: string): string | null => this.getAttribute(name);
    const url = (name: string): string | null => given(name) && new URL(given(name) ?? "", document.baseURI).href;
    const options = { url: url("src"), token: given("token"), tokenUrl: url("token-url"), getToken: this.#getToken };
    const client = (this.client = connect(present(options)));
    const limits: FeedOptions = present({ since: given("since"), limit: Number(given("limit")) });
    this.#listen(
      feed === "tag"
        ? client.tags(id.split(","), limits)
        : feed === "all"
          ? client.all(limits)
          : feed === "run"
            ? client.run(id)
            : client[feed](id, limits),
    );
  }

  #listen(subscription: RunSubscription): void {
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
    this.#internals.ariaLabel = name || this.voice.say(told.single ? "run" : "runs");
    // Until something is known the page's own content stays: it may be what a server rendered.
    this.#fallback.hidden = !!status;
    this.frame.hidden = !status;
    setAttribute(this.frame, "aria-busy", told.state === "connecting" ? "true" : null);
    this.#note.hidden = !note;
    draw(this.#note.children[0] as Element, told.state);
    setText(this.#note.children[1] as Element, note);
    this.#outcome.name = kind === "ok" ? "done" : kind === "bad" ? "failed" : "-";
    setAttribute(this.#box, "data-kind", isSure(told) ? kind : "old");
    setAttribute(this.#box, "data-state", told.state);
    this.#reflect([kind ?? "empty", told.state]);
    this.paint(shown, told, changed);
    this.#announcer.consider(shown);
    // Ages and durations grow without any news.
    if (note || (kind && !isOver(kind))) this.#clock ||= setTimeout(this.#tick, SECOND_MS);
  }

  readonly #tick = (): void => {
    this.#clock = 0;
    this.later();
  };

  /** Whose words and numbers: another voice only when there is a reason, for whatever was said must be said again. */
  #choose({ lang }: HTMLElement): void {
    lang ||= navigator.language;
    if (lang !== this.voice.lang || this.#words !== this.voice.words) this.voice = new Voice(lang, this.#words);
  }

  /** For style sheets: `run-status:state(bad)`, `:state(offline)`. */
  #reflect(names: string[]): void {
    try {
      const { states } = this.#internals;
      states.clear();
      names.forEach((name) => states.add(name));
    } catch {
      // Browsers of 2023 and before know no such states, or want dashes before them.
    }
  }
}

function slot(name: string): HTMLSlotElement {
  return Object.assign(document.createElement("slot"), { name });
}

/** The options that are there. */
function present<T extends object>(options: T): { [Name in keyof T]?: NonNullable<T[Name]> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value)) as {
    [Name in keyof T]?: NonNullable<T[Name]>;
  };
}
