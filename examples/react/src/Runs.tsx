import { useRealtimeRunsWithTag } from "@trigger.dev/react-hooks";

import { Heading, Problem, ProgressBar, Status } from "./parts";
import { topicOf } from "./reports";

type Props = { tag: string; selected?: string; onSelect: (run: string) => void };

/** The list of a customer's reports: it grows as runs are created, and each line moves. */
export function Runs({ tag, selected, onSelect }: Props) {
  const { runs, error } = useRealtimeRunsWithTag(tag, { createdAt: "24h", skipColumns: ["output", "error"] });
  return (
    <section className="card" aria-label="All reports">
      <Heading hook="useRealtimeRunsWithTag">All reports</Heading>
      <Problem error={error} />
      {runs.length === 0 && <p className="quiet">None yet.</p>}
      <ol className="runs">
        {runs.toReversed().map((run) => (
          <li key={run.id}>
            <button data-run={run.id} aria-current={run.id === selected} onClick={() => onSelect(run.id)}>
              <span className="topic">{topicOf(run)}</span>
              <Status status={run.status} />
              <ProgressBar report={run} label={`Progress of ${topicOf(run)}`} />
            </button>
          </li>
        ))}
      </ol>
    </section>
  );
}
