"""What most works come to: changes that are offered at a rate, and what becomes of them at all viewers."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from benchmarks.bench import Meter
from benchmarks.load import SAMPLED_ONE_IN, LoadGenerator
from benchmarks.offering import Offerer
from benchmarks.targets import Source
from benchmarks.work import Better, Number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.bench import Bench, Used, Watched
    from benchmarks.goals import Goal
    from benchmarks.offering import Offered
    from benchmarks.processes import Server
    from benchmarks.tally import Counted
    from benchmarks.targets import Target, Transport

#: After the last change a server has so long to tell everyone the last value, if it means to.
SETTLE_SECONDS: Final = 30.0
#: One that only passes on what it hears has nothing more to say when nothing has come for so long, and less time.
PATIENCE_SECONDS: Final = 1.0
PASSING_ON_SECONDS: Final = 4.0
#: Deliveries a second from which on fewer viewers are sampled, and how many then: looking at each mark costs.
MANY_DELIVERIES: Final = 200_000
FEW_SAMPLED_ONE_IN: Final = 100
#: When the core of the load generator is busier than this, it may be what limits a number.
BUSY: Final = 0.95
#: A publisher that comes this near to the rate it was asked for keeps it.
KEPT: Final = 0.95
#: What others may take of a core unmentioned.
NOISE: Final = 0.1
#: A rate is sustained when all but this share arrives, and almost all of it within a second.
MISSED: Final = 0.001
LATE_MS: Final = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliveries:
    """What became of changes that were offered at a fixed rate."""

    viewers: int
    changes: int
    #: Deliveries that there should be: for each change the viewers of all feeds it is in.
    expected: int
    #: Changes per second that were asked for, and those that were brought about.
    offered_rate: float
    deliveries: int
    per_second: float
    per_cpu_second: float
    p50_ms: float
    p99_ms: float
    samples: int
    #: From the last change until the last delivery.
    settled_after_ms: float
    #: Viewers who hold the last value; sampled viewers who don't hold every run's; connections that ended.
    up_to_date: int
    wrong: int
    lost: int
    #: Shares of a core: what each used, and all that ran on both cores.
    server_cpu: float
    generator_cpu: float
    publisher_cpu: float
    redis_cpu: float
    server_core: float | None
    generator_core: float | None
    #: The server's memory while changes were offered: after so many seconds, so many bytes.
    memory: list[tuple[float, int]]
    #: It grew without end, and was ended.
    outgrew: bool
    #: Whether this server promises that everybody holds the truth in the end.
    promises: bool
    asked_rate: float

    @property
    def arrived(self) -> float:
        """Deliveries as a share of what there should be. The rest was lost, or skipped for something newer."""
        return self.deliveries / self.expected

    @property
    def most_memory_bytes(self) -> int:
        return max(size for _, size in self.memory)

    @property
    def sustained(self) -> bool:
        """Whether everything arrived in time."""
        return (
            self.arrived >= 1 - MISSED
            and self.offered_rate >= self.asked_rate * KEPT
            and max(self.p99_ms, self.settled_after_ms) < LATE_MS
            and not self.lost
        )

    def problems(self) -> list[str]:
        found = []
        if not self.deliveries and self.promises:  # others may be this slow, and then have nothing more to say
            found.append("nothing was delivered")
        if self.deliveries > self.expected:
            found.append("more was delivered than there was")
        if self.promises and self.up_to_date != self.viewers:
            found.append(f"{self.viewers - self.up_to_date} of {self.viewers} viewers did not get the last value")
        if self.promises and self.wrong:
            found.append(f"{self.wrong} viewers did not get every run's last value")
        if self.promises and self.lost:
            found.append(f"{self.lost} connections ended")
        return found

    def doubts(self) -> list[str]:
        found = []
        if self.outgrew:
            found.append(f"its memory grew over {self.most_memory_bytes / 1024**3:.1f} GiB, and it was ended")
        shares = (self.redis_cpu, self.generator_cpu, self.publisher_cpu)
        if (self.generator_core or 0.0) > BUSY and sum(shares) > BUSY - NOISE:
            redis, generator, publisher = (f"{share:.0%}" for share in shares)
            found.append(
                f"the other core was full (Redis {redis}, load generator {generator}, publisher {publisher}): "
                "the server may do better"
            )
        if self.offered_rate < self.asked_rate * KEPT and not self.outgrew:
            found.append(f"only {self.offered_rate:,.0f} changes per second were brought about")
        for core, used, whose in (
            (self.server_core, self.server_cpu, "the server's core"),
            (self.generator_core, sum(shares), "the other core"),
        ):
            if (others := (core or 0.0) - used) > NOISE:
                found.append(f"others used {others:.0%} of {whose}")
        return found

    def goals(self) -> Sequence[Goal]:
        return ()

    def numbers(self) -> list[Number]:
        return [
            Number("deliveries per second", self.per_second, Better.HIGHER),
            Number("deliveries per second of server CPU", self.per_cpu_second, Better.HIGHER),
            Number("latency p50, ms", self.p50_ms, Better.LOWER),
            Number("latency p99, ms", self.p99_ms, Better.LOWER),
            Number("last delivery after the last change, ms", self.settled_after_ms, Better.LOWER),
            Number("delivered of what was offered, %", self.arrived * 100),
            Number("server busy, % of its core", self.server_cpu * 100),
            Number("load generator busy, % of its core", self.generator_cpu * 100),
            Number("publisher and Redis busy, % of that core", (self.publisher_cpu + self.redis_cpu) * 100),
        ]


D = TypeVar("D", bound=Deliveries)


def deliver(
    bench: Bench,
    target: Target,
    server: Server,
    feeds: Sequence[str],
    runs: Sequence[tuple[str, Sequence[str]]],
    *,
    rate: float,
    seconds: float,
    kind: type[D],
    settle: float | None = None,
) -> D:
    """
    Offer changes of *runs*, each with the feeds it is in, to viewers who are there: one for each of *feeds*.

    *kind* is what to make of it. *settle* is how many seconds are waited for what is still under way in the end, when
    not as long as everybody means to wait.
    """
    outcome = offer(bench, target, server, rate=rate, seconds=seconds, settle=settle)
    return kind(**fields(outcome, feeds, runs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Everything that was found out while changes were offered."""

    asked_rate: float
    promises: bool
    offered: Offered
    counted: Counted
    watched: Watched
    #: While changes were offered; and the server's processor time, until the last delivery.
    used: Used
    server_seconds: float


def offer(
    bench: Bench,
    target: Target,
    server: Server,
    *,
    rate: float,
    seconds: float,
    log: bool = False,
    between: Sequence[bytes] = (),
    settle: float | None = None,
) -> Outcome:
    """Offer changes (as `Offerer.offer` does) to viewers who are there, and wait until they have what they will get."""
    bench.generator.call(LoadGenerator.begin)
    meter = Meter(bench, server)
    offering = bench.offerer.start(Offerer.offer, rate, seconds, log=log, between=between)
    watched = bench.watch(server, offering)
    used = meter.read()
    offered = offering.result()
    promises = target.source is Source.CHANGES
    timeout, patience = (SETTLE_SECONDS, SETTLE_SECONDS) if promises else (PASSING_ON_SECONDS, PATIENCE_SECONDS)
    timeout = timeout if settle is None else settle
    times = offered.began_at, offered.ended_at
    counted = bench.generator.call(LoadGenerator.settle, *times, offered.truth, timeout, patience)
    return Outcome(
        asked_rate=rate,
        promises=promises,
        offered=offered,
        counted=counted,
        watched=watched,
        used=used,
        server_seconds=meter.read().server_seconds,
    )


def fields(outcome: Outcome, feeds: Sequence[str], runs: Sequence[tuple[str, Sequence[str]]]) -> dict[str, Any]:
    """Those of `Deliveries`."""
    offered, counted, used = outcome.offered, outcome.counted, outcome.used
    return {
        "viewers": len(feeds),
        "changes": offered.changes,
        "expected": expected(feeds, runs, offered.changes),
        "asked_rate": outcome.asked_rate,
        "offered_rate": offered.rate,
        "deliveries": counted.deliveries,
        "per_second": counted.deliveries / counted.seconds if counted.seconds else 0.0,
        "per_cpu_second": counted.deliveries / outcome.server_seconds if outcome.server_seconds else 0.0,
        "p50_ms": counted.p50_ms,
        "p99_ms": counted.p99_ms,
        "samples": counted.samples,
        "settled_after_ms": counted.settled_after_seconds * 1000,
        "up_to_date": counted.up_to_date,
        "wrong": counted.wrong,
        "lost": counted.lost,
        "server_cpu": used.server_cpu,
        "generator_cpu": used.generator_cpu,
        "publisher_cpu": used.publisher_cpu,
        "redis_cpu": used.redis_cpu,
        "server_core": used.server_core,
        "generator_core": used.generator_core,
        "memory": outcome.watched.memory,
        "outgrew": outcome.watched.outgrew,
        "promises": outcome.promises,
    }


def expected(feeds: Sequence[str], runs: Sequence[tuple[str, Sequence[str]]], changes: int) -> int:
    """How many deliveries *changes* of one run after the other are, with a viewer for each of *feeds*."""
    viewers = Counter(feeds)
    each = [sum(viewers[feed] for feed in followed) for _, followed in runs]
    rounds, rest = divmod(changes, len(runs))
    return rounds * sum(each) + sum(each[:rest])


def sampled_one_in(viewers: int, deliveries_per_second: float) -> int:
    """How many viewers there are for each one that looks at every mark; ten look at least, if there are ten."""
    one_in = SAMPLED_ONE_IN if deliveries_per_second <= MANY_DELIVERIES else FEW_SAMPLED_ONE_IN
    return max(1, min(one_in, viewers // 10))


@contextlib.contextmanager
def viewing(
    bench: Bench,
    target: Target,
    transport: Transport,
    feeds: Sequence[str],
    runs: Sequence[tuple[str, Sequence[str]]],
    *,
    one_in: int,
    recorded: int = 0,
) -> Iterator[Server]:
    """A server with *runs*, each in the feeds that it comes with, and a viewer for each of *feeds*, who holds them."""
    with bench.serving(target) as server:
        newest = bench.aim(target, server, runs)
        bench.connect(target, server, transport, feeds, newest, one_in=one_in, recorded=recorded)
        yield server
