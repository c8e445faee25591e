"""Viewers to whom nothing happens: what each costs in memory, and all of them in processor time, with heartbeats on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.bench import HOLD_SECONDS
from benchmarks.goals import Goal
from benchmarks.load import LoadGenerator
from benchmarks.processes import BenchmarkFailed
from benchmarks.targets import Runcast, Source, Transport
from benchmarks.tokens import with_tokens
from benchmarks.work import Better, Case, Number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.bench import Bench
    from benchmarks.processes import Server
    from benchmarks.targets import Target
    from benchmarks.work import Plan

NAME: Final = "idle"
#: What viewers follow, in equal parts.
FEEDS: Final = 100
#: Viewers who come and go before memory is looked at, so that what a first viewer makes is not charged to the rest.
WARM_UP_VIEWERS: Final = 20
GOAL_BYTES: Final = 6 * 1024
GOAL_CPU: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured."""

    viewers: int = 10_000
    #: In so many seconds everybody gets a heartbeat.
    seconds: float = 16.0


FULL: Final = Size()
#: Of servers whose viewers are only to be weighed.
BESIDE: Final = Size(viewers=3_000, seconds=3.0)
SHORT: Final = Size(viewers=200, seconds=0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """What idle viewers cost the server."""

    viewers: int
    #: Memory of the server's processes (RSS) without viewers, and with them.
    before_bytes: int
    after_bytes: int
    bytes_per_viewer: float
    #: What the kernel keeps for a connection, both of its ends, beside that; None where it does not say. It counts for
    #: the whole machine: whatever else comes or goes meanwhile is in there.
    kernel_bytes: float | None
    connect_seconds: float
    #: The server's share of its core, while nothing happens.
    server_cpu: float
    lost: int

    def problems(self) -> list[str]:
        found = [] if self.after_bytes > self.before_bytes else ["viewers cost less than nothing"]
        if self.lost:
            found.append(f"{self.lost} of {self.viewers} connections ended")
        return found

    def doubts(self) -> list[str]:
        return []

    def goals(self) -> list[Goal]:
        if self.viewers < FULL.viewers:
            return []
        return [
            Goal("idle: bytes for a viewer", GOAL_BYTES, self.bytes_per_viewer),
            Goal("idle: share of a core, %", GOAL_CPU * 100, self.server_cpu * 100),
        ]

    def numbers(self) -> list[Number]:
        return [
            Number("viewers", self.viewers),
            Number("memory per idle viewer, KiB", self.bytes_per_viewer / 1024, Better.LOWER),
            Number("memory of the server with all of them, MiB", self.after_bytes / 1024**2, Better.LOWER),
            Number("server busy, % of its core", self.server_cpu * 100, Better.LOWER),
            Number("all are connected after, s", self.connect_seconds, Better.LOWER),
            Number(
                "what the kernel keeps for a connection, both ends, KiB",
                None if self.kernel_bytes is None else self.kernel_bytes / 1024,
            ),
        ]


def cases(plan: Plan) -> Iterator[Case]:
    for transport in plan.transports or (tuple(Transport) if not plan.short else (Transport.WEBSOCKET,)):
        yield Case(
            work=NAME,
            title=f"Idle viewers, {transport}",
            measure=partial(measure, short=plan.short, transport=transport),
            transport=transport,
        )


def measure(bench: Bench, target: Target, *, short: bool, transport: Transport) -> Idle:
    """Memory is looked at when it does not move any more."""
    size = SHORT if short else FULL if isinstance(target, Runcast) else BESIDE
    runs = [(run, (f"tag:{run}",)) for run in bench.new_runs(FEEDS)]
    feeds = [feed for _, (feed,) in runs]
    with bench.serving(target) as server:
        newest = bench.aim(target, server, runs)
        for _ in range(2):
            _connect(bench, target, server, transport, islice(cycle(feeds), min(size.viewers, WARM_UP_VIEWERS)), newest)
            bench.generator.call(LoadGenerator.disconnect)
        before, kernel = server.settled_memory_bytes(), _kernel_bytes()
        came = islice(cycle(feeds), size.viewers)
        connected = _connect(bench, target, server, transport, came, newest)
        after, kernel_after = server.settled_memory_bytes(), _kernel_bytes()
        used = server.cpu_seconds()
        time.sleep(size.seconds)
        used = server.cpu_seconds() - used
        lost = bench.generator.call(LoadGenerator.lost)
    return Idle(
        viewers=size.viewers,
        before_bytes=before,
        after_bytes=after,
        bytes_per_viewer=(after - before) / size.viewers,
        kernel_bytes=None if kernel is None or kernel_after is None else (kernel_after - kernel) / size.viewers,
        connect_seconds=connected,
        server_cpu=used / size.seconds,
        lost=lost,
    )


def _connect(
    bench: Bench,
    target: Target,
    server: Server,
    transport: Transport,
    feeds: Iterator[str],
    newest: Mapping[str, int],
) -> float:
    """A viewer for each of *feeds*, with a token of its own; return the seconds that it took until all were let in."""
    followed = list(feeds)
    openings = with_tokens(target, [target.opening(transport, feed) for feed in followed], "read:runs")
    visits = list(zip(followed, openings, strict=True))
    seconds = bench.generator.call(LoadGenerator.connect, server.port, transport, visits)
    if target.source is Source.CHANGES:  # the others say nothing to a newcomer
        behind = bench.generator.call(LoadGenerator.hold, newest, HOLD_SECONDS)
        if behind:
            raise BenchmarkFailed(f"{behind} of {len(followed)} viewers heard nothing after they came in")
    return seconds


def _kernel_bytes() -> int | None:
    """What the kernel keeps for itself in small pieces, sockets among them."""
    facts = Path("/proc/meminfo")
    if not facts.exists():
        return None
    found = dict(line.split(":", 1) for line in facts.read_text().splitlines())
    return int(found["SUnreclaim"].split()[0]) * 1024
