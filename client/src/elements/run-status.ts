// <run-status>: one run, or several together, as a bar, a badge, steps, a log, or within a line of text.

import type { Runcast } from "../index.ts";
import { draw, each, fill, icon, part, setAttribute, setText, sheet } from "./dom.ts";
import { RunElement } from "./element.ts";
import { LogView } from "./log-view.ts";
import css from "./run-status.css";
import { moment, type Shown, type Told } from "./shown.ts";

const STYLES = sheet(css);

export class RunStatus extends RunElement {
  readonly #icon = icon();
  readonly #label = part("label", [], "bdi");
  readonly #status = part("status", [], "bdi");
  readonly #bar = part("bar");
  readonly #steps = part("steps", [], "ol");
  readonly #log = new LogView();
  readonly #detail = part("detail", [], "bdi");
  readonly #time = part("time", [], "span");
  readonly #error = part("error", [], "bdi");
  #shows: [Runcast | null, string] = [null, ""]; // the client and the stream that the log is from

  constructor() {
    super(STYLES);
    const { element } = this.#log;
    const foot = part("foot", [this.#detail, this.#time]);
    this.frame.append(this.#icon, this.#label, this.#status, this.#bar, this.#steps, element, foot, this.#error);
  }

  protected override paint(shown: Shown, told: Told): void {
    const { kind, name, status, detail, time, error } = shown;
    const variant = this.getAttribute("variant") || "bar";
    setAttribute(this.frame, "data-variant", variant);
    draw(this.#icon, kind ?? "todo");
    setText(this.#label, name);
    setText(this.#status, status);
    setText(this.#detail, variant === "steps" && !told.single ? "" : detail); // the steps say the same
    setText(this.#time, time);
    setText(this.#error, error);
    this.#showBar(shown);
    this.#showSteps(variant === "steps" ? shown : null, told.single);
    this.#showLog(variant === "log" && told.single ? name : null);
  }

  /** `role="progressbar"` only as long as there is progress, or some to be expected. */
  #showBar({ bar, name, status, detail, moves }: Shown): void {
    const percent = bar?.percent ?? null;
    const attributes = {
      role: "progressbar",
      "aria-label": name,
      "aria-valuemin": 0,
      "aria-valuemax": 100,
      "aria-valuenow": percent === null ? null : Math.floor(percent),
      "aria-valuetext": detail || status,
      "data-open": percent === null ? (moves ? "moves" : "rests") : null,
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
    const make = (): Element => part("step", [icon(), part("text", [], "bdi"), document.createElement("time")], "li");
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
    const key = this.getAttribute("stream") || "log";
    const client = name === null ? null : this.client;
    log.element.hidden = name === null;
    log.say(this.voice, name ?? "");
    if (client === this.#shows[0] && key === this.#shows[1]) return;
    this.#shows = [client, key];
    log.follow(client && client.stream(this.getAttribute("run") ?? "", key), key === "log");
  }
}
