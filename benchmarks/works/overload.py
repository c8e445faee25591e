"""
Five times as many changes of a tag as the server can tell its viewers: does its memory grow, and what do they see?

So many viewers follow it that a few changes a second are too much already: then it is the server that has too much to
do, and not Redis.

Servers that know only events can drop some or keep all. One that knows the state can leave out what is overtaken, and
must: so here every viewer of Runcast is held to the truth of every run, and to every status.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.deliveries import Deliveries, fields, offer
from benchmarks.goals import Goal
from benchmarks.load import LoadGenerator
from benchmarks.recordings import ages, statuses
from benchmarks.tally import percentile
from benchmarks.targets import Source, Transport, say_status
from benchmarks.work import Better, Case, Number
from benchmarks.works import dense

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench
    from benchmarks.targets import Target
    from benchmarks.work import Plan

NAME: Final = "overload"
TIMES: Final = 5
#: More would be a test of Redis.
MOST_RATE: Final = 20_000
#: Viewers all of whose messages are looked at.
RECORDED: Final = 4
#: Runs that go through their statuses meanwhile, and what viewers must be told of each.
RUNS_WITH_STATUSES: Final = 30
SAID: Final = ("PENDING", "EXECUTING", "COMPLETED")
TOLD: Final = ["QUEUED", "EXECUTING", "COMPLETED"]
#: What is still in memory when all is told is looked at after so long.
CALM_SECONDS: Final = 1.0
GOAL_AGE_MS: Final = 500.0
#: As in mixed.
GOAL_GROWTH: Final = 0.05


MANY: Final = dense.Size(viewers=5000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured."""

    dense: dense.Size = MANY
    seconds: float = 5.0


FULL: Final = Size()
SHORT: Final = Size(dense=dense.SHORT, seconds=0.6)


def cases(plan: Plan) -> Iterator[Case]:
    size = SHORT if plan.short else FULL
    for transport in plan.transports or (Transport.WEBSOCKET,):
        yield Case(
            work=NAME,
            title=f"{size.dense.viewers:,} viewers of one tag, {TIMES} times the changes that can be told, {transport}",
            measure=partial(measure, size=size, transport=transport),
            transport=transport,
        )


@dataclass(frozen=True, kw_only=True)
class Overload(Deliveries):
    """What became of it."""

    #: The rate that was sustained.
    sustained_rate: float
    memory_after_bytes: int
    #: How old the picture of a run became, before it was renewed; None where nobody knows runs.
    worst_age_ms: float | None
    p99_age_ms: float | None
    #: Viewers whose every message was looked at, and those of them who saw each status of each run, in order.
    recorded: int
    saw_statuses: int

    @property
    def growth(self) -> float:
        """By what part memory was larger at the end of the flood than in its middle."""
        return self.memory[-1][1] / self.memory[len(self.memory) // 2][1] - 1

    def problems(self) -> list[str]:
        found = super().problems()
        if self.promises and self.saw_statuses < self.recorded:
            found.append(f"{self.recorded - self.saw_statuses} of {self.recorded} viewers missed a status")
        return found

    def goals(self) -> list[Goal]:
        return [
            Goal("overload: oldest picture of a run, ms", GOAL_AGE_MS, self.worst_age_ms or 0.0),
            Goal("overload: the truth of all runs at everybody afterwards, ms", GOAL_AGE_MS, self.settled_after_ms),
            Goal("overload: memory grows from the middle to the end, %", GOAL_GROWTH * 100, self.growth * 100),
            Goal(
                "overload: viewers who saw every status, %",
                100.0,
                self.saw_statuses / self.recorded * 100,
                Better.HIGHER,
            ),
        ]

    def numbers(self) -> list[Number]:
        mebibyte = 1024**2
        return [
            Number("changes per second, sustained", self.sustained_rate, Better.HIGHER),
            Number("changes per second, offered", self.offered_rate),
            Number("deliveries per second", self.per_second, Better.HIGHER),
            Number("delivered of what was offered, %", self.arrived * 100),
            Number("oldest picture of a run, ms", self.worst_age_ms, Better.LOWER),
            Number("99 % of pictures were younger than, ms", self.p99_age_ms, Better.LOWER),
            Number("last delivery after the last change, ms", self.settled_after_ms, Better.LOWER),
            Number("memory before, MiB", self.memory[0][1] / mebibyte),
            Number("most memory meanwhile, MiB", self.most_memory_bytes / mebibyte, Better.LOWER),
            Number("memory a second after the last delivery, MiB", self.memory_after_bytes / mebibyte),
            Number("server busy, % of its core", self.server_cpu * 100),
        ]


def measure(bench: Bench, target: Target, *, size: Size, transport: Transport) -> Overload:
    """Find out what the server can tell, unless that is known, and offer five times as much to a new one."""
    sustained = dense.sustained_rate(bench, target, size=size.dense, transport=transport)
    rate = min((sustained or dense.LEAST_RATE) * TIMES, MOST_RATE)
    knows_runs = target.source is Source.CHANGES
    other_runs = bench.new_runs(RUNS_WITH_STATUSES) if knows_runs else []
    between = [
        say_status(run, status, [dense.TAG] if status == SAID[0] else ()) for status in SAID for run in other_runs
    ]
    recorded = RECORDED if knows_runs and transport is Transport.WEBSOCKET else 0
    with dense.watching(bench, target, size.dense, transport, rate, recorded) as (server, runs):
        outcome = offer(bench, target, server, rate=rate, seconds=size.seconds, log=bool(recorded), between=between)
        time.sleep(CALM_SECONDS)
        after = 0 if outcome.watched.outgrew else server.memory_bytes()
        recordings = bench.generator.call(LoadGenerator.recordings)
    old = sorted(age for recording in recordings for age in ages(recording, outcome.offered, len(runs)))
    told = [statuses(recording) for recording in recordings]
    return Overload(
        **fields(outcome, [dense.TAG] * size.dense.viewers, runs),
        sustained_rate=sustained,
        memory_after_bytes=after,
        worst_age_ms=old[-1] / 1e6 if old else None,
        p99_age_ms=percentile(old, 0.99) / 1e6 if old else None,
        recorded=recorded,
        saw_statuses=sum(all(each.get(run) == TOLD for run in other_runs) for each in told),
    )
