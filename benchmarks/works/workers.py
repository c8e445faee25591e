"""
Two workers beside one: how many times as much can they do, each with a core of its own?

A machine with a core for each of them, and others for the load, is rarely at hand. So it is not the most that they can
do that is measured: the workers share the server's core, and have the same work, less than it can carry. One worker
does all of it; of two, the one that does more of it would be full first if the work grew. So two can do as many times
what one can as the processor time of the one is of that of the busier of the two. An uneven share of viewers counts
against them, and what each does for itself; that two cores share caches and memory does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.deliveries import Deliveries, deliver, sampled_one_in, viewing
from benchmarks.goals import Goal
from benchmarks.processes import BenchmarkFailed, Server, python
from benchmarks.targets import NO_LIMITS, Runcast, Transport
from benchmarks.work import Better, Case, Number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench
    from benchmarks.targets import Target
    from benchmarks.work import Plan

NAME: Final = "workers"
WORKERS: Final = 2
GOAL_TIMES: Final = 1.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured."""

    viewers: int
    rate: float
    seconds: float


#: By what viewers follow: all one tag, or each a run of its own.
FULL: Final = {
    "dense": Size(viewers=1000, rate=50, seconds=5.0),
    "sparse": Size(viewers=4000, rate=10_000, seconds=5.0),
}
SHORT: Final = {"dense": Size(viewers=40, rate=50, seconds=0.5)}


@dataclass(frozen=True, slots=True)
class Crew(Runcast):
    """Runcast with several workers."""

    workers: int = 1

    def server(self, port: int, redis_url: str, core: int | None) -> Server:
        environment = {"RUNCAST_SECRET_KEY": self.secret, "RUNCAST_REDIS_URL": redis_url} | NO_LIMITS
        command = python("gateway.cli", "serve", "--port", str(port), "--workers", str(self.workers))
        return Server(command, environment, port, core)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """What the same work took of one worker, and of each of two."""

    viewers: int
    rate: float
    deliveries: int
    #: Processor time.
    one_seconds: float
    each_seconds: list[float]
    p99_ms: float
    p99_ms_of_one: float
    wrong: list[str]
    unsure: list[str]

    @property
    def times(self) -> float:
        """How many times as much as one the two can do."""
        busiest = max(self.each_seconds)
        return self.one_seconds / busiest if busiest else 0.0

    @property
    def share(self) -> float:
        """What the busier worker did of the whole."""
        whole = sum(self.each_seconds)
        return max(self.each_seconds) / whole if whole else 0.0

    def problems(self) -> list[str]:
        return self.wrong

    def doubts(self) -> list[str]:
        return self.unsure

    def goals(self) -> list[Goal]:
        if self.viewers < min(size.viewers for size in FULL.values()):
            return []
        return [Goal(f"{WORKERS} workers, times one", GOAL_TIMES, self.times, Better.HIGHER)]

    def numbers(self) -> list[Number]:
        return [
            Number(f"{WORKERS} workers can do so many times what one can", self.times, Better.HIGHER),
            Number("processor time of one that does all, s", self.one_seconds),
            Number(f"processor time of {WORKERS} together, s", sum(self.each_seconds), Better.LOWER),
            Number("the busier one's share, %", self.share * 100, Better.LOWER),
            Number("p99 of one, ms", self.p99_ms_of_one),
            Number(f"p99 of {WORKERS}, on one core together, ms", self.p99_ms),
        ]


def cases(plan: Plan) -> Iterator[Case]:
    for feeds, size in (SHORT if plan.short else FULL).items():
        yield Case(
            work=NAME,
            title=f"{WORKERS} workers and one, {feeds}: {size.viewers:,} viewers, {size.rate:,.0f} changes per second",
            measure=partial(measure, feeds=feeds, size=size),
            transport=Transport.WEBSOCKET,
        )


def measure(bench: Bench, target: Target, *, feeds: str, size: Size) -> Workers:
    """First one worker, then two."""
    one, (one_seconds, *_) = _deliver(bench, target, feeds, size, 1)
    several, each = _deliver(bench, target, feeds, size, WORKERS)
    return Workers(
        viewers=size.viewers,
        rate=size.rate,
        deliveries=one.deliveries + several.deliveries,
        one_seconds=one_seconds,
        each_seconds=each,
        p99_ms=several.p99_ms,
        p99_ms_of_one=one.p99_ms,
        wrong=one.problems() + several.problems(),
        unsure=one.doubts() + several.doubts(),
    )


def _deliver(bench: Bench, target: Target, feeds: str, size: Size, workers: int) -> tuple[Deliveries, list[float]]:
    """What became of it, and the processor time of each worker, the busiest first."""
    if not isinstance(target, Runcast):
        raise BenchmarkFailed(f"{target.name} has no workers")
    crew = Crew(target.secret, workers=workers)
    if feeds == "dense":
        runs = [(run, ("tag:workers",)) for run in bench.new_runs(100)]
        followed = ["tag:workers"] * size.viewers
    else:
        runs = [(run, (f"run:{run}",)) for run in bench.new_runs(size.viewers)]
        followed = [feed for _, (feed,) in runs]
    one_in = sampled_one_in(size.viewers, size.rate * (size.viewers if feeds == "dense" else 1))
    with viewing(bench, crew, Transport.WEBSOCKET, followed, runs, one_in=one_in) as server:
        before = server.cpu_seconds_of_each()
        result = deliver(bench, crew, server, followed, runs, rate=size.rate, seconds=size.seconds, kind=Deliveries)
        after = server.cpu_seconds_of_each()
    if len(after) != len(before):
        raise BenchmarkFailed("a worker ended, or came, while it was measured")
    used = [then - earlier for then, earlier in zip(after, before, strict=True)]
    return result, sorted(used, reverse=True)[:workers]
