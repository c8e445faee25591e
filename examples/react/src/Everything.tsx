import { useRealtimeRunWithStreams } from "@trigger.dev/react-hooks";

import { Heading, Paper, Problem, ProgressBar } from "./parts";
import { topicOf, type Report } from "./reports";

type Props = { runId: string; onComplete: (report: Report) => void };
/** The keys are those of the worker's streams; `run.log(…)` writes the one named `log`. */
type Streams = { text: string; log: { time: string; level: string; message: string } };

/** One hook for a run and all of its streams, whatever they are called. */
export function Everything({ runId, onComplete }: Props) {
  const { run, streams, error } = useRealtimeRunWithStreams<any, Streams>(runId, { onComplete });
  return (
    <>
      <Heading hook="useRealtimeRunWithStreams" status={run?.status}>
        {run ? topicOf(run) : "…"}
      </Heading>
      <Problem error={error} />
      {run && <ProgressBar report={run} label="Progress" />}
      <Paper label="Text">{streams.text?.join("")}</Paper>
      <Paper label="Log" plain>
        {streams.log?.map((line, index) => (
          <p key={index}>
            <time>{new Date(line.time).toLocaleTimeString()}</time> {line.message}
          </p>
        ))}
      </Paper>
    </>
  );
}
