"""The bench that all works stand at: one Redis, one load generator, one publisher; each case starts its own server."""

from __future__ import annotations

import contextlib
import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import redis

from benchmarks.load import LoadGenerator
from benchmarks.machine import CoreClock
from benchmarks.offering import Offerer
from benchmarks.processes import BenchmarkFailed, free_port, running
from benchmarks.targets import Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.deliveries import Deliveries
    from benchmarks.machine import Cores
    from benchmarks.offering import Offered
    from benchmarks.processes import Answer, Remote, Server
    from benchmarks.targets import Target, Transport

#: Viewers have so long to hear something after they came in.
HOLD_SECONDS: Final = 30.0
#: Servers that know no state say nothing to a newcomer. So something of each feed changes until everybody has heard it.
TOUCHES: Final = 10
TOUCH_SECONDS: Final = 2.0
#: Nothing more is under way when nothing has come for so long.
CALM_SECONDS: Final = 0.3
#: How often a server's memory is looked at while changes are offered; and when it has had enough (some never stop).
LOOK_SECONDS: Final = 0.25
MOST_MEMORY_BYTES: Final = 3 * 1024**3


@dataclass(frozen=True, slots=True)
class Used:
    """What was used while something was measured. Shares are of one core."""

    seconds: float
    #: Processor time of the server.
    server_seconds: float
    server_cpu: float
    generator_cpu: float
    publisher_cpu: float
    redis_cpu: float
    #: The cores, with all that ran on them; None when they are not apart.
    server_core: float | None
    generator_core: float | None


class Meter:
    """Measures from when it is made. *generator* and *publisher* play these parts, when not those of the bench do."""

    def __init__(
        self,
        bench: Bench,
        server: Server,
        *,
        generator: Remote[Any] | None = None,
        publisher: Remote[Any] | None = None,
    ) -> None:
        self._clocks = (
            server.cpu_seconds,
            (generator or bench.generator).cpu_seconds,
            (publisher or bench.offerer).cpu_seconds,
            bench.redis.cpu_seconds,
        )
        self._server_core, self._generator_core = CoreClock(bench.cores.server), CoreClock(bench.cores.others)
        self._began, self._before = time.monotonic(), [clock() for clock in self._clocks]

    def read(self) -> Used:
        wall = time.monotonic() - self._began
        used = [clock() - before for clock, before in zip(self._clocks, self._before, strict=True)]
        server, generator, publisher, redis = (seconds / wall for seconds in used)
        cores = self._server_core.busy(), self._generator_core.busy()
        return Used(wall, used[0], server, generator, publisher, redis, *cores)


@dataclass(frozen=True, slots=True)
class Watched:
    """What the server's memory did while changes were offered."""

    #: Seconds since the beginning, and bytes.
    memory: list[tuple[float, int]]
    #: It had to be stopped, for it grew without end.
    outgrew: bool


class Bench:
    """What a case needs to measure a target."""

    def __init__(self, redis: Server, cores: Cores, generator: Remote[LoadGenerator], offerer: Remote[Offerer]) -> None:
        self.redis = redis
        self.redis_url = f"redis://127.0.0.1:{redis.port}/0"
        self.cores = cores
        self.generator = generator
        self.offerer = offerer
        #: What servers said of themselves that no case should bring about; whoever reads it clears it.
        self.complaints: list[str] = []
        #: By target, transport and number of viewers, what is known of dense feeds so far: later cases begin there.
        self.dense: dict[tuple[str, Transport, int], list[Deliveries]] = {}
        self._ids = (f"run_{number}" for number in itertools.count(1))

    @contextlib.contextmanager
    def serving(self, target: Target) -> Iterator[Server]:
        """
        A new server of the target beside an empty Redis, killed at the end of the block: everything was measured then.
        """
        with redis.Redis.from_url(self.redis_url) as client:
            client.flushall()
        server = target.server(free_port(), self.redis_url, self.cores.server)
        try:
            with running(server, kill=True):
                yield server
        finally:
            with contextlib.suppress(BenchmarkFailed):  # they may be gone, too, and why is known by then
                self.generator.call(LoadGenerator.disconnect)
                self.offerer.call(Offerer.rest)
        self.complaints += server.complaints()

    def new_runs(self, count: int) -> list[str]:
        """Names that no run has."""
        return list(itertools.islice(self._ids, count))

    def aim(self, target: Target, server: Server, runs: Sequence[tuple[str, Sequence[str]]]) -> Mapping[str, int]:
        """Create *runs*, each in the feeds it comes with; return the number of each feed's newest change."""
        port = server.port if target.source is Source.HTTP else self.redis.port
        return self.offerer.call(Offerer.aim, target, port, runs)

    def connect(
        self,
        target: Target,
        server: Server,
        transport: Transport,
        feeds: Sequence[str],
        newest: Mapping[str, int],
        *,
        one_in: int = 10,
        recorded: int = 0,
    ) -> float:
        """
        Connect a viewer for each of *feeds*; return the seconds until the last handshake was answered.

        Everybody holds the *newest* change of its feed then, or one after it.
        """
        visits = [(feed, target.opening(transport, feed)) for feed in feeds]
        took = self.generator.call(LoadGenerator.connect, server.port, transport, visits, one_in, recorded)
        if target.source is Source.CHANGES:
            behind = self.generator.call(LoadGenerator.hold, newest, HOLD_SECONDS)
        else:
            behind, newest = len(feeds), self.offerer.call(Offerer.touch, set(feeds))
            for _ in range(TOUCHES):
                if not (behind := self.generator.call(LoadGenerator.hold, newest, TOUCH_SECONDS)):
                    break
                # For those who were not known to the server when the last one came; any later one will do.
                self.offerer.call(Offerer.touch, set(feeds))
            # What is still under way to some would be counted with what is offered.
            self.generator.call(LoadGenerator.calm, CALM_SECONDS, HOLD_SECONDS)
        if behind:
            raise BenchmarkFailed(f"{behind} of {len(feeds)} viewers heard nothing after they came in")
        return took

    def watch(self, server: Server, offering: Answer[Offered], *, until: int = MOST_MEMORY_BYTES) -> Watched:
        """Look at the server's memory while changes are offered; end it when it has more than so many bytes."""
        began, memory = time.monotonic(), [(0.0, server.memory_bytes())]
        while not offering.wait(LOOK_SECONDS):
            memory.append((time.monotonic() - began, server.memory_bytes()))
            if memory[-1][1] > until:
                server.stop(kill=True)
                return Watched(memory, outgrew=True)
        memory.append((time.monotonic() - began, server.memory_bytes()))
        return Watched(memory, outgrew=False)
