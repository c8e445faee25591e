// <run-status>: one run, or several together, as a bar, a badge, steps, a log, or within a line of text.

import type { Runcast } from "../index.ts";
import * as load from "../parts.ts";
import { draw, each, fill, icon, part, setAttribute, setText, sheet, slot } from "./dom.ts";
import { RunElement } from "./element.ts";
import css from "./run-status.css";
import { moment, type Shown, type Told } from "./shown.ts";
import type * as Views from "./views.ts";

const STYLES = sheet(css);
const PATIENCE_MS = 5000; // before something else is shown, and before what could not be loaded is asked for again

export class RunStatus extends RunElement {
  readonly #icon = icon();
  readonly #label = part("label", [], "bdi");
  readonly #status = part("status", [], "bdi");
  readonly #bar = part("bar");
  readonly #steps = part("steps", [], "ol");
  // Whoever has no mouse must be able to scroll it. A log is a live region by itself; this one is read when wanted.
  readonly #log = part("log", [], "div", "log");
  readonly #detail = part("detail", [], "bdi");
  readonly #time = part("time", [], "span");
  readonly #error = part("error", [], "bdi");
  readonly #custom = slot("custom");
  #views: [Views.LogView, Views.Markup] | null = null;
  #loading: Promise<void> | null = null;
  #failed = false; // to load the views
  #shows: [Runcast | null, string] = [null, ""]; // the client and the stream that the log is from

  constructor() {
    super(STYLES);
    const log = this.#log;
    log.tabIndex = 0;
    setAttribute(log, "aria-live", "off");
    const foot = part("foot", [this.#detail, this.#time]);
    this.frame.append(this.#icon, this.#label, this.#status, this.#bar, this.#steps, log, foot, this.#error);
    this.frame.after(this.#custom);
  }

  protected override paint(shown: Shown, told: Told): void {
    const { kind, name, status, detail, time, error } = shown;
    const variant = this.getAttribute("variant") || "bar";
    draw(this.#icon, kind ?? "todo");
    setText(this.#label, name);
    setText(this.#status, status);
    setText(this.#detail, variant === "steps" && !told.single ? "" : detail); // the steps say the same
    setText(this.#time, time);
    setText(this.#error, error);
    this.#showBar(shown);
    this.#showSteps(variant === "steps" ? shown : null, told.single);
    const template = kind && this.querySelector<HTMLTemplateElement>(":scope > template");
    const log = variant === "log" && told.single ? name : null;
    if ((template || log !== null) && !this.#views) this.#loading ??= this.#load();
    this.#showMarkup(template, shown, told);
    this.#showLog(log);
  }

  /** A page's own markup in place of ours, once something is known. */
  #showMarkup(template: HTMLTemplateElement | null, shown: Shown, { single, runs, state }: Told): void {
    const run = single ? [...runs.values()][0] : null;
    const percent = shown.bar?.percent == null ? null : Math.floor(shown.bar.percent);
    this.#views?.[1].show(this, template, { ...shown, percent, run, state });
    this.#custom.hidden = !template;
    // Nothing for a moment is better than what the page did not want; what can't be loaded is another matter.
    if (template && !this.#failed) this.frame.hidden = true;
  }

  /** `role="progressbar"` only as long as there is progress, or some to be expected. */
  #showBar({ kind, bar, name, status, detail, moves }: Shown): void {
    const percent = bar?.percent ?? null;
    const attributes = {
      role: "progressbar",
      "aria-label": name,
      "aria-valuemin": 0,
      "aria-valuemax": 100,
      "aria-valuenow": percent === null ? null : Math.floor(percent),
      "aria-valuetext": detail || status,
      "data-open": percent === null && kind === "working" ? (moves ? "moves" : "rests") : null,
    };
    for (const [attribute, value] of Object.entries(attributes)) setAttribute(this.#bar, attribute, bar && value);
    each(
      this.#bar,
      bar?.parts ?? [],
      () => part("fill"),
      (element, [kind, share]) => fill(element, kind, share),
    );
  }

  #showSteps(shown: Shown | null, ordered: boolean): void {
    this.#steps.hidden = !shown;
    const make = (): Element => part("step", [icon(), part("text", [], "bdi"), part("time", [], "time")], "li");
    each(this.#steps, shown?.steps ?? [], make, (item, { text, at, kind }) => {
      const [mark, words, time] = item.children as unknown as [Element, Element, HTMLTimeElement];
      setAttribute(item, "data-kind", kind);
      setAttribute(item, "aria-current", ordered && (kind === "working" || kind === "waiting") ? "step" : null);
      draw(mark, kind);
      setText(words, text);
      time.dateTime = at;
      setText(time, at && this.voice.clock(moment(at)));
    });
  }

  /** @param name of the run whose log it is; null for no log */
  #showLog(name: string | null): void {
    const log = this.#log;
    const [view] = this.#views ?? [];
    const client = name === null ? null : this.client;
    const key = this.getAttribute("stream") || "log";
    log.hidden = name === null;
    setAttribute(log, "aria-label", `${this.voice.say("log")}: ${name}`);
    if (!view) {
      setText(log, this.voice.say("connecting"));
      return;
    }
    view.say(this.voice);
    if (client === this.#shows[0] && key === this.#shows[1]) return;
    this.#shows = [client, key];
    view.follow(client && client.stream(this.getAttribute("run") ?? "", key), key === "log");
  }

  async #load(): Promise<void> {
    const patience = setTimeout(() => this.#fail(), PATIENCE_MS);
    try {
      const { LogView, Markup } = await load.views(this.gateway);
      this.#views = [new LogView(this.#log), new Markup()];
      this.#failed = false;
    } catch {
      this.#fail();
      await new Promise((resolve) => setTimeout(resolve, PATIENCE_MS));
      this.#loading = null;
    }
    clearTimeout(patience);
    this.later();
  }

  /** For now it can't be had. */
  #fail(): void {
    this.#failed = true;
    this.later();
  }
}
