// What worker.py says about a report, as the page reads it. What comes from a worker is checked, not believed.

/** The part of a run that is shown; all hooks' runs have it. */
export type Report = {
  id: string;
  status: string;
  createdAt: Date;
  finishedAt?: Date;
  tags: string[];
  metadata?: { [key: string]: unknown };
  payload?: unknown;
  output?: unknown;
  error?: { message: string };
};

export type Progress = { percent: number; text: string };

export function topicOf(report: Pick<Report, "id" | "payload">): string {
  const topic = field(report.payload, "topic");
  return typeof topic === "string" ? topic : report.id;
}

/** `run.progress(3, 10, "reading figures")` in the worker is `metadata.progress` here. */
export function progressOf(report: Pick<Report, "metadata">): Progress {
  const progress = report.metadata?.progress;
  const [percent, text] = [field(progress, "percent"), field(progress, "text")];
  return {
    percent: typeof percent === "number" ? Math.min(Math.max(percent, 0), 100) : 0,
    text: typeof text === "string" ? text : "",
  };
}

/** `run.set("question", …)`: the worker waits for an answer. */
export function questionOf(report: Pick<Report, "metadata" | "finishedAt">): string | undefined {
  const question = report.metadata?.question;
  return typeof question === "string" && !report.finishedAt ? question : undefined;
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as { [name: string]: unknown })[name] : undefined;
}
