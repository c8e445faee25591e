import { useState } from "react";

import { Batch } from "./Batch";
import { Everything } from "./Everything";
import { Live } from "./Live";
import { Heading, Problem, Status } from "./parts";
import { usePlace } from "./place";
import { Record } from "./Record";
import { topicOf, type Report } from "./reports";
import { Runs } from "./Runs";
import { useRenew } from "./session";

const VIEWS = { live: Live, everything: Everything, record: Record } as const;
const LABELS = { live: "Live", everything: "Everything", record: "Record" } as const;
type View = keyof typeof VIEWS;

export function App() {
  const { place, go } = usePlace();
  const renew = useRenew();
  const [ended, setEnded] = useState<Report[]>([]);
  const [problem, setProblem] = useState<Error>();
  const view: View = place.view && place.view in VIEWS ? (place.view as View) : "live";
  const Shown = VIEWS[view];

  async function order() {
    try {
      const answer = await fetch("/api/reports", { method: "POST" });
      if (!answer.ok) throw new Error(`the backend answered ${answer.status}`);
      const { batch, runs } = (await answer.json()) as { batch: string; runs: string[] };
      await renew(); // for the batch, which the token of a moment ago does not name
      setProblem(undefined);
      go({ batch, run: runs[0] });
    } catch (error) {
      setProblem(error as Error);
    }
  }

  return (
    <>
      <header>
        <div>
          <h1>Reports</h1>
          <p className="quiet">Written by a Python worker, watched with the Trigger.dev hooks.</p>
        </div>
        <button className="primary" onClick={order}>
          Write three reports
        </button>
      </header>
      <Problem error={problem} />
      <main>
        <div className="column">
          {place.batch && <Batch key={place.batch} batchId={place.batch} />}
          <Runs tag={place.tag ?? "customer:7"} selected={place.run} onSelect={(run) => go({ run })} />
        </div>
        <div className="column details">
          {place.run ? (
            <section className="card" aria-label="Report">
              <nav aria-label="View">
                {(Object.keys(VIEWS) as View[]).map((name) => (
                  <button key={name} aria-pressed={name === view} onClick={() => go({ view: name })}>
                    {LABELS[name]}
                  </button>
                ))}
              </nav>
              <Shown
                key={place.run}
                runId={place.run}
                onComplete={(report) => setEnded((earlier) => [report, ...earlier].slice(0, 5))}
              />
            </section>
          ) : (
            <section className="card empty">
              <p className="quiet">Choose a report, or have some written.</p>
            </section>
          )}
          {ended.length > 0 && (
            <section className="card" aria-label="Ended">
              <Heading hook="onComplete">Ended while it was watched</Heading>
              <ul className="notices" role="log">
                {ended.map((report, index) => (
                  <li key={ended.length - index}>
                    {topicOf(report)} <Status status={report.status} />
                  </li>
                ))}
              </ul>
            </section>
          )}
        </div>
      </main>
    </>
  );
}
