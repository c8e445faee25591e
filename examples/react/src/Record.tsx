import { useRun } from "@trigger.dev/react-hooks";

import { Heading, Paper, Problem } from "./parts";
import { topicOf } from "./reports";

/** A run as it is kept, read once and then every two seconds until it has ended: no subscription. */
export function Record({ runId }: { runId: string }) {
  const { run, error, isLoading } = useRun(runId, { refreshInterval: 2000 });
  return (
    <>
      <Heading hook="useRun" status={run?.status}>
        {run ? topicOf(run) : "…"}
      </Heading>
      <Problem error={error} />
      {isLoading && <p className="quiet">Reading…</p>}
      {run && (
        <>
          <dl>
            <dt>Run</dt>
            <dd>
              <code>{run.id}</code>
            </dd>
            <dt>Task</dt>
            <dd>{run.taskIdentifier}</dd>
            <dt>Tags</dt>
            <dd>{run.tags.join(", ")}</dd>
            <dt>Created</dt>
            <dd>{run.createdAt.toLocaleString()}</dd>
            <dt>Finished</dt>
            <dd>{run.finishedAt?.toLocaleString() ?? "not yet"}</dd>
          </dl>
          <Paper label="Output" plain>
            {run.output === undefined ? "No output yet." : JSON.stringify(run.output, null, 2)}
          </Paper>
        </>
      )}
    </>
  );
}
