/**
 * What a list shows: which feed is followed, and which of its runs are let through. Kept in the page's address, so that
 * back, forward, a reload and a link to a colleague show the same.
 */

import type { Run } from "../client/src/index.ts";
import { look } from "./statuses.ts";

/** The feed behind a list: the narrowest that the filters allow, so that the gateway filters as much as it can. */
export interface FeedChoice {
  tags?: string[];
  batch?: string;
  task?: string;
}

export interface Filters {
  statuses: readonly string[];
  tags: readonly string[];
  task: string;
  batch: string;
  /** Words that all occur somewhere in what a row shows. */
  text: string;
}

export const NO_FILTERS: Filters = { statuses: [], tags: [], task: "", batch: "", text: "" };

export function readFilters(query: URLSearchParams): Filters {
  const statuses = query.getAll("status").flatMap((value) => value.split(","));
  return {
    statuses: [...new Set(statuses.filter(Boolean))],
    tags: [...new Set(query.getAll("tag").filter(Boolean))],
    task: query.get("task") ?? "",
    batch: query.get("batch") ?? "",
    text: query.get("q") ?? "",
  };
}

/** The query of an address, without `?`; empty when nothing is filtered. */
export function writeFilters({ statuses, tags, task, batch, text }: Filters): string {
  const query = new URLSearchParams();
  if (statuses.length > 0) query.set("status", statuses.join(","));
  for (const tag of tags) query.append("tag", tag);
  if (task) query.set("task", task);
  if (batch) query.set("batch", batch);
  if (text) query.set("q", text);
  return query.toString().replaceAll("%3A", ":").replaceAll("%2C", ",");
}

export function isFiltered(filters: Filters): boolean {
  return writeFilters(filters) !== "";
}

export function feedOf({ tags, task, batch }: Filters): FeedChoice {
  if (batch) return { batch };
  if (tags.length > 0) return { tags: [...tags] };
  return task ? { task } : {};
}

/** The query of `GET /v1/runs` for the runs of a feed. */
export function listQuery({ tags, batch, task }: FeedChoice, more: Record<string, string | number>): URLSearchParams {
  const query = new URLSearchParams();
  for (const tag of tags ?? []) query.append("tag", tag);
  if (batch !== undefined) query.set("batch", batch);
  if (task !== undefined) query.set("task", task);
  for (const [name, value] of Object.entries(more)) query.set(name, String(value));
  return query;
}

/** In words and as a key: `tag export, customer:7`. */
export function feedName({ tags, task, batch }: FeedChoice): string {
  if (batch !== undefined) return `batch ${batch}`;
  if (tags !== undefined) return `tag ${tags.join(", ")}`;
  return task === undefined ? "all runs" : `task ${task}`;
}

/** Lets runs through, apart from their status: of that there are counts, which would make no sense otherwise. */
export function matcher({ tags, task, batch, text }: Filters): (run: Run) => boolean {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return (run) =>
    (!task || run.taskIdentifier === task) &&
    (!batch || run.batchId === batch) &&
    tags.every((tag) => run.tags?.includes(tag)) &&
    (words.length === 0 || hasWords(run, words));
}

function hasWords(run: Run, words: readonly string[]): boolean {
  const text = [
    run.id,
    run.taskIdentifier,
    look(run.status).text,
    run.batchId,
    run.error?.message,
    ...(run.tags ?? []),
  ];
  const searched = text.join("\n").toLowerCase();
  return words.every((word) => searched.includes(word));
}
