import { useRealtimeBatch } from "@trigger.dev/react-hooks";

import { Heading, kindOf, Problem } from "./parts";
import { progressOf, topicOf } from "./reports";

/** How far all runs of one order are. */
export function Batch({ batchId }: { batchId: string }) {
  const { runs, error } = useRealtimeBatch(batchId);
  const ended = runs.filter((run) => run.finishedAt).length;
  return (
    <section className="card" aria-label="This order">
      <Heading hook="useRealtimeBatch">This order</Heading>
      <Problem error={error} />
      <div className="segments">
        {runs.map((run) => (
          <progress
            key={run.id}
            max={100}
            value={run.finishedAt ? 100 : progressOf(run).percent}
            className={kindOf(run.status)}
            aria-label={topicOf(run)}
          />
        ))}
      </div>
      <p className="quiet">
        {ended} of {runs.length} ended
      </p>
    </section>
  );
}
