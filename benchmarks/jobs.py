"""A job that says as much as it can through `Publisher`, or its asynchronous twin; and what that costs the job."""

from __future__ import annotations

import asyncio
import itertools
import time
from abc import abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

import redis
import redis.asyncio

from benchmarks.redis_load import MESSAGE, Kind
from gateway.publisher import AsyncPublisher, Publisher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.feeds import EnvironmentId
    from gateway.publisher import AsyncRun, Run, Statistics

#: What an asynchronous job says before it waits for the answers; and what any job says in a block.
AT_ONCE: Final = 100
BLOCK: Final = 1_000
#: To wake up for each tick would cost more than saying it.
TICK_PAUSE_SECONDS: Final = 0.005
#: Longer than what waits for its turn may wait.
FLUSH_SECONDS: Final = 30.0


class Way(StrEnum):
    """How a job says many things."""

    #: Each call by itself: one after the other, or from an event loop AT_ONCE of them under way.
    ALONE = "alone"
    #: In blocks (`Publisher.together`), at whose end everything is stored.
    TOGETHER = "together"


@dataclass(frozen=True, slots=True)
class Said:
    """What a job said, and what it took."""

    calls: int
    #: Until everything was sent.
    seconds: float
    #: Processor time of the whole process: the publisher may have a thread that sends beside the one that says it.
    cpu_seconds: float
    #: Changes that were sent, and what was given up. Some of metadata travel together.
    sent: int
    dropped: int


class Speaker(Protocol):
    """A job's process, with many runs. Lives in a process of its own (`processes.Remote`)."""

    @abstractmethod
    async def connect(self, url: str, environment: EnvironmentId) -> None:
        """To Redis."""

    @abstractmethod
    async def say(self, kind: Kind, runs: int, way: Way) -> Said:
        """Say it of each of so many runs: of new ones, if it is their creation."""

    @abstractmethod
    async def tick(self, runs: int, rate: float, seconds: float) -> Said:
        """Let so many of the runs tick, together *rate* times a second for so many seconds, evenly."""

    @abstractmethod
    async def publish(self, url: str, count: int) -> Said:
        """For comparison: say something to Redis so often that nobody keeps."""


class Job(Speaker):
    """With a `Publisher`: says one thing after the other."""

    async def connect(self, url: str, environment: EnvironmentId) -> None:
        self._publisher = Publisher(url, environment=environment)
        self._publisher.create("resize-image")  # the first one connects
        self._runs: list[Run] = []

    async def say(self, kind: Kind, runs: int, way: Way) -> Said:
        if kind is Kind.CREATE:
            self._runs = []
        measure = _Measure(self._publisher.statistics)
        for numbers in _parts(runs, BLOCK):
            with self._publisher.together() if way is Way.TOGETHER else nullcontext():
                for number in numbers:
                    if kind is Kind.CREATE:
                        self._runs.append(self._publisher.create(**_CREATED))
                    else:
                        _SAYINGS[kind](self._runs[number], number)
        return measure.sent(runs, self._publisher.flush(FLUSH_SECONDS), self._publisher.statistics)

    async def tick(self, runs: int, rate: float, seconds: float) -> Said:
        ticking = itertools.cycle(self._runs[:runs])
        changes = int(rate * seconds)
        measure = _Measure(self._publisher.statistics)
        for numbers in _due(changes, rate):
            for number in numbers:
                _SAYINGS[Kind.SET](next(ticking), number)
            time.sleep(TICK_PAUSE_SECONDS)
        return measure.sent(changes, self._publisher.flush(FLUSH_SECONDS), self._publisher.statistics)

    async def publish(self, url: str, count: int) -> Said:
        with redis.Redis.from_url(url) as client:
            client.ping()  # the first one connects
            measure = _Measure()
            for _ in range(count):
                client.publish("benchmark", MESSAGE)
            return measure.sent(count, True)


class AsyncJob(Speaker):
    """With an `AsyncPublisher`: says many things at once, and then waits for the answers."""

    async def connect(self, url: str, environment: EnvironmentId) -> None:
        self._publisher = AsyncPublisher(url, environment=environment)
        await self._publisher.create("resize-image")
        self._runs: list[AsyncRun] = []

    async def say(self, kind: Kind, runs: int, way: Way) -> Said:
        if kind is Kind.CREATE:
            self._runs = []
        measure = _Measure(self._publisher.statistics)
        for numbers in _parts(runs, BLOCK if way is Way.TOGETHER else AT_ONCE):
            if way is Way.TOGETHER:
                async with self._publisher.together():
                    for number in numbers:
                        await self._say(kind, number)
            else:
                await asyncio.gather(*(self._say(kind, number) for number in numbers))
        return measure.sent(runs, await self._publisher.flush(FLUSH_SECONDS), self._publisher.statistics)

    async def _say(self, kind: Kind, number: int) -> None:
        if kind is Kind.CREATE:
            self._runs.append(await self._publisher.create(**_CREATED))
        else:
            await _SAYINGS[kind](self._runs[number], number)

    async def tick(self, runs: int, rate: float, seconds: float) -> Said:
        ticking = itertools.cycle(self._runs[:runs])
        changes = int(rate * seconds)
        measure = _Measure(self._publisher.statistics)
        for numbers in _due(changes, rate):
            await asyncio.gather(*(_SAYINGS[Kind.SET](next(ticking), number) for number in numbers))
            await asyncio.sleep(TICK_PAUSE_SECONDS)
        return measure.sent(changes, await self._publisher.flush(FLUSH_SECONDS), self._publisher.statistics)

    async def publish(self, url: str, count: int) -> Said:
        async with redis.asyncio.Redis.from_url(url) as client:
            await asyncio.gather(*(client.ping() for _ in range(AT_ONCE)))  # a connection for each
            measure = _Measure()
            for numbers in _parts(count, AT_ONCE):
                await asyncio.gather(*(client.publish("benchmark", MESSAGE) for _ in numbers))
            return measure.sent(count, True)


class _Measure:
    """What a job takes, from when this is made."""

    def __init__(self, before: Statistics | None = None) -> None:
        self._before = before
        self._began, self._cpu = time.perf_counter(), time.process_time()

    def sent(self, calls: int, flushed: bool, after: Statistics | None = None) -> Said:
        """Everything has been sent; if it has."""
        if not flushed:
            raise RuntimeError("the publisher could not send everything")
        seconds, cpu = time.perf_counter() - self._began, time.process_time() - self._cpu
        if after is None or self._before is None:
            return Said(calls, seconds, cpu, calls, 0)
        dropped = sum(after.dropped.values()) - sum(self._before.dropped.values())
        return Said(calls, seconds, cpu, after.sent - self._before.sent, dropped)


#: As in `redis_load`.
_TOTAL: Final = 1_000_000_000
_CREATED: Final[dict[str, Any]] = {
    "task": "resize-image",
    "batch": "batch_2024",
    "tags": ("customer:7", "export", "region:eu"),
    "payload": {"image": "cat.png", "width": 640},
}
_SAYINGS: Final[dict[Kind, Callable[[Any, int], Any]]] = {
    Kind.START: lambda run, number: run.start(),
    Kind.SET: lambda run, number: run.set("progress", {"current": number, "total": _TOTAL, "text": "of the rows"}),
    Kind.INCREMENT: lambda run, number: run.increment("rows"),
    Kind.COMPLETE: lambda run, number: run.complete({"rows": number}),
}


def _parts(whole: int, size: int) -> Iterator[range]:
    for begin in range(0, whole, size):
        yield range(begin, min(begin + size, whole))


def _due(changes: int, rate: float) -> Iterator[range]:
    """The numbers of the changes that are due, each time that it is asked; until there were so many."""
    began, said = time.perf_counter(), 0
    while said < changes:
        due = min(changes, int((time.perf_counter() - began) * rate) + 1)
        yield range(said, due)
        said = due
