"""A thousand viewers who follow a tag by the official client's long poll, while its runs tick."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from benchmarks.bench import Meter
from benchmarks.goals import Goal
from benchmarks.polls import Feed, Pollers
from benchmarks.processes import Remote
from benchmarks.targets import ENVIRONMENT
from benchmarks.ticking import Ticker
from benchmarks.work import Better, Case, Number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench
    from benchmarks.targets import Polled, Target
    from benchmarks.work import Plan

NAME: Final = "polls"
#: Runs that change in turn: so many that none changes more often than publishers tell about.
RUNS_PER_RATE: Final = 0.2
LEAST_RUNS: Final = 5
SETTLE_SECONDS: Final = 30.0
#: At the rate at which each change is an answer.
GOAL_RATE: Final = 8
GOAL_PER_SECOND: Final = 8000.0
GOAL_P99_MS: Final = 250.0
KEPT: Final = 0.95
BUSY: Final = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured. Each answer costs a request, so eight changes are eight thousand answers."""

    viewers: int = 1000
    rates: tuple[int, ...] = (8, 100)
    seconds: float = 5.0


FULL: Final = Size()
SHORT: Final = Size(viewers=50, rates=(20,), seconds=0.5)


def cases(plan: Plan) -> Iterator[Case]:
    size = SHORT if plan.short else FULL
    for rate in plan.rates or size.rates:
        yield Case(
            work=NAME,
            title=f"{size.viewers:,} viewers of one tag, {rate:,} changes per second, the official client's long poll",
            measure=partial(measure, size=size, rate=rate),
            rate=rate,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What became of changes of the runs of one tag that were published at a fixed rate, for viewers who poll."""

    viewers: int
    runs: int
    changes: int
    asked_rate: float
    offered_rate: float
    #: Changes that a viewer was told; an answer may bring several.
    deliveries: int
    per_second: float
    per_cpu_second: float
    answers: int
    answers_per_second: float
    answers_per_cpu_second: float
    bytes_per_answer: float
    p50_ms: float
    p99_ms: float
    samples: int
    settled_after_ms: float
    up_to_date: int
    lost: int
    #: Changes told after later ones of the same run, and once more; viewers who don't know every run's last state.
    late: int
    repeated: int
    wrong: int
    complaint: str
    server_cpu: float
    generator_cpu: float
    publisher_cpu: float
    redis_cpu: float
    server_core: float | None
    generator_core: float | None

    @property
    def arrived(self) -> float:
        """Deliveries as a share of changes times viewers. The rest was skipped on the way to a newer value."""
        return self.deliveries / (self.changes * self.viewers)

    def problems(self) -> list[str]:
        found = []
        if not self.deliveries:
            found.append("nothing was delivered")
        if self.deliveries > self.changes * self.viewers:
            found.append("more was delivered than there was")
        if self.up_to_date != self.viewers:
            found.append(f"{self.viewers - self.up_to_date} of {self.viewers} viewers did not get the last value")
        if self.wrong:
            found.append(f"{self.wrong} of {self.viewers} viewers did not get every run's last state")
        if self.late:
            found.append(f"{self.late} changes were told after later ones")
        if self.lost:
            found.append(f"{self.lost} connections ended")
        if self.complaint:
            found.append(self.complaint)
        return found

    def doubts(self) -> list[str]:
        found = []
        if (self.generator_core or 0.0) > BUSY:
            found.append(
                f"the other core was full (the viewers alone {self.generator_cpu:.0%}): the server may do better"
            )
        if self.offered_rate < self.asked_rate * KEPT:
            found.append(f"only {self.offered_rate:,.0f} changes per second were said")
        return found

    def goals(self) -> list[Goal]:
        if self.asked_rate != GOAL_RATE:
            return []
        return [
            Goal("polls: deliveries per second", GOAL_PER_SECOND, self.per_second, Better.HIGHER),
            Goal("polls: p99, ms", GOAL_P99_MS, self.p99_ms),
        ]

    def numbers(self) -> list[Number]:
        return [
            Number("deliveries per second", self.per_second, Better.HIGHER),
            Number("deliveries per second of server CPU", self.per_cpu_second, Better.HIGHER),
            Number("answers per second", self.answers_per_second, Better.HIGHER),
            Number("answers per second of server CPU", self.answers_per_cpu_second, Better.HIGHER),
            Number("bytes of an answer", self.bytes_per_answer),
            Number("latency p50, ms", self.p50_ms, Better.LOWER),
            Number("latency p99, ms", self.p99_ms, Better.LOWER),
            Number("last delivery after the last change, ms", self.settled_after_ms, Better.LOWER),
            Number("delivered of what was offered, %", self.arrived * 100),
            Number("server busy, % of its core", self.server_cpu * 100),
            Number("load generator busy, % of its core", self.generator_cpu * 100),
        ]


def measure(bench: Bench, target: Target, *, size: Size, rate: float) -> Answered:
    """Publish changes of runs of one tag at *rate*, while viewers of the tag poll, each with a token of its own."""
    runs = bench.new_runs(max(LEAST_RUNS, int(rate * RUNS_PER_RATE)))
    tokens = cast("Polled", target).tokens("read:tags:polls", size.viewers)
    others = bench.cores.others
    with bench.serving(target) as server, Remote(Pollers, others) as pollers, Remote(Ticker, others) as ticker:
        ticker.call(Ticker.connect, bench.redis_url, ENVIRONMENT)
        ticker.call(Ticker.create, runs, "polls")
        pollers.call(Pollers.connect, server.port, Feed("/realtime/v1/runs", {"tags": "polls"}), tokens)
        pollers.call(Pollers.begin)
        meter = Meter(bench, server, generator=pollers, publisher=ticker)
        ticked = ticker.call(Ticker.offer, rate, size.seconds)
        used = meter.read()
        told = pollers.call(Pollers.settle, ticked.began_at, ticked.ended_at, ticked.latest, SETTLE_SECONDS)
        server_seconds = meter.read().server_seconds
    counted, answers = told.counted, told.traffic.answers
    return Answered(
        viewers=size.viewers,
        runs=len(runs),
        changes=ticked.changes,
        asked_rate=rate,
        offered_rate=ticked.rate,
        deliveries=counted.deliveries,
        per_second=counted.deliveries / counted.seconds if counted.seconds else 0.0,
        per_cpu_second=counted.deliveries / server_seconds if server_seconds else 0.0,
        answers=answers,
        answers_per_second=answers / counted.seconds if counted.seconds else 0.0,
        answers_per_cpu_second=answers / server_seconds if server_seconds else 0.0,
        bytes_per_answer=told.traffic.received_bytes / answers if answers else 0.0,
        p50_ms=counted.p50_ms,
        p99_ms=counted.p99_ms,
        samples=counted.samples,
        settled_after_ms=counted.settled_after_seconds * 1000,
        up_to_date=counted.up_to_date,
        lost=counted.lost,
        late=told.late,
        repeated=told.repeated,
        wrong=told.wrong,
        complaint=told.complaint,
        server_cpu=used.server_cpu,
        generator_cpu=used.generator_cpu,
        publisher_cpu=used.publisher_cpu,
        redis_cpu=used.redis_cpu,
        server_core=used.server_core,
        generator_core=used.generator_core,
    )
