"""
Dashboards on tags and pages on runs, while far more runs change than anybody looks at.

Each run has one of the tags, which the dashboards follow in equal parts: so a change is told to five dashboards, and
one in seventeen also to a page. The server hears all of them, for somebody follows each tag.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from typing import TYPE_CHECKING, Final

from benchmarks.deliveries import Deliveries, deliver, sampled_one_in, viewing
from benchmarks.goals import Goal
from benchmarks.targets import Transport
from benchmarks.work import Better, Case, Number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench
    from benchmarks.targets import Target
    from benchmarks.work import Plan

NAME: Final = "mixed"
#: Viewers come in the same order each time.
SEED: Final = 5
GOAL_P99_MS: Final = 150.0
#: Memory is flat when it grows by no more than this from the middle of the time to its end.
GOAL_GROWTH: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured."""

    dashboards: int = 2000
    tags: int = 400
    pages: int = 3000
    runs: int = 50_000
    rate: int = 20_000
    seconds: float = 6.0


FULL: Final = Size()
SHORT: Final = Size(dashboards=40, tags=8, pages=60, runs=200, rate=200, seconds=0.5)


class Mixed(Deliveries):
    """Of viewers of many feeds."""

    __slots__ = ()

    @property
    def growth(self) -> float:
        """By what part memory was larger at the end than in the middle."""
        return self.memory[-1][1] / self.memory[len(self.memory) // 2][1] - 1

    def goals(self) -> list[Goal]:
        return [
            Goal("mixed: p99, ms", GOAL_P99_MS, self.p99_ms),
            Goal("mixed: delivered, %", 100.0, self.arrived * 100, Better.HIGHER),
            Goal("mixed: memory grows from the middle to the end, %", GOAL_GROWTH * 100, self.growth * 100),
        ]

    def numbers(self) -> list[Number]:
        return [
            *super().numbers(),
            *[
                Number(f"memory {when}, MiB", self.memory[int((len(self.memory) - 1) * part)][1] / 1024**2)
                for when, part in (("at the beginning", 0), ("in the middle", 0.5), ("at the end", 1))
            ],
        ]


def cases(plan: Plan) -> Iterator[Case]:
    size = SHORT if plan.short else FULL
    seconds = plan.minutes * 60 or size.seconds
    for transport in plan.transports or (Transport.WEBSOCKET,):
        for rate in plan.rates or (size.rate,):
            yield Case(
                work=NAME,
                title=f"{size.dashboards:,} dashboards, {size.pages:,} pages, {rate:,} changes per second of "
                f"{size.runs:,} runs for {seconds:.0f} s, {transport}",
                measure=partial(measure, size=size, transport=transport, rate=rate, seconds=seconds),
                transport=transport,
                rate=rate,
            )


def measure(bench: Bench, target: Target, *, size: Size, transport: Transport, rate: float, seconds: float) -> Mixed:
    tags = [f"tag:{number}" for number in range(size.tags)]
    ids = bench.new_runs(size.runs)
    # Pages look at runs all over, and both kinds of viewers come mixed.
    viewed = set(ids[:: size.runs // size.pages][: size.pages])
    runs = [(run, (tag, f"run:{run}") if run in viewed else (tag,)) for run, tag in zip(ids, cycle(tags), strict=False)]
    pages = [f"run:{run}" for run in ids if run in viewed]
    feeds = [*islice(cycle(tags), size.dashboards), *pages]
    random.Random(SEED).shuffle(feeds)
    one_in = sampled_one_in(len(feeds), rate * size.dashboards / size.tags)
    with viewing(bench, target, transport, feeds, runs, one_in=one_in) as server:
        return deliver(bench, target, server, feeds, runs, rate=rate, seconds=seconds, kind=Mixed)
