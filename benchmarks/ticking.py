"""A publisher whose runs tick: the metadata of each changes at a fixed rate, said by the publisher that jobs use."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

from benchmarks.polls import TICK
from gateway.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.feeds import EnvironmentId
    from gateway.publisher import Run


@dataclass(frozen=True, slots=True)
class Ticked:
    """What was said in one go. Times are CLOCK_MONOTONIC in nanoseconds."""

    changes: int
    began_at: int
    ended_at: int
    #: The number of each run's last change.
    latest: Mapping[str, int]

    @property
    def rate(self) -> float:
        return (self.changes - 1) / max(self.ended_at - self.began_at, 1) * 1e9 if self.changes > 1 else 0.0


class Ticker:
    """
    Says changes through `Publisher`, one after the other. Lives in a process of its own (`processes.Remote`).

    Numbers the changes of all runs with one count.
    """

    def __init__(self) -> None:
        self._count = 0
        self._latest: dict[str, int] = {}
        self._runs: list[Run] = []

    async def connect(self, redis_url: str, environment: EnvironmentId) -> None:
        self._publisher = Publisher(redis_url, environment=environment)

    async def create(self, runs: Sequence[str], tag: str, payload_bytes: int = 0) -> None:
        """Create *runs*, which tick from now on, with *tag* and a payload of that size, start them, and tick each."""
        payload = {"text": "x" * payload_bytes}
        made = [self._publisher.create("benchmark", id=run, tags=(tag,), payload=payload) for run in runs]
        for run in made:
            run.start()
        self._runs, self._latest = made, {}
        for run in made:
            self._tick(run)
        self._flush()

    async def offer(self, rate: float, seconds: float) -> Ticked:
        """
        Tick at *rate* per second for *seconds*, evenly, each run in turn, and return when Redis has every change.

        A run that ticks more than about ten times a second has some of its ticks told together, as publishers do.
        """
        began_at = ended_at = time.monotonic_ns()
        changes = max(1, int(rate * seconds))
        runs = cycle(self._runs)
        for sent in range(changes):
            await asyncio.sleep(max(0.0, began_at / 1e9 + sent / rate - time.monotonic()))
            ended_at = time.monotonic_ns()
            self._tick(next(runs))
        self._flush()
        return Ticked(changes, began_at, ended_at, dict(self._latest))

    def _tick(self, run: Run) -> None:
        self._count += 1
        run.set(TICK, {"n": self._count, "at": time.monotonic_ns()})
        self._latest[run.id] = self._count

    def _flush(self) -> None:
        lost = sum(self._publisher.statistics.dropped.values())
        if not self._publisher.flush() or lost:
            raise RuntimeError(f"the publisher could not send everything (dropped: {lost})")
