"""A histogram as an array of integers: observing costs one search in a short tuple, and no library call."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

#: Seconds from a change to the viewers' sockets: from what a good day has to what nobody accepts.
DELIVERY_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: Seconds of a question to Redis: on the same machine it takes a quarter of a millisecond.
ROUND_TRIP_SECONDS: Final = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
#: Seconds that the event loop was late: below a millisecond is the clock's own precision.
LAG_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
#: Seconds from a token's end to the end of what it opened; a second is what we promise.
LATENESS_SECONDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0, 10.0)
#: Seconds of an HTTP request that is answered and over.
REQUEST_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def quantile(bounds: tuple[float, ...], counts: tuple[int, ...], part: float) -> float | None:
    """
    The value that *part* of what was observed does not exceed, as far as the bounds tell; None when nothing was.

    What is above all bounds counts as the highest of them.
    """
    wanted, below, lower = part * sum(counts), 0, 0.0
    if not wanted:
        return None
    for bound, count in zip(bounds, counts, strict=False):
        if below + count >= wanted:
            return lower + (bound - lower) * (wanted - below) / count
        below, lower = below + count, bound
    return bounds[-1]


class Histogram:
    """
    How often a value was at most each of *bounds*, and how often above all of them.

    `counts` are not cumulative, and have one entry more than `bounds`; `total` is the sum of what was observed.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    @property
    def count(self) -> int:
        """How often something was observed."""
        return sum(self.counts)
