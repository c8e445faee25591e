"""The server is killed, every run changes once, the server starts again: until every viewer knows the present state."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from typing import TYPE_CHECKING, Final

from benchmarks.bench import HOLD_SECONDS
from benchmarks.load import LoadGenerator
from benchmarks.offering import Offerer
from benchmarks.targets import Transport
from benchmarks.work import Better, Case, Number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench
    from benchmarks.goals import Goal
    from benchmarks.targets import Target
    from benchmarks.work import Plan

NAME: Final = "restart"
#: Viewers, and the runs that they follow in equal parts.
FULL, SHORT = (5_000, 100), (200, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """How soon viewers know again what is."""

    viewers: int
    #: From the start of the process until it accepts connections, and from then until the last viewer was told.
    start_seconds: float
    told_seconds: float
    #: Viewers who were not told in time.
    behind: int

    def problems(self) -> list[str]:
        return [f"{self.behind} of {self.viewers} viewers were not told"] if self.behind else []

    def doubts(self) -> list[str]:
        return []

    def goals(self) -> list[Goal]:
        return []

    def numbers(self) -> list[Number]:
        return [
            Number("all viewers hold the present state after, s", self.told_seconds, Better.LOWER),
            Number("before that: the process starts, s", self.start_seconds, Better.LOWER),
        ]


def cases(plan: Plan) -> Iterator[Case]:
    viewers, runs = SHORT if plan.short else FULL
    for transport in plan.transports or (tuple(Transport) if not plan.short else (Transport.WEBSOCKET,)):
        yield Case(
            work=NAME,
            title=f"{viewers:,} viewers come back after a restart, {transport}",
            measure=partial(measure, transport=transport, viewers=viewers, runs=runs),
            transport=transport,
        )


def measure(bench: Bench, target: Target, *, transport: Transport, viewers: int, runs: int) -> Restart:
    """Everybody comes back with the cursor that they were told last, if there are any."""
    changing = [(run, (f"run:{run}",)) for run in bench.new_runs(runs)]
    feeds = list(islice(cycle(feed for _, (feed,) in changing), viewers))
    with bench.serving(target) as server:
        newest = bench.aim(target, server, changing)
        bench.connect(target, server, transport, feeds, newest, recorded=viewers)
        cursors = bench.generator.call(LoadGenerator.cursors)
        server.stop(kill=True)
        bench.generator.call(LoadGenerator.disconnect)
        newest = bench.offerer.call(Offerer.touch, set(feeds))
        began = time.monotonic()
        server.start()
        started = time.monotonic()
        visits = [(feed, target.opening(transport, feed, cursor)) for feed, cursor in zip(feeds, cursors, strict=True)]
        bench.generator.call(LoadGenerator.connect, server.port, transport, visits)
        behind = bench.generator.call(LoadGenerator.hold, newest, HOLD_SECONDS)
        told = time.monotonic()
    return Restart(viewers=viewers, start_seconds=started - began, told_seconds=told - started, behind=behind)
