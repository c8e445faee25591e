"""Thousands of viewers of a run each: every change is one delivery, and costs what it costs to hear and to write."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.deliveries import Deliveries, deliver, sampled_one_in, viewing
from benchmarks.goals import Goal
from benchmarks.targets import Transport
from benchmarks.work import Better, Case

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench
    from benchmarks.targets import Target
    from benchmarks.work import Plan

NAME: Final = "sparse"
GOAL_RATE: Final = 25_000
GOAL_P99_MS: Final = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured."""

    viewers: int = 5000
    rates: tuple[int, ...] = (1000, 10_000, 25_000, 40_000)
    seconds: float = 3.0


FULL: Final = Size()
SHORT: Final = Size(viewers=100, rates=(200,), seconds=0.5)


class Sparse(Deliveries):
    """At the rate that the issue asks for there is a goal."""

    __slots__ = ()

    def goals(self) -> list[Goal]:
        if self.asked_rate != GOAL_RATE:
            return []
        return [
            Goal("sparse: changes per second, in and out", GOAL_RATE, self.per_second, Better.HIGHER),
            Goal("sparse: p99 at that rate, ms", GOAL_P99_MS, self.p99_ms),
        ]


def cases(plan: Plan) -> Iterator[Case]:
    size = SHORT if plan.short else FULL
    for transport in plan.transports or (Transport.WEBSOCKET,):
        for rate in plan.rates or size.rates:
            yield Case(
                work=NAME,
                title=f"{size.viewers:,} viewers of a run each, {rate:,} changes per second, {transport}",
                measure=partial(measure, size=size, transport=transport, rate=rate),
                transport=transport,
                rate=rate,
            )


def measure(bench: Bench, target: Target, *, size: Size, transport: Transport, rate: float) -> Sparse:
    """One rate, on a server of its own."""
    runs = [(run, (f"run:{run}",)) for run in bench.new_runs(size.viewers)]
    feeds = [feed for _, (feed,) in runs]
    one_in = sampled_one_in(size.viewers, rate)
    with viewing(bench, target, transport, feeds, runs, one_in=one_in) as server:
        return deliver(bench, target, server, feeds, runs, rate=rate, seconds=size.seconds, kind=Sparse)
