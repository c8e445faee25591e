/** One run in a list: a link to its page. */

import type { Run } from "../client/src/index.ts";
import { runPath } from "./address.ts";
import { element, setAttribute, setNumber, setText } from "./dom.ts";
import { ProgressBar, progressText } from "./progress.ts";
import { isFinal, look } from "./statuses.ts";
import { ago, clockTime, duration, shortTask } from "./words.ts";

export class Row {
  readonly #icon = element("span", { class: "icon", "aria-hidden": "true" });
  readonly #status = element("span", { class: "status" });
  readonly #task = element("span", { class: "task" });
  readonly #id = element("span", { class: "id" });
  readonly #bar = new ProgressBar({ decorative: true });
  readonly #said = element("span", { class: "said" });
  readonly #tags = element("span", { class: "tags" });
  readonly #took = element("span", { class: "took" });
  readonly #age = element("span", { class: "age" });
  readonly link = element(
    "a",
    { class: "row" },
    this.#icon,
    this.#status,
    element("span", { class: "name" }, this.#task, this.#id),
    element("span", { class: "progress" }, this.#bar.element, this.#said),
    this.#tags,
    this.#took,
    this.#age,
  );
  readonly element = element("li", {}, this.link);
  #run: Run | null = null;
  #second = 0;

  /** Show a run at its place in the list, as of *now* (unix milliseconds). What is so already is left alone. */
  show(run: Run, place: number, size: number, now: number): void {
    setNumber(this.element, "--at", place);
    setAttribute(this.element, "aria-posinset", place + 1);
    setAttribute(this.element, "aria-setsize", size);
    const second = Math.floor(now / 1000);
    if (run === this.#run && second === this.#second) return;
    if (run !== this.#run) this.#showRun(run);
    this.#run = run;
    this.#second = second;
    setText(this.#took, took(run, now));
    setText(this.#age, ago(now - Date.parse(run.createdAt ?? "")));
  }

  #showRun(run: Run): void {
    const { icon, kind, text } = look(run.status);
    setAttribute(this.link, "href", runPath(run.id));
    setAttribute(this.link, "data-kind", kind);
    setText(this.#icon, icon);
    setText(this.#status, run.attempt && run.attempt > 1 ? `${text} · ${run.attempt}` : text);
    setText(this.#task, shortTask(run.taskIdentifier));
    setText(this.#id, run.id);
    setText(this.#tags, (run.tags ?? []).join(" · "));
    setAttribute(this.#age, "title", clockTime(run.createdAt ?? ""));
    this.#bar.show(run);
    setText(this.#said, saying(run));
  }
}

/** How long it took, or has been taking; nothing for one that never began. */
export function took(run: Run, now: number): string {
  if (!run.startedAt) return "";
  const end = run.finishedAt ? Date.parse(run.finishedAt) : now;
  return duration(end - Date.parse(run.startedAt));
}

/** What is most worth knowing: why it failed, or how far it is. */
function saying(run: Run): string {
  if (run.error) return [run.error.name, run.error.message].filter(Boolean).join(": ");
  return isFinal(run.status) ? "" : progressText(run);
}
