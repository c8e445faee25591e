// The demo's page: runs, newest first, as they happen. Whatever comes from a run is put in as text, never as markup.

import { follow } from "./runcast.js";

const SHOWN = 100; // runs on the page; older ones are dropped
const SINCE = "1h";

// Icon and word: a colour alone tells nothing to many people. Plain shapes, which most fonts have and no system
// replaces by pictures.
const STATUSES = {
  DELAYED: { icon: "◷", kind: "waiting", text: "delayed" },
  PENDING_VERSION: { icon: "◷", kind: "waiting", text: "waiting for a version" },
  QUEUED: { icon: "○", kind: "waiting", text: "queued" },
  DEQUEUED: { icon: "◔", kind: "working", text: "starting" },
  EXECUTING: { icon: "◑", kind: "working", text: "running" },
  WAITING: { icon: "◷", kind: "waiting", text: "waiting" },
  COMPLETED: { icon: "✓", kind: "good", text: "completed" },
  FAILED: { icon: "✕", kind: "bad", text: "failed" },
  SYSTEM_FAILURE: { icon: "⚠\uFE0E", kind: "bad", text: "system failure" },
  CRASHED: { icon: "✹", kind: "bad", text: "crashed" },
  CANCELED: { icon: "⊘", kind: "stopped", text: "canceled" },
  EXPIRED: { icon: "◌", kind: "stopped", text: "expired" },
  TIMED_OUT: { icon: "◕", kind: "stopped", text: "timed out" },
};
const UNKNOWN = { icon: "?", kind: "waiting", text: "unknown" };

const STATES = {
  connecting: "connecting…",
  live: "live",
  stale: "stale: what you see may be old",
  reconnecting: "reconnecting…",
  ended: "ended",
  denied: "not allowed",
};

const byId = (id) => document.getElementById(id);
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const whole = new Intl.NumberFormat();

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A list with exactly these texts; items that say so already are left alone. */
function setItems(list, texts) {
  while (list.children.length > texts.length) list.lastElementChild.remove();
  texts.forEach((text, i) => setText(list.children[i] ?? list.appendChild(document.createElement("li")), text));
}

function duration(milliseconds) {
  const seconds = Math.max(0, milliseconds) / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
}

/** One run on the page. */
class Card {
  constructor() {
    this.element = byId("run").content.firstElementChild.cloneNode(true);
    this.parts = {};
    for (const part of this.element.querySelectorAll("[class]")) this.parts[part.classList[0]] = part;
  }

  show(run) {
    this.run = run;
    const { icon, kind, text } = STATUSES[run.status] ?? UNKNOWN;
    const { parts } = this;
    this.element.dataset.kind = kind;
    this.element.setAttribute("aria-busy", String(kind === "working"));
    setText(parts.icon, icon);
    setText(parts.task, shortName(run.taskIdentifier));
    parts.task.title = `${run.taskIdentifier} ${run.id}`;
    setText(parts.status, text);
    setText(parts.attempt, run.attempt > 1 ? `attempt ${run.attempt}` : "");
    const batch = run.batchId ? [`batch ${run.batchId.slice(0, 8)}`] : [];
    setText(parts.tags, [...(run.tags ?? []), ...batch].join(" · "));
    this.#showStages(run.metadata ?? {}, kind);
    this.#showProgress(run, kind, text);
    this.#showOutcome(run);
    this.#showTransitions(run.transitions ?? []);
    this.tick(Date.now());
  }

  /** How long it took, or has been taking. */
  tick(now) {
    const { run } = this;
    const started = run.startedAt && Date.parse(run.startedAt);
    const finished = run.finishedAt && Date.parse(run.finishedAt);
    if (started) setText(this.parts.times, duration((finished || now) - started));
    else if (run.status === "DELAYED" && run.delayedUntil) {
      setText(this.parts.times, `until ${clock.format(new Date(run.delayedUntil))}`);
    } else setText(this.parts.times, finished ? "" : `for ${duration(now - Date.parse(run.createdAt))}`);
  }

  #showStages({ stages, stage }, kind) {
    const list = this.parts.stages;
    list.hidden = !Array.isArray(stages);
    if (list.hidden) return;
    const current = kind === "good" ? stages.length : stages.indexOf(stage);
    setItems(
      list,
      stages.map((name, i) => (i < current ? `✓ ${name}` : String(name))),
    );
    [...list.children].forEach((item, i) => {
      if (i === current && kind === "working") item.setAttribute("aria-current", "step");
      else item.removeAttribute("aria-current");
    });
  }

  #showProgress(run, kind, statusText) {
    const { bar, text } = this.parts;
    const part = partDone(run);
    const measured = part !== null;
    this.parts.progress.hidden = kind === "waiting" || (!measured && kind !== "working");
    bar.classList.toggle("unmeasured", !measured);
    bar.setAttribute("aria-label", `${run.taskIdentifier}: progress`);
    if (measured) {
      bar.style.setProperty("--part", part);
      bar.setAttribute("aria-valuenow", Math.floor(part * 100));
    } else bar.removeAttribute("aria-valuenow");
    const said = progressText(run);
    bar.setAttribute("aria-valuetext", said || statusText);
    setText(text, kind === "working" ? said : "");
  }

  #showOutcome(run) {
    const { outcome } = this.parts;
    const said = run.error ? [run.error.name, run.error.message].filter(Boolean).join(": ") : shortJson(run.output);
    outcome.hidden = !said;
    setText(outcome, said);
    outcome.title = said;
  }

  #showTransitions(transitions) {
    const words = (transition, i) => {
      const at = clock.format(new Date(transition.at));
      return `${happened(transition, transitions[i - 1])} ${at}`;
    };
    setItems(this.parts.transitions, transitions.map(words));
  }
}

/** A transition in words. The same status again in one attempt: it failed, and another attempt follows. */
function happened({ status, attempt }, before) {
  if (before?.status === status && before.attempt === attempt) return "to be tried again";
  const text = STATUSES[status]?.text ?? status;
  return before && attempt > before.attempt ? `${text} (attempt ${attempt})` : text;
}

function shortName(task = "") {
  return task.slice(task.lastIndexOf(".") + 1);
}

/** From 0 to 1, or null when the run does not say. A run that completed is done, whatever it said last. */
function partDone(run) {
  if (run.status === "COMPLETED") return 1;
  const { current, total } = run.metadata?.progress ?? {};
  return total > 0 && current >= 0 ? Math.min(1, current / total) : null;
}

function progressText(run) {
  const { current, total, text } = run.metadata?.progress ?? {};
  const count = total > 0 ? `${whole.format(current)} of ${whole.format(total)}` : "";
  return [count, text].filter(Boolean).join(" · ");
}

function shortJson(value) {
  if (value === undefined || value === null) return "";
  const text = JSON.stringify(value);
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}

/** The list: shows what changed at most once per animation frame, however much comes in. */
class Page {
  #cards = new Map();
  #runs = new Map();
  #changed = new Set();
  #frame = null;
  #announced = 0;

  constructor() {
    setInterval(() => this.#tick(), 1000);
  }

  change(runs, ids) {
    this.#runs = runs;
    for (const id of ids) this.#changed.add(id);
    this.#frame ??= requestAnimationFrame(() => this.#draw());
  }

  clear() {
    this.change(new Map(), [...this.#cards.keys()]);
  }

  #draw() {
    this.#frame = null;
    const came = [];
    for (const id of this.#changed) {
      const run = this.#runs.get(id);
      if (!run) this.#remove(id);
      else if (this.#cards.has(id)) this.#update(id, run);
      else came.push(run);
    }
    this.#changed.clear();
    came.sort((a, b) => (a.createdAt < b.createdAt ? -1 : 1)).forEach((run) => this.#add(run));
    this.#summarize();
  }

  #add(run) {
    const card = new Card();
    card.show(run);
    this.#cards.set(run.id, card);
    // Newest first; a run that we hear of late goes where it belongs.
    const older = [...byId("runs").children].find((element) => element.dataset.createdAt <= run.createdAt) ?? null;
    card.element.dataset.createdAt = run.createdAt;
    byId("runs").insertBefore(card.element, older);
  }

  #update(id, run) {
    const card = this.#cards.get(id);
    const before = card.run.status;
    card.show(run);
    if (run.status !== before && run.finishedAt) this.#announce(run);
  }

  #remove(id) {
    this.#cards.get(id)?.element.remove();
    this.#cards.delete(id);
  }

  /** For screen readers, and not more often than they can say it. */
  #announce(run) {
    if (Date.now() - this.#announced < 5000) return;
    this.#announced = Date.now();
    setText(byId("announcer"), `${shortName(run.taskIdentifier)}: ${STATUSES[run.status]?.text ?? run.status}`);
  }

  #summarize() {
    const counts = { waiting: 0, working: 0, good: 0, bad: 0, stopped: 0 };
    for (const { status } of this.#runs.values()) counts[(STATUSES[status] ?? UNKNOWN).kind] += 1;
    byId("empty").hidden = this.#runs.size > 0;
    setText(byId("summary"), this.#runs.size ? `${counts.working} running, ${counts.waiting} waiting` : "");
  }

  #tick() {
    const now = Date.now();
    for (const card of this.#cards.values()) if (!card.run.finishedAt) card.tick(now);
  }
}

function showState({ state, asOf, reason }) {
  byId("connection").dataset.state = state;
  setText(byId("connection-state"), STATES[state]);
  setText(byId("as-of"), asOf ? `as of ${clock.format(new Date(asOf))}` : "");
  byId("problem").hidden = state !== "denied";
  if (state === "denied") setText(byId("problem"), `The gateway refused: ${reason}`);
}

function start(page, following) {
  following?.close();
  page.clear();
  // The token is in the fragment, which browsers send to nobody.
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) {
    showState({ state: "denied", reason: "the address has no #token=…" });
    return null;
  }
  const asked = new URLSearchParams(location.search);
  const tags = asked.get("tags");
  const feed = tags ? { tags: tags.split(",") } : { all: true };
  return follow({
    url: asked.get("gateway") ?? location.origin,
    token,
    feeds: [{ ...feed, since: SINCE, limit: SHOWN, skipColumns: ["payload", "context"] }],
    transport: asked.get("transport") === "sse" ? "sse" : "ws",
    keep: SHOWN,
    onChange: (runs, ids) => page.change(runs, ids),
    onState: showState,
  });
}

const page = new Page();
let following = start(page, null);
addEventListener("hashchange", () => {
  following = start(page, following);
});
// A page in the back/forward cache must not hold a connection, and one that comes back out of it wants one.
addEventListener("pagehide", () => following?.close());
addEventListener("pageshow", (event) => {
  if (event.persisted) following = start(page, following);
});
