"""Few viewers, few changes: how long it takes from saying a change to reading its last byte, when nothing is full."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.deliveries import Deliveries, deliver, viewing
from benchmarks.goals import Goal
from benchmarks.targets import Transport
from benchmarks.work import Case

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench
    from benchmarks.targets import Target
    from benchmarks.work import Plan

NAME: Final = "quiet"
TAG: Final = "tag:quiet"
RUNS: Final = 10
GOAL_P50_MS: Final = 2.0
GOAL_P99_MS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured."""

    viewers: int = 100
    rate: int = 20
    seconds: float = 3.0


FULL: Final = Size()
SHORT: Final = Size(viewers=20, seconds=0.5)


class Quiet(Deliveries):
    """Of these every viewer looks at every mark."""

    __slots__ = ()

    def goals(self) -> list[Goal]:
        return [
            Goal("quiet: p50, ms", GOAL_P50_MS, self.p50_ms),
            Goal("quiet: p99, ms", GOAL_P99_MS, self.p99_ms),
        ]


def cases(plan: Plan) -> Iterator[Case]:
    size = SHORT if plan.short else FULL
    for transport in plan.transports or tuple(Transport):
        yield Case(
            work=NAME,
            title=f"{size.viewers} viewers of one tag, {size.rate} changes per second, {transport}",
            measure=partial(measure, size=size, transport=transport),
            transport=transport,
            rate=size.rate,
        )


def measure(bench: Bench, target: Target, *, size: Size, transport: Transport) -> Quiet:
    runs = [(run, (TAG,)) for run in bench.new_runs(RUNS)]
    feeds = [TAG] * size.viewers
    with viewing(bench, target, transport, feeds, runs, one_in=1) as server:
        return deliver(bench, target, server, feeds, runs, rate=size.rate, seconds=size.seconds, kind=Quiet)
