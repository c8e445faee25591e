"""What it costs a job to say what happens to its runs, through `Publisher` and its asynchronous twin."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.goals import Goal
from benchmarks.jobs import AsyncJob, Job, Speaker, Way
from benchmarks.processes import Remote, running_redis
from benchmarks.redis_load import Kind
from benchmarks.targets import ENVIRONMENT
from benchmarks.work import Better, Case, Number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench
    from benchmarks.jobs import Said
    from benchmarks.targets import Target
    from benchmarks.work import Plan

NAME: Final = "jobs"
#: Runs that a job has.
FULL, SHORT = 5_000, 100
#: Of these so many tick ten times a second: as often as a publisher tells each of them.
TICKING, SHORT_TICKING = 1_000, 50
TICKS_PER_RUN: Final = 10
TICK_SECONDS: Final = 3.0
SHORT_SECONDS: Final = 0.2
GOAL_PER_SECOND: Final = 10_000
GOAL_MICROSECONDS: Final = 50
#: A rate that comes so near is kept.
KEPT: Final = 0.95
#: Enough to see that everything works.
SHORT_WAYS: Final = {Job: Way.ALONE, AsyncJob: Way.TOGETHER}
KINDS: Final = (Kind.CREATE, Kind.START, Kind.SET, Kind.INCREMENT, Kind.COMPLETE)


@dataclass(frozen=True, slots=True)
class Cost:
    """What became of saying one thing many times."""

    kind: str
    #: Changes in a second, until they are stored.
    per_second: float
    #: Processor time of the job's process for a change.
    job_us: float
    #: Changes that left for it, and those that were given up.
    sent: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a job's process said, as fast as it could."""

    publisher: str
    way: str
    runs: int
    costs: tuple[Cost, ...]
    #: For comparison: `publish` of redis-py, from the same process.
    bare: Cost

    def problems(self) -> list[str]:
        return [f"nothing was sent ({cost.kind})" for cost in self.costs if not cost.sent]

    def doubts(self) -> list[str]:
        return [f"{cost.kind}: {_given_up(cost.dropped)}" for cost in self.costs if cost.dropped]

    def numbers(self) -> list[Number]:
        return [
            *(Number(f"{cost.kind}: the job's own time, µs", cost.job_us, Better.LOWER) for cost in self.costs),
            *(Number(f"{cost.kind}: changes per second", cost.per_second, Better.HIGHER) for cost in self.costs),
            Number("redis.publish, which keeps nothing: the job's own time, µs", self.bare.job_us),
            Number("redis.publish, which keeps nothing: changes per second", self.bare.per_second),
        ]

    def goals(self) -> list[Goal]:
        if self.runs < FULL:
            return []
        name = f"{self.publisher}, {self.way}"
        dearest = max(cost.job_us for cost in self.costs)
        goals = [Goal(f"{name}: µs of the job for the dearest change", GOAL_MICROSECONDS, dearest)]
        if self.way == Way.TOGETHER:  # who waits for each answer before the next call does not want many a second
            slowest = min(cost.per_second for cost in self.costs)
            goals.append(Goal(f"{name}: changes per second", GOAL_PER_SECOND, slowest, Better.HIGHER))
        return goals


@dataclass(frozen=True, slots=True)
class Ticked:
    """
    What became of ticks of many runs of one process, offered at a fixed rate.

    Those of a run that come within a tenth of a second leave as one change, the newest.
    """

    publisher: str
    runs: int
    rate: float
    #: Ticks that were said in a second, until all was sent; and the changes that they left as.
    said_per_second: float
    sent_per_second: float
    #: What the job's process used of its core, and for a tick.
    job_cpu: float
    job_us: float
    dropped: int

    def problems(self) -> list[str]:
        return [] if self.sent_per_second else ["nothing was sent"]

    def doubts(self) -> list[str]:
        return [_given_up(self.dropped)] if self.dropped else []

    def numbers(self) -> list[Number]:
        return [
            Number("ticks per second", self.said_per_second, Better.HIGHER),
            Number("changes per second that they left as", self.sent_per_second),
            Number("the job's own time for a tick, µs", self.job_us, Better.LOWER),
            Number("the job's process, % of its core", self.job_cpu * 100, Better.LOWER),
        ]

    def goals(self) -> list[Goal]:
        if self.rate < GOAL_PER_SECOND:
            return []
        return [
            Goal(f"{self.publisher}: ticks per second", GOAL_PER_SECOND * KEPT, self.said_per_second, Better.HIGHER),
            Goal(f"{self.publisher}: µs of the job for a tick", GOAL_MICROSECONDS, self.job_us),
        ]


def _given_up(changes: int) -> str:
    """A job must not wait for a Redis that does not keep up: then progress is lost, and said to be."""
    return f"{changes} changes were given up, because Redis was too slow"


def cases(plan: Plan) -> Iterator[Case]:
    runs = SHORT if plan.short else FULL
    ticking = SHORT_TICKING if plan.short else TICKING
    seconds = SHORT_SECONDS if plan.short else TICK_SECONDS
    rate = ticking * TICKS_PER_RUN
    for speaker in (Job, AsyncJob):
        for way in (SHORT_WAYS[speaker],) if plan.short else Way:
            yield Case(
                work=NAME,
                title=f"{_name(speaker)}, {way}: one process says what happens to {runs:,} runs",
                measure=partial(_speak, speaker=speaker, way=way, runs=runs),
            )
        yield Case(
            work=NAME,
            title=f"{_name(speaker)}: {ticking:,} runs of one process tick {rate:,} times a second",
            measure=partial(_tick, speaker=speaker, runs=ticking, rate=rate, seconds=seconds),
        )


def _speak(bench: Bench, target: Target, *, speaker: type[Speaker], way: Way, runs: int) -> Spoken:
    with _speaking(bench, speaker) as (job, url):
        costs = tuple(_cost(kind, job.call(Speaker.say, kind, runs, way)) for kind in KINDS)
        bare = _cost(Kind.PUBLISH, job.call(Speaker.publish, url, runs))
    return Spoken(_name(speaker), way, runs, costs, bare)


def _tick(bench: Bench, target: Target, *, speaker: type[Speaker], runs: int, rate: float, seconds: float) -> Ticked:
    with _speaking(bench, speaker) as (job, _):
        job.call(Speaker.say, Kind.CREATE, runs, Way.TOGETHER)
        job.call(Speaker.say, Kind.START, runs, Way.TOGETHER)
        said = job.call(Speaker.tick, runs, rate, seconds)
    return Ticked(
        publisher=_name(speaker),
        runs=runs,
        rate=rate,
        said_per_second=said.calls / said.seconds,
        sent_per_second=said.sent / said.seconds,
        job_cpu=said.cpu_seconds / said.seconds,
        job_us=said.cpu_seconds / said.calls * 1e6,
        dropped=said.dropped,
    )


@contextlib.contextmanager
def _speaking(bench: Bench, speaker: type[Speaker]) -> Iterator[tuple[Remote[Speaker], str]]:
    """A job, and the URL of its Redis, which has the server's core: no server runs, and nobody waits for it."""
    with running_redis(bench.cores.server) as (redis, _), Remote(speaker, bench.cores.others) as job:
        url = f"redis://127.0.0.1:{redis.port}/0"
        job.call(Speaker.connect, url, ENVIRONMENT)
        yield job, url


def _name(speaker: type[Speaker]) -> str:
    return "AsyncPublisher" if speaker is AsyncJob else "Publisher"


def _cost(kind: Kind, said: Said) -> Cost:
    return Cost(
        kind=kind,
        per_second=said.calls / said.seconds,
        job_us=said.cpu_seconds / said.calls * 1e6,
        sent=said.sent,
        dropped=said.dropped,
    )
