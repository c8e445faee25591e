import { useInputStreamSend, useRealtimeRun, useRealtimeStream } from "@trigger.dev/react-hooks";

import { Heading, Paper, Problem, ProgressBar } from "./parts";
import { questionOf, topicOf, type Report } from "./reports";

type Props = { runId: string; onComplete: (report: Report) => void };

/** A report as it is written: progress, the text word by word, and the question at its end. */
export function Live({ runId, onComplete }: Props) {
  const { run, error } = useRealtimeRun(runId, { onComplete });
  return (
    <>
      <Heading hook="useRealtimeRun" status={run?.status}>
        {run ? topicOf(run) : "…"}
      </Heading>
      <Problem error={error} />
      {run && (
        <>
          <ProgressBar report={run} label="Progress" />
          {run.error && <Problem error={new Error(run.error.message)} />}
        </>
      )}
      <Text runId={runId} />
      {run && questionOf(run) && <Question runId={runId} question={questionOf(run)!} />}
    </>
  );
}

/** `run.stream("text").write(word)` in the worker. */
function Text({ runId }: { runId: string }) {
  const { parts, error } = useRealtimeStream<string>(runId, "text");
  return (
    <>
      <Heading hook="useRealtimeStream">Text</Heading>
      <Problem error={error} />
      <Paper label="Text">{parts.join("")}</Paper>
    </>
  );
}

/** The worker waits for what is sent here. */
function Question({ runId, question }: { runId: string; question: string }) {
  const { send, isLoading, isReady, error } = useInputStreamSend<{ approved: boolean }>("approval", runId);
  return (
    <div className="question" role="group" aria-label="Question">
      <Heading hook="useInputStreamSend">{question}</Heading>
      <Problem error={error} />
      <button className="primary" disabled={!isReady || isLoading} onClick={() => send({ approved: true })}>
        Approve
      </button>
      <button disabled={!isReady || isLoading} onClick={() => send({ approved: false })}>
        Reject
      </button>
    </div>
  );
}
