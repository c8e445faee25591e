"""The scenarios: what is done to a gateway, and what is measured while it is done."""

from __future__ import annotations

import contextlib
import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from benchmarks.load import LoadGenerator
from benchmarks.machine import CoreClock
from benchmarks.offering import Offerer
from benchmarks.processes import free_port, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.machine import Cores
    from benchmarks.offering import Offered
    from benchmarks.processes import Remote, Server
    from benchmarks.tally import Counted
    from benchmarks.targets import Target, Transport

#: Viewers who come and go before memory is looked at, so that what a first viewer makes is not charged to the rest.
WARM_UP_VIEWERS: Final = 20
#: Runs that the viewers of the memory and restart scenarios follow, in equal parts.
MANY_RUNS: Final = 100
#: After the last change a gateway has so long to tell everyone the last value.
SETTLE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Deliveries:
    """What became of changes of one run that were offered at a fixed rate to all its viewers."""

    viewers: int
    changes: int
    #: Changes per second that were asked for, and those that the publisher brought about.
    rate: float
    offered_rate: float
    deliveries: int
    per_second: float
    per_cpu_second: float
    p50_ms: float
    p99_ms: float
    samples: int
    #: From the last change until the last viewer was told it.
    settled_after_ms: float
    up_to_date: int
    lost: int
    #: Shares of a core: what the server and the load generator used, and all that ran on their cores.
    server_cpu: float
    server_core: float | None
    generator_cpu: float
    generator_core: float | None

    @property
    def arrived(self) -> float:
        """Deliveries as a share of changes times viewers. The rest was skipped on the way to a newer value."""
        return self.deliveries / (self.changes * self.viewers)

    def problems(self) -> list[str]:
        found = []
        if not self.deliveries:
            found.append("nothing was delivered")
        if self.up_to_date != self.viewers:
            found.append(f"{self.viewers - self.up_to_date} of {self.viewers} viewers did not get the last value")
        if self.lost:
            found.append(f"{self.lost} connections ended")
        if self.deliveries > self.changes * self.viewers:
            found.append("more was delivered than there was")
        return found


@dataclass(frozen=True, slots=True)
class Used:
    """What was used while something was measured."""

    #: Processor time of the server, and what that is of its core.
    server_seconds: float
    server_share: float
    #: Shares of the cores, with all that ran on them; None when they are not apart.
    server_core: float | None
    generator_core: float | None


class Meter:
    """Measures from when it is made."""

    def __init__(self, server: Server, cores: Cores) -> None:
        self._server = server
        self._server_core, self._generator_core = CoreClock(cores.server), CoreClock(cores.others)
        self._cpu, self._wall = server.cpu_seconds(), time.monotonic()

    def read(self) -> Used:
        cpu, wall = self._server.cpu_seconds() - self._cpu, time.monotonic() - self._wall
        return Used(cpu, cpu / wall, self._server_core.busy(), self._generator_core.busy())


def deliveries(viewers: int, rate: float, offered: Offered, counted: Counted, used: Used) -> dict[str, Any]:
    """The fields of `Deliveries`."""
    return {
        "viewers": viewers,
        "changes": offered.changes,
        "rate": rate,
        "offered_rate": offered.rate,
        "deliveries": counted.deliveries,
        "per_second": counted.deliveries / counted.seconds if counted.seconds else 0.0,
        "per_cpu_second": counted.deliveries / used.server_seconds if used.server_seconds else 0.0,
        "p50_ms": counted.p50_ms,
        "p99_ms": counted.p99_ms,
        "samples": counted.samples,
        "settled_after_ms": counted.settled_after_seconds * 1000,
        "up_to_date": counted.up_to_date,
        "lost": counted.lost,
        "server_cpu": used.server_share,
        "server_core": used.server_core,
        "generator_cpu": counted.cpu,
        "generator_core": used.generator_core,
    }


@dataclass(frozen=True, slots=True)
class Memory:
    """What idle viewers cost the server's process."""

    viewers: int
    before_bytes: int
    after_bytes: int
    connect_seconds: float

    @property
    def bytes_per_viewer(self) -> float:
        return (self.after_bytes - self.before_bytes) / self.viewers

    def problems(self) -> list[str]:
        return [] if self.after_bytes > self.before_bytes else ["viewers cost less than nothing"]


@dataclass(frozen=True, slots=True)
class Restart:
    """How soon viewers hold the present state again after the server was killed and a change was missed."""

    viewers: int
    #: From the start of the process until it accepts connections, and from then until the last viewer was told.
    start_seconds: float
    told_seconds: float

    def problems(self) -> list[str]:
        return []  # a viewer who is not told makes the measurement fail


class Bench:
    """One Redis, one load generator, one publisher; each scenario starts a server of its own."""

    def __init__(
        self, redis_url: str, cores: Cores, generator: Remote[LoadGenerator], offerer: Remote[Offerer]
    ) -> None:
        self._redis_url = redis_url
        self.cores = cores
        self._generator = generator
        self._offerer = offerer
        #: What servers said of themselves that no scenario should bring about; whoever reads it clears it.
        self.complaints: list[str] = []
        self._ids = (f"run_{number}" for number in itertools.count(1))

    def deliveries(
        self, target: Target, transport: Transport, *, viewers: int, rate: float, seconds: float
    ) -> Deliveries:
        """Offer changes of one run at *rate* for *seconds* to *viewers* viewers."""
        (run,) = runs = self.new_runs(1)
        number = self._offerer.call(Offerer.create, runs)
        with self.serving(target) as server:
            self._generator.call(LoadGenerator.connect, target, server.port, transport, runs * viewers, number)
            self._generator.call(LoadGenerator.begin)
            meter = Meter(server, self.cores)
            offered = self._offerer.call(Offerer.offer, run, rate, seconds)
            counted = self._generator.call(
                LoadGenerator.settle, offered.began_at, offered.ended_at, offered.last, SETTLE_SECONDS
            )
            used = meter.read()
            self._generator.call(LoadGenerator.disconnect)
        return Deliveries(**deliveries(viewers, rate, offered, counted, used))

    def memory(self, target: Target, transport: Transport, *, viewers: int) -> Memory:
        """The server's memory before and after *viewers* viewers have come, each time when it has settled."""
        runs = self.new_runs(MANY_RUNS)
        number = self._offerer.call(Offerer.create, runs)
        with self.serving(target) as server:
            self._generator.call(LoadGenerator.connect, target, server.port, transport, runs[:WARM_UP_VIEWERS], number)
            self._generator.call(LoadGenerator.disconnect)
            before = server.settled_memory_bytes()
            connected = self._generator.call(
                LoadGenerator.connect, target, server.port, transport, _spread(runs, viewers), number
            )
            after = server.settled_memory_bytes()
            self._generator.call(LoadGenerator.disconnect)
        return Memory(viewers, before, after, connected)

    def restart(self, target: Target, transport: Transport, *, viewers: int) -> Restart:
        """Kill the server of *viewers* viewers, change every run, start it again, and have them all come back."""
        runs = self.new_runs(MANY_RUNS)
        followed = _spread(runs, viewers)
        number = self._offerer.call(Offerer.create, runs)
        with self.serving(target) as server:
            self._generator.call(LoadGenerator.connect, target, server.port, transport, followed, number)
            cursors = self._generator.call(LoadGenerator.cursors)
            server.stop(kill=True)
            self._generator.call(LoadGenerator.disconnect)
            number = self._offerer.call(Offerer.touch, runs)
            began = time.monotonic()
            server.start()
            started = time.monotonic() - began
            told = self._generator.call(
                LoadGenerator.connect, target, server.port, transport, followed, number, cursors
            )
            self._generator.call(LoadGenerator.disconnect)
        return Restart(viewers, started, told)

    @contextlib.contextmanager
    def serving(self, target: Target) -> Iterator[Server]:
        """A new server of the target, killed at the end of the block: everything was measured by then."""
        server = target.server(free_port(), self._redis_url, self.cores.server)
        with running(server, kill=True):
            yield server
        self.complaints += server.complaints()

    def new_runs(self, count: int) -> list[str]:
        """Names that no run has."""
        return list(itertools.islice(self._ids, count))


def _spread(runs: Sequence[str], viewers: int) -> list[str]:
    return list(itertools.islice(itertools.cycle(runs), viewers))
