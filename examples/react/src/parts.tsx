import { useEffect, useRef, type ReactNode } from "react";

import { progressOf, type Report } from "./reports";

const KINDS: { [status: string]: string } = {
  DEQUEUED: "working",
  EXECUTING: "working",
  COMPLETED: "good",
  CANCELED: "stopped",
  FAILED: "bad",
  CRASHED: "bad",
  SYSTEM_FAILURE: "bad",
  EXPIRED: "bad",
  TIMED_OUT: "bad",
};

export const kindOf = (status: string) => KINDS[status] ?? "waiting";

export function Status({ status }: { status: string }) {
  return <span className={`status ${kindOf(status)}`}>{status.toLowerCase().replaceAll("_", " ")}</span>;
}

export function ProgressBar({ report, label }: { report: Pick<Report, "metadata" | "status">; label: string }) {
  const { percent, text } = progressOf(report);
  return (
    <div className="progress">
      <progress className={kindOf(report.status)} max={100} value={percent} aria-label={label} />
      <span className="percent">{Math.round(percent)} %</span>
      <span className="quiet text">{text}</span>
    </div>
  );
}

/** A title, and by which hook what stands below it came. */
export function Heading({ children, hook, status }: { children: ReactNode; hook: string; status?: string }) {
  return (
    <div className="heading">
      <h2>{children}</h2>
      {status && <Status status={status} />}
      <code>{hook}</code>
    </div>
  );
}

export function Problem({ error }: { error: Error | undefined }) {
  return error ? (
    <p className="problem" role="alert">
      {explain(error)}
    </p>
  ) : null;
}

/** Errors of feeds have the answer's status and its JSON; the message alone is long, and has the URL in it. */
function explain(error: Error & { status?: number; json?: { error?: unknown } }): string {
  const reason = error.json?.error;
  return typeof reason === "string" ? `${error.status}: ${reason}` : error.message || error.name;
}

/** Text that grows at its end: the end stays in sight. */
export function Paper({ label, children, plain }: { label: string; children: ReactNode; plain?: boolean }) {
  const paper = useRef<HTMLDivElement>(null);
  useEffect(() => {
    paper.current?.scrollTo({ top: paper.current.scrollHeight });
  });
  return (
    <div className={plain ? "paper plain" : "paper"} ref={paper} aria-label={label} role="region" tabIndex={0}>
      {children}
    </div>
  );
}
