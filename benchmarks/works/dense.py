"""A thousand viewers of one tag, whose runs change: at fixed rates, and as fast as the server can tell it."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.deliveries import Deliveries, deliver, sampled_one_in, viewing
from benchmarks.targets import Transport
from benchmarks.work import Better, Case, Number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.bench import Bench
    from benchmarks.goals import Goal
    from benchmarks.processes import Server
    from benchmarks.targets import Target
    from benchmarks.work import Plan

NAME: Final = "dense"
TAG: Final = "tag:dense"
#: Rates that are tried between one that was sustained and one that was not, and where the search gives up.
BETWEEN: Final = 3
LEAST_RATE: Final = 10
#: What came later than this after a step was too late anyway.
STEP_SETTLE_SECONDS: Final = 1.5
#: A run, and the feeds it is in.
Run = tuple[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured."""

    viewers: int = 1000
    runs: int = 100
    rates: tuple[int, ...] = (100, 1000, 3000)
    seconds: float = 3.0
    #: The search for the highest rate: where it begins when nothing is known, where it ends, how long a step takes.
    first_rate: int = 100
    most_rate: int = 12_000
    step_seconds: float = 1.5


FULL: Final = Size()
SHORT: Final = Size(viewers=50, runs=10, rates=(100,), seconds=0.5, most_rate=200, step_seconds=0.3)


def cases(plan: Plan) -> Iterator[Case]:
    size = SHORT if plan.short else FULL
    for transport in plan.transports or tuple(Transport):
        who = f"{size.viewers:,} viewers of one tag"
        for rate in plan.rates or size.rates:
            yield Case(
                work=NAME,
                title=f"{who}, {rate:,} changes per second, {transport}",
                measure=partial(at_rate, size=size, transport=transport, rate=rate),
                transport=transport,
                rate=rate,
            )
        if plan.rates:
            continue  # these were asked for, and no other
        yield Case(
            work=NAME,
            title=f"{who}, as many changes as can be told within a second, {transport}",
            measure=partial(highest, size=size, transport=transport),
            transport=transport,
        )


def at_rate(bench: Bench, target: Target, *, size: Size, transport: Transport, rate: float) -> Deliveries:
    """One rate, on a server of its own."""
    with watching(bench, target, size, transport, rate) as (server, runs):
        feeds = [TAG] * size.viewers
        result = deliver(bench, target, server, feeds, runs, rate=rate, seconds=size.seconds, kind=Deliveries)
    bench.dense.setdefault((target.name, transport, size.viewers), []).append(result)
    return result


@contextlib.contextmanager
def watching(
    bench: Bench, target: Target, size: Size, transport: Transport, rate: float, recorded: int = 0
) -> Iterator[tuple[Server, list[Run]]]:
    """A server with its viewers, and the runs of the tag."""
    runs: list[Run] = [(run, (TAG,)) for run in bench.new_runs(size.runs)]
    one_in = sampled_one_in(size.viewers, rate * size.viewers)
    feeds = [TAG] * size.viewers
    with viewing(bench, target, transport, feeds, runs, one_in=one_in, recorded=recorded) as server:
        yield server, runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Highest:
    """The highest rate found at which everything arrives within a second (`Deliveries.sustained`)."""

    highest_rate: float
    #: What came of it: deliveries per second, latency, who was busy. None when no rate was sustained.
    highest_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    server_cpu: float | None
    generator_cpu: float | None
    generator_core: float | None
    #: What was tried, in that order: changes per second, deliveries per second, p99 in ms, whether it was sustained.
    steps: list[tuple[float, float, float, bool]]
    wrong: list[str]
    unsure: list[str]

    def problems(self) -> list[str]:
        return self.wrong

    def doubts(self) -> list[str]:
        return self.unsure

    def goals(self) -> Sequence[Goal]:
        return ()  # they are ratios to others

    def numbers(self) -> list[Number]:
        return [
            Number("changes per second", self.highest_rate, Better.HIGHER),
            Number("deliveries per second", self.highest_per_second, Better.HIGHER),
            Number("latency p50 then, ms", self.p50_ms, Better.LOWER),
            Number("latency p99 then, ms", self.p99_ms, Better.LOWER),
            Number("server busy then, % of its core", None if self.server_cpu is None else self.server_cpu * 100),
        ]


class Search:
    """
    Looks for the highest rate that is sustained: twice as much each time, until it is too much; then between the two.

    Args:
        sustained: A rate that is known to be, or 0; and *too_much* one that is known not to be, or None.
        first: Where to begin when nothing is known; *most* is where to end.
    """

    def __init__(self, first: float, most: float, sustained: float = 0.0, too_much: float | None = None) -> None:
        self.sustained = sustained
        self.too_much = too_much
        self._first = first
        self._most = most
        self._between = BETWEEN

    @property
    def rate(self) -> float | None:
        """What to try next; None when the search is over."""
        if self.too_much is None:
            rate = min(self.sustained * 2, self._most) or self._first
            return rate if rate > self.sustained else None
        if not self.sustained:
            return self.too_much / 2 if self.too_much > LEAST_RATE else None
        return round(math.sqrt(self.sustained * self.too_much)) if self._between else None

    def note(self, *, sustained: bool) -> None:
        """What became of `rate`."""
        if (rate := self.rate) is None:
            return
        if self.too_much is not None and self.sustained:
            self._between -= 1
        if sustained:
            self.sustained = rate
        else:
            self.too_much = rate


def sustained_rate(bench: Bench, target: Target, *, size: Size, transport: Transport) -> float:
    """The highest rate that is sustained, as far as it was found out already; else it is searched."""
    known = bench.dense.get((target.name, transport, size.viewers))
    if not known:
        return highest(bench, target, size=size, transport=transport).highest_rate
    return max((step.asked_rate for step in known if step.sustained), default=0.0)


def highest(bench: Bench, target: Target, *, size: Size, transport: Transport) -> Highest:
    """Search the highest rate that is sustained, from what is known of it already."""
    steps = bench.dense.setdefault((target.name, transport, size.viewers), [])
    sustained = max((step.asked_rate for step in steps if step.sustained), default=0.0)
    too_much = min((step.asked_rate for step in steps if step.asked_rate > sustained), default=None)
    search = Search(size.first_rate, size.most_rate, sustained, too_much)
    while search.rate is not None:
        # After a rate that was too much a new server: what the old one has still to tell would count for the next one.
        with watching(bench, target, size, transport, size.most_rate) as (server, runs):
            while (rate := search.rate) is not None:
                feeds = [TAG] * size.viewers
                step = deliver(
                    *(bench, target, server, feeds, runs),
                    rate=rate,
                    seconds=size.step_seconds,
                    kind=Deliveries,
                    settle=STEP_SETTLE_SECONDS,
                )
                steps.append(step)
                search.note(sustained=step.sustained)
                if not step.sustained:
                    break
    return _highest(steps)


def _highest(steps: list[Deliveries]) -> Highest:
    best = max((step for step in steps if step.sustained), key=lambda step: step.asked_rate, default=None)
    above = min((step for step in steps if not step.sustained), key=lambda step: step.asked_rate, default=None)
    unsure = best.doubts() if best is not None else []
    if above is not None:
        unsure += [
            f"at {above.asked_rate:,.0f} changes per second, which was too much, {doubt}" for doubt in above.doubts()
        ]
    elif best is not None:
        unsure.append("nothing higher was tried")
    return Highest(
        highest_rate=best.asked_rate if best else 0.0,
        highest_per_second=best.per_second if best else 0.0,
        p50_ms=best.p50_ms if best else None,
        p99_ms=best.p99_ms if best else None,
        server_cpu=best.server_cpu if best else None,
        generator_cpu=best.generator_cpu if best else None,
        generator_core=best.generator_core if best else None,
        steps=[(step.asked_rate, step.per_second, step.p99_ms, step.sustained) for step in steps],
        wrong=best.problems() if best else [],
        unsure=unsure,
    )
