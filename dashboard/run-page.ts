/** Everything about one run, as it happens. */

import type { ConnectionState, Run, Runcast, RunSubscription } from "../client/src/index.ts";
import { listPath } from "./address.ts";
import { ApiError, request } from "./api.ts";
import { serverClock } from "./clock.ts";
import { copyable, copyButton } from "./copying.ts";
import { element, perFrame, setAttribute, setText } from "./dom.ts";
import { JsonTree } from "./json-tree.ts";
import { mintingForm, watchCommand } from "./minting.ts";
import type { Page } from "./page.ts";
import { ProgressBar, progressText } from "./progress.ts";
import { Related } from "./related.ts";
import { took } from "./row.ts";
import type { Session } from "./session.ts";
import { isFinal, look } from "./statuses.ts";
import { StreamView } from "./stream-view.ts";
import { Timeline } from "./timeline.ts";
import { clockTime, shortTask } from "./words.ts";

/** Cards with any JSON, by the run's column. */
const TREES = [
  ["metadata", "Metadata"],
  ["output", "Output"],
  ["payload", "Payload"],
  ["context", "Context"],
] as const;

/** How often it is asked whether a run that has ended is still kept. */
const LOOK_MILLISECONDS = 60_000;

export class RunPage implements Page {
  readonly title: string;
  readonly #id: string;
  readonly #credential: string;
  readonly #runcast: Runcast;
  readonly #followed: RunSubscription;
  readonly #head = new Head();
  readonly #missing = element("p", { class: "empty", hidden: true });
  readonly #forgotten = element(
    "p",
    { class: "quiet", role: "status", hidden: true },
    "The gateway does not keep this run any more. This is how it ended; when you leave, it is gone.",
  );
  readonly #parts = element("div", { class: "parts", hidden: true });
  readonly #timeline = new Timeline();
  readonly #facts = new Facts();
  readonly #error = new ErrorCard();
  readonly #trees = TREES.map(([column, name]) => new TreeCard(column, name));
  readonly #streams = new Map<string, StreamView>();
  readonly #streamsBox = element("div", { class: "streams" });
  readonly #related: Related;
  readonly element: HTMLElement;
  readonly #draw = perFrame(() => this.#show());
  readonly #timer = setInterval(this.#draw, 1000);
  readonly #looking = setInterval(() => void this.#lookForIt(), LOOK_MILLISECONDS);
  readonly #abort = new AbortController();

  constructor(runcast: Runcast, { credential, permissions }: Session, id: string) {
    this.#id = id;
    this.#credential = credential;
    this.#runcast = runcast;
    this.title = id;
    this.#related = new Related(runcast);
    this.#parts.append(
      element(
        "div",
        { class: "main" },
        this.#error.element,
        ...this.#trees.slice(0, 1).map((tree) => tree.element),
        this.#streamsBox,
        ...this.#trees.slice(1).map((tree) => tree.element),
      ),
      element(
        "div",
        { class: "side" },
        card("Timeline", this.#timeline.element),
        card("Facts", this.#facts.element),
        this.#related.element,
        card(
          "Watch in a terminal",
          copyable(watchCommand(id), { block: true }),
          element("p", { class: "quiet" }, "With RUNCAST_TOKEN or RUNCAST_SECRET_KEY in its environment."),
        ),
        permissions.isSecretKey ? card("Let somebody else see it", mintingForm(credential, id)) : "",
      ),
    );
    this.element = element(
      "article",
      { class: "run-page" },
      this.#head.element,
      this.#forgotten,
      this.#missing,
      this.#parts,
    );
    this.#head.showId(id);
    // Whoever comes back after hours is not to wait for that.
    document.addEventListener("visibilitychange", () => void this.#lookForIt(), this.#abort);
    this.#followed = runcast.run(id);
    this.#followed.on("change", this.#draw);
    this.#followed.on("connection", this.#draw);
    this.#draw();
  }

  connection(): ConnectionState {
    return this.#followed.connection;
  }

  close(): void {
    clearInterval(this.#timer);
    clearInterval(this.#looking);
    this.#abort.abort();
    this.#followed.close();
    this.#related.close();
    for (const stream of this.#streams.values()) stream.close();
  }

  /** A run is kept for some time after its end, and nothing tells when that is over. */
  async #lookForIt(): Promise<void> {
    const { run } = this.#followed.view;
    if (run === null || !isFinal(run.status) || document.hidden) return;
    const path = `/v1/runs/${encodeURIComponent(this.#id)}?skipColumns=payload,output,metadata,context,transitions`;
    const { signal } = this.#abort;
    await request(this.#credential, path, { signal }).then(
      () => (this.#forgotten.hidden = true),
      (error: unknown) => (this.#forgotten.hidden &&= !(error instanceof ApiError && error.status === 404)),
    );
  }

  #now(): number {
    const { state, asOf } = this.connection();
    return state === "live" || asOf === null ? serverClock.now() : asOf.getTime();
  }

  #show(): void {
    const { run, complete } = this.#followed.view;
    this.#missing.hidden = run !== null;
    this.#parts.hidden = run === null;
    setText(this.#missing, complete ? "There is no such run. Should it be created, it appears here." : "Loading…");
    if (this.#followed.connection.state === "denied" && run === null)
      setText(this.#missing, "This run is not to be seen with what you signed in with.");
    this.#head.show(run, this.#now());
    if (run === null) return;
    this.#timeline.show(run, this.#now());
    this.#facts.show(run);
    this.#error.show(run);
    for (const tree of this.#trees) tree.show(run);
    this.#related.show(run);
    this.#showStreams(run);
  }

  #showStreams(run: Run): void {
    for (const key of run.realtimeStreams ?? []) {
      if (this.#streams.has(key)) continue;
      const view = new StreamView(this.#runcast, this.#id, key);
      this.#streams.set(key, view);
      view.element.classList.add("card");
      // What is written for people comes first.
      if (key === "log") this.#streamsBox.prepend(view.element);
      else this.#streamsBox.append(view.element);
    }
  }
}

function card(name: string, ...inside: Node[]): HTMLElement {
  return element("section", { class: "card" }, element("h2", {}, name), ...inside);
}

/** What it is, how it stands, how far it is. */
class Head {
  readonly #icon = element("span", { class: "icon", "aria-hidden": "true" });
  readonly #task = element("span", { class: "task" });
  readonly #status = element("span", { class: "status" });
  readonly #took = element("span", { class: "quiet" });
  readonly #id = element("p", { class: "run-id" });
  readonly #tags = element("p", { class: "tags" });
  readonly #bar = new ProgressBar();
  readonly #said = element("p", { class: "said" });
  readonly element = element(
    "header",
    { class: "run-head" },
    element("h1", {}, this.#icon, this.#task, " ", this.#status, " ", this.#took),
    this.#id,
    this.#tags,
    this.#bar.element,
    this.#said,
  );
  #shownTags = "";

  showId(id: string): void {
    this.#id.replaceChildren(copyable(id));
    setText(this.#task, "run");
  }

  show(run: Run | null, now: number): void {
    this.#bar.element.hidden = run === null;
    if (run === null) return;
    const { icon, kind, text } = look(run.status);
    setAttribute(this.element, "data-kind", kind);
    setText(this.#icon, icon);
    setText(this.#task, shortTask(run.taskIdentifier));
    setAttribute(this.#task, "title", run.taskIdentifier);
    setText(this.#status, run.cancelRequestedAt && !isFinal(run.status) ? `${text}, asked to stop` : text);
    setText(
      this.#took,
      [run.attempt && run.attempt > 1 ? `attempt ${run.attempt}` : "", took(run, now)].filter(Boolean).join(" · "),
    );
    this.#bar.show(run);
    setText(this.#said, isFinal(run.status) ? "" : progressText(run));
    const tags = run.tags ?? [];
    if (tags.join("\n") === this.#shownTags) return;
    this.#shownTags = tags.join("\n");
    this.#tags.replaceChildren(
      ...tags.map((tag) => element("a", { class: "chip", href: listPath({ tags: [tag] }) }, tag)),
    );
  }
}

/** Short columns, those that are known. */
class Facts {
  readonly element = element("dl", { class: "facts" });
  #shown = "";

  show(run: Run): void {
    const facts: [string, string | undefined, string?][] = [
      ["Task", run.taskIdentifier, listPath({ task: run.taskIdentifier ?? "" })],
      ["Attempt", run.attempt === undefined ? undefined : String(run.attempt)],
      ["Number", run.number === undefined ? undefined : String(run.number)],
      ["Created", moment(run.createdAt)],
      ["Queued", moment(run.queuedAt)],
      ["Started", moment(run.startedAt)],
      ["Finished", moment(run.finishedAt)],
      ["Delayed until", moment(run.delayedUntil)],
      ["Expired", moment(run.expiredAt)],
      ["Changed", moment(run.updatedAt)],
      ["Asked to stop", moment(run.cancelRequestedAt)],
      ["Why", run.cancelReason],
      ["Time to live", run.ttl],
      ["At most", run.maxDurationSeconds === undefined ? undefined : `${run.maxDurationSeconds} s an attempt`],
      ["Cost", run.costInCents ? `${run.costInCents} cents` : undefined],
      ["Idempotency key", run.idempotencyKey],
      ["Trace", run.traceparent],
      ["Test", run.isTest ? "yes" : undefined],
    ];
    const known = facts.filter(([, value]) => value !== undefined && value !== null && value !== "");
    const shown = JSON.stringify(known);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.element.replaceChildren(
      ...known.flatMap(([name, value, href]) => [
        element("dt", {}, name),
        element("dd", {}, href ? element("a", { href }, value ?? "") : (value ?? "")),
      ]),
    );
  }
}

function moment(at: string | undefined): string | undefined {
  return at ? clockTime(at, { milliseconds: true }) : undefined;
}

const LONG_MESSAGE = 500;

class ErrorCard {
  readonly #what = element("p", { class: "what" });
  readonly #stack = element("pre", { tabindex: 0, "aria-label": "stack" });
  readonly #title = element("h2");
  readonly element = element(
    "section",
    { class: "card error", hidden: true },
    this.#title,
    this.#what,
    this.#stack,
    copyButton(() => [this.#what.textContent, this.#stack.textContent].filter(Boolean).join("\n"), "copy"),
  );

  show({ error, status }: Run): void {
    this.element.hidden = !error;
    if (!error) return;
    // Of what was stopped it is the reason, and nothing went wrong.
    const { kind } = look(status);
    setAttribute(this.element, "data-kind", kind);
    setText(this.#title, kind === "stopped" ? "Why it was stopped" : "Error");
    const what = [error.name, error.message].filter(Boolean).join(": ");
    setText(this.#what, what);
    setAttribute(this.#what, "tabindex", what.length > LONG_MESSAGE ? 0 : null); // then it scrolls
    setText(this.#stack, error.stackTrace ?? "");
    this.#stack.hidden = !error.stackTrace;
  }
}

class TreeCard {
  readonly #column: (typeof TREES)[number][0];
  readonly #tree = new JsonTree();
  readonly element: HTMLElement;
  #value: unknown;

  constructor(column: (typeof TREES)[number][0], name: string) {
    this.#column = column;
    this.element = card(name, this.#tree.element);
    this.element.append(copyButton(() => JSON.stringify(this.#value, null, 2), "copy JSON"));
    setAttribute(this.element, "data-column", column);
  }

  show(run: Run): void {
    const value: unknown = run[this.#column];
    this.element.hidden =
      value === undefined ||
      value === null ||
      (this.#column !== "output" && this.#column !== "payload" && isEmpty(value));
    if (value === this.#value) return;
    this.#value = value;
    this.#tree.show(value ?? null);
  }
}

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}
