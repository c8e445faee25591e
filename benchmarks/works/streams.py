"""
Many streams at once, as of models that write: each chunk is an append of its own, and each stream has its readers.

A stream skips nothing: every reader must get every chunk, once and in order.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import hiredis

from benchmarks.bench import Bench
from benchmarks.deliveries import Deliveries, deliver, viewing
from benchmarks.goals import Goal
from benchmarks.load import LoadGenerator, Viewer
from benchmarks.marks import PATTERN
from benchmarks.processes import Remote
from benchmarks.targets import ENVIRONMENT, Runcast, Transport
from benchmarks.work import Better, Case
from gateway.changes import change
from gateway.store.appending import Append, append_command, whole_append
from gateway.store.writing import ChangeWriter, whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.tally import Tally
    from benchmarks.targets import Target
    from benchmarks.work import Plan
    from gateway.store.writing import Command

NAME: Final = "streams"
READERS: Final = 2
KEY: Final = "llm"
#: About a word or two, as models write.
TEXT: Final = b" understanding of"
GOAL_MS: Final = 50.0
#: Who delivers so much of what was offered keeps up.
KEPT: Final = 0.95
_WRITER: Final = ChangeWriter(environment=ENVIRONMENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured."""

    streams: int = 500
    chunks_per_second: int = 50
    seconds: float = 4.0

    @property
    def rate(self) -> int:
        return self.streams * self.chunks_per_second


FULL: Final = Size()
SHORT: Final = Size(streams=10, chunks_per_second=20, seconds=0.5)


class Streams(Deliveries):
    """`wrong` are readers who missed a chunk, or got one twice or too early."""

    __slots__ = ()

    def problems(self) -> list[str]:
        found = Deliveries.problems(self)
        if self.deliveries != self.expected:
            found.append(f"{self.deliveries} chunks were delivered, and there were {self.expected}")
        return found

    def goals(self) -> list[Goal]:
        if self.asked_rate != FULL.rate:
            return []
        kept = FULL.rate * READERS * KEPT
        return [
            Goal("streams: chunks delivered per second", kept, self.per_second, Better.HIGHER),
            Goal("streams: p99 of a chunk, ms", GOAL_MS, self.p99_ms),
        ]


@dataclass(frozen=True, slots=True)
class Writing(Runcast):
    """Runcast, whose runs write to a stream instead of changing."""

    def creation(self, run: str, feeds: Sequence[str], mark: bytes) -> bytes:
        """The run, with a mark that no reader sees, and its first chunk; each brings its script along."""
        started = change(
            run, create=True, status="EXECUTING", initial={"taskIdentifier": "benchmark"}, metadata={"m": mark.decode()}
        )
        return _packed(whole(_WRITER.by_digest(started))) + _packed(whole_append(_append(run, mark)))

    def offer(self, run: str, feeds: Sequence[str], mark: bytes) -> bytes:
        return _packed(_append(run, mark))


class StreamReader(Viewer):
    """Looks at every chunk: its age, and whether it is the one that must come next."""

    __slots__ = ("_broken", "_last", "_streams")

    def __init__(self, tally: Tally, streams: int) -> None:
        super().__init__(tally)
        #: Chunks are appended to one stream after the other, and numbered with one count.
        self._streams = streams
        self._last = 0
        self._broken = False

    def _note(self, buffer: bytearray, start: int, end: int, count: int) -> None:
        now = time.monotonic_ns()
        tally, last = self._tally, self._last
        for _, number, sent_at in PATTERN.findall(buffer, start, end):
            following = int(number)
            if last and following != last + self._streams:
                self._broken = True
            last = following
            tally.latencies.append(now - int(sent_at))
        self._last = last
        tally.deliveries += count
        tally.last_at = now

    def knows(self, truth: Mapping[int, int]) -> bool:
        return not self._broken and [self._last] == list(truth.values())


class StreamReaders(LoadGenerator):
    """Viewers who are all readers of one of so many streams."""

    def __init__(self, streams: int) -> None:
        super().__init__()
        self._streams = streams

    def _viewer(self, place: int, one_in: int, recorded: int) -> StreamReader:
        return StreamReader(self._tally, self._streams)


def cases(plan: Plan) -> Iterator[Case]:
    size = SHORT if plan.short else FULL
    for transport in plan.transports or (tuple(Transport) if not plan.short else (Transport.SSE,)):
        yield Case(
            work=NAME,
            title=(
                f"{size.streams:,} streams of {size.chunks_per_second} chunks per second, "
                f"{READERS} readers each, {transport}"
            ),
            measure=partial(measure, size=size, transport=transport),
            transport=transport,
            rate=size.rate,
        )


def measure(bench: Bench, target: Target, *, size: Size, transport: Transport) -> Streams:
    if not isinstance(target, Runcast):
        raise TypeError(f"{target.name} has no streams")
    writing = Writing(target.secret)
    runs = [(run, (f"stream:{run},{KEY}",)) for run in bench.new_runs(size.streams)]
    feeds = [feed for _, (feed,) in runs] * READERS
    with Remote[LoadGenerator](partial(StreamReaders, size.streams), bench.cores.others) as readers:
        reading = Bench(bench.redis, bench.cores, readers, bench.offerer)
        with viewing(reading, writing, transport, feeds, runs, one_in=1) as server:
            result = deliver(reading, writing, server, feeds, runs, rate=size.rate, seconds=size.seconds, kind=Streams)
        bench.complaints += reading.complaints
    return result


def _append(run: str, mark: bytes) -> Command:
    chunk = b'{"text":"%b","mark":"%b"}' % (TEXT, mark)
    return append_command(Append(run=run, stream=KEY, chunks=[chunk]), _WRITER)


def _packed(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub knows commands of one word only
    return packed
