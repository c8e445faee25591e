"""How far Redis's clock is from ours. Changes carry the time of Redis's, and we want to know how long they took."""

from __future__ import annotations

from collections import deque
from typing import Final

#: Canaries that are remembered. Fewer would keep no quick one among them, more would not follow a clock that is set.
_REMEMBERED: Final = 16


class RedisClock:
    """
    Estimates the difference from questions that Redis answers with its time.

    Each is true up to half of its round trip, so the quickest of the last ones is believed (as NTP does it).
    """

    __slots__ = ("_answers", "offset")

    def __init__(self) -> None:
        self._answers: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)
        #: Redis's time minus ours, in seconds; 0 until it is known.
        self.offset = 0.0

    def learn(self, asked: float, answered: float, redis: float) -> None:
        """Redis said *redis* between *asked* and *answered* of our own clock, all in unix seconds."""
        self._answers.append((answered - asked, redis - (asked + answered) / 2))
        self.offset = min(self._answers)[1]

    def since(self, moment: int, now: float) -> float:
        """Seconds from a moment of Redis's clock (ms since 1970) to *now* of ours (unix seconds); never negative."""
        return max(0.0, now + self.offset - moment / 1000)
