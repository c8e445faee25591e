"""The scenarios of the official client's long polls: what is done to a gateway, and what is measured meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.measure import SETTLE_SECONDS, Deliveries, Meter, deliveries
from benchmarks.polls import Feed, Pollers
from benchmarks.ticking import Ticker

if TYPE_CHECKING:
    from benchmarks.measure import Bench
    from benchmarks.processes import Remote
    from benchmarks.targets import Target

#: Runs that change in turn: so many that none changes more often than publishers tell about.
RUNS_PER_RATE: Final = 0.2
LEAST_RUNS: Final = 5
#: How often the run with a large payload ticks; publishers tell no more.
TICKS_PER_SECOND: Final = 10


@dataclass(frozen=True, slots=True)
class Polled(Deliveries):
    """What became of changes of the runs of one tag that were published at a fixed rate, for viewers who poll."""

    runs: int
    answers: int
    answers_per_second: float
    answers_per_cpu_second: float
    bytes_per_answer: float
    late: int
    repeated: int
    wrong: int
    complaint: str

    def problems(self) -> list[str]:
        found = super(Polled, self).problems()  # slots make a class of their own
        if self.wrong:
            found.append(f"{self.wrong} of {self.viewers} viewers did not get every run's last state")
        if self.late:
            found.append(f"{self.late} changes were told after later ones")
        if self.complaint:
            found.append(self.complaint)
        return found


@dataclass(frozen=True, slots=True)
class Ticks:
    """What one viewer of a run with a large payload is sent. Bytes are those of HTTP, with its headers."""

    payload_bytes: int
    ticks: int
    answers: int
    #: The answer that has the whole row, and what its headers are of that.
    row_bytes: int
    row_head_bytes: int
    #: Of a tick, on average.
    tick_bytes: float
    tick_head_bytes: float
    #: The request that each answer costs.
    request_bytes: float
    longest_body: int
    wrong: int
    complaint: str

    def problems(self) -> list[str]:
        found = [self.complaint] if self.complaint else []
        if self.wrong:
            found.append("the viewer did not get the last tick")
        if self.row_bytes < self.payload_bytes:
            found.append("the payload was not in the row")
        if self.longest_body >= self.payload_bytes:
            found.append("the payload was sent again with a tick")
        return found


class PollBench:
    """One publisher and one load generator; each scenario starts a server of its own."""

    def __init__(self, bench: Bench, pollers: Remote[Pollers], ticker: Remote[Ticker]) -> None:
        self._bench, self._pollers, self._ticker = bench, pollers, ticker

    def polls(self, target: Target, *, viewers: int, rate: float, seconds: float) -> Polled:
        """Publish changes of runs of one tag at *rate* for *seconds*, while *viewers* viewers of the tag poll."""
        runs = self._bench.new_runs(max(LEAST_RUNS, int(rate * RUNS_PER_RATE)))
        tag = f"tag_{runs[0]}"
        self._ticker.call(Ticker.create, runs, tag)
        tokens = target.tokens(f"read:tags:{tag}", viewers)
        with self._bench.serving(target) as server:
            self._pollers.call(Pollers.connect, server.port, Feed("/realtime/v1/runs", {"tags": tag}), tokens)
            self._pollers.call(Pollers.begin)
            meter = Meter(server, self._bench.cores)
            ticked = self._ticker.call(Ticker.offer, rate, seconds)
            told = self._pollers.call(Pollers.settle, ticked.began_at, ticked.ended_at, ticked.latest, SETTLE_SECONDS)
            used = meter.read()
            self._pollers.call(Pollers.disconnect)
        counted, answers = told.counted, told.traffic.answers
        return Polled(
            **deliveries(viewers, rate, ticked, counted, used),
            runs=len(runs),
            answers=answers,
            answers_per_second=answers / counted.seconds if counted.seconds else 0.0,
            answers_per_cpu_second=answers / used.server_seconds if used.server_seconds else 0.0,
            bytes_per_answer=told.traffic.received_bytes / answers if answers else 0.0,
            late=told.late,
            repeated=told.repeated,
            wrong=told.wrong,
            complaint=told.complaint,
        )

    def ticks(self, target: Target, *, payload_bytes: int, ticks: int) -> Ticks:
        """Let the metadata of a run with a payload of that size tick, for one viewer of the run."""
        (run,) = runs = self._bench.new_runs(1)
        self._ticker.call(Ticker.create, runs, f"tag_{run}", payload_bytes)
        feed, tokens = Feed(f"/realtime/v1/runs/{run}", {}), target.tokens(f"read:runs:{run}", 1)
        with self._bench.serving(target) as server:
            self._pollers.call(Pollers.connect, server.port, feed, tokens)
            row = self._pollers.call(Pollers.traffic)
            self._pollers.call(Pollers.begin)
            ticked = self._ticker.call(Ticker.offer, TICKS_PER_SECOND, ticks / TICKS_PER_SECOND)
            told = self._pollers.call(Pollers.settle, ticked.began_at, ticked.ended_at, ticked.latest, SETTLE_SECONDS)
            self._pollers.call(Pollers.disconnect)
        traffic = told.traffic
        answers = max(traffic.answers, 1)
        return Ticks(
            payload_bytes=payload_bytes,
            ticks=ticked.changes,
            answers=traffic.answers,
            row_bytes=row.received_bytes,
            row_head_bytes=row.head_bytes,
            tick_bytes=traffic.received_bytes / answers,
            tick_head_bytes=traffic.head_bytes / answers,
            request_bytes=traffic.sent_bytes / answers,
            longest_body=traffic.longest_body,
            wrong=told.wrong,
            complaint=told.complaint,
        )
