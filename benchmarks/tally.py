"""What all viewers of a measurement together received, and the numbers that it gives."""

from __future__ import annotations

import array
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Counted:
    """What viewers received between `begin` and the end of `settle`."""

    deliveries: int
    #: From the first change, as `settle` was told it, until the last delivery.
    seconds: float
    p50_ms: float
    p99_ms: float
    samples: int
    #: Viewers who hold the last value, and those whose connection ended.
    up_to_date: int
    lost: int
    #: Viewers who looked at every change, and don't hold the truth of each run.
    wrong: int
    #: From the last change, as `settle` was told it, until the last delivery.
    settled_after_seconds: float
    #: The share of its core that this process used.
    cpu: float


class Tally:
    """Counts, until somebody asks."""

    __slots__ = ("_cpu", "_wall", "deliveries", "last_at", "latencies", "lost")

    def __init__(self) -> None:
        self.lost = 0
        self.clear()

    def clear(self) -> None:
        """Count from now on (connections that ended: from the beginning)."""
        self.deliveries = 0
        #: When the last delivery came (CLOCK_MONOTONIC, ns); 0 when there was none.
        self.last_at = 0
        #: Nanoseconds from publish to arrival, of some deliveries.
        self.latencies = array.array("q")
        self._cpu, self._wall = time.process_time(), time.monotonic()

    def counted(self, began_at: int, ended_at: int, up_to_date: int, wrong: int = 0) -> Counted:
        """
        What it comes to.

        Args:
            began_at: When the first change was sent (CLOCK_MONOTONIC, ns).
            ended_at: When the last one was.
            up_to_date: Viewers who hold the last value.
            wrong: Viewers who don't hold the truth of each run.
        """
        cpu = (time.process_time() - self._cpu) / (time.monotonic() - self._wall)
        ordered = sorted(self.latencies)
        return Counted(
            deliveries=self.deliveries,
            seconds=max(self.last_at - began_at, 0) / 1e9,
            p50_ms=percentile(ordered, 0.50) / 1e6,
            p99_ms=percentile(ordered, 0.99) / 1e6,
            samples=len(ordered),
            up_to_date=up_to_date,
            lost=self.lost,
            wrong=wrong,
            settled_after_seconds=(self.last_at - ended_at) / 1e9 if self.last_at else 0.0,
            cpu=cpu,
        )


def percentile(ordered: Sequence[int], share: float) -> float:
    """The number that so large a share of *ordered* ones does not exceed; 0 of none."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0
