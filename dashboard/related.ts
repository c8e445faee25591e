/** The runs that belong to a run: its parent, its root, its batch, and those with the same tags, live. */

import type { Run, Runcast, RunSubscription } from "../client/src/index.ts";
import { batchPath, listPath, runPath } from "./address.ts";
import { element, Keyed, perFrame, setAttribute, setText } from "./dom.ts";
import { SKIPPED } from "./older-runs.ts";
import { look } from "./statuses.ts";
import { clockTime, shortTask } from "./words.ts";

/** Runs with the same tags that are shown; the list has the others. */
const MOST = 8;

export class Related {
  readonly element = element("section", { class: "card related", hidden: true }, element("h2", {}, "Related runs"));
  readonly #links = this.element.appendChild(element("dl", { class: "facts" }));
  readonly #same = this.element.appendChild(element("div", { class: "same" }));
  readonly #list = element("ol", { class: "small-list" });
  readonly #runcast: Runcast;
  #followed: RunSubscription | null = null;
  #of = "";
  #run: Run | null = null;
  readonly #draw = perFrame(() => this.#showSame());
  readonly #items = new Keyed<Run, HTMLLIElement>(
    this.#list,
    (run) => element("li", {}, element("a", { href: runPath(run.id) }, ...["icon", "word", "name", "at"].map(part))),
    (item, run) => {
      const [link] = item.children;
      const [icon, word, name, at] = link?.children ?? [];
      const { icon: shape, kind, text } = look(run.status);
      setAttribute(link!, "data-kind", kind);
      setText(icon!, shape);
      setText(word!, text);
      setText(name!, `${shortTask(run.taskIdentifier)} ${run.id}`);
      setText(at!, clockTime(run.createdAt ?? ""));
    },
  );

  constructor(runcast: Runcast) {
    this.#runcast = runcast;
  }

  show(run: Run): void {
    this.#run = run;
    const { parentRunId, rootRunId, batchId } = run;
    const tags = run.tags ?? [];
    const known = [parentRunId, rootRunId, batchId, ...tags].join("\n");
    if (known === this.#of) return;
    this.#of = known;
    const fact = (name: string, href: string, id: string): HTMLElement[] => [
      element("dt", {}, name),
      element("dd", {}, element("a", { href }, id)),
    ];
    this.#links.replaceChildren(
      ...(parentRunId ? fact("Parent", runPath(parentRunId), parentRunId) : []),
      ...(rootRunId && rootRunId !== parentRunId ? fact("Root", runPath(rootRunId), rootRunId) : []),
      ...(batchId ? fact("Batch", batchPath(batchId), batchId) : []),
    );
    this.#follow(tags);
    this.#hide();
  }

  close(): void {
    this.#followed?.close();
  }

  #follow(tags: string[]): void {
    this.#followed?.close();
    this.#same.replaceChildren();
    this.#same.hidden = true;
    if (tags.length === 0) return;
    this.#same.append(
      element("h3", {}, "With the same tags"),
      this.#list,
      element("p", {}, element("a", { href: listPath({ tags }) }, "all of them")),
    );
    this.#followed = this.#runcast.tags(tags, { limit: MOST + 1, skipColumns: [...SKIPPED, "metadata"] });
    this.#followed.on("change", this.#draw);
    this.#draw();
  }

  #showSame(): void {
    const runs = [...(this.#followed?.view.runs.values() ?? [])].filter(({ id }) => id !== this.#run?.id);
    runs.sort((one, other) => ((one.createdAt ?? "") < (other.createdAt ?? "") ? 1 : -1));
    this.#items.show(runs.slice(0, MOST), ({ id }) => id);
    this.#same.hidden = runs.length === 0;
    this.#hide();
  }

  /** A card with nothing in it only looks broken. */
  #hide(): void {
    this.element.hidden = this.#links.childElementCount === 0 && this.#same.hidden;
  }
}

function part(name: string): HTMLElement {
  return element("span", { class: name, "aria-hidden": name === "icon" ? "true" : null });
}
