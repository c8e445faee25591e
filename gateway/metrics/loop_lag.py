"""How late the event loop is: whoever waits for it, viewers among them, waits at least so long."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from gateway.metrics.histogram import LAG_SECONDS, Histogram

#: How often we look.
STEP_SECONDS: Final = 0.1
#: How long a delay counts as recent, for whoever asks whether the loop keeps up.
RECENT_SECONDS: Final = 2.0
#: A scrape each 15 or 30 seconds must not miss the worst moment between two.
WINDOW_SECONDS: Final = 30.0


class LoopLag:
    """
    Asks the loop to be woken at a time, again and again, and notes how much later that was.

    Counts while `run` runs, in the loop that it runs in.
    """

    def __init__(self) -> None:
        self.histogram = Histogram(LAG_SECONDS)
        self._recent: deque[float] = deque(maxlen=round(RECENT_SECONDS / STEP_SECONDS))
        self._window = (0.0, 0.0, 0.0)  # when it began, the largest in it, the largest of the one before
        self._due: float | None = None

    async def run(self) -> None:
        """Work until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                self._due = loop.time() + STEP_SECONDS
                await asyncio.sleep(STEP_SECONDS)
                self._note(loop.time(), max(0.0, loop.time() - self._due))
        finally:
            self._due = None

    def _note(self, now: float, late: float) -> None:
        self.histogram.observe(late)
        self._recent.append(late)
        began, largest, before = self._window
        if now - began > WINDOW_SECONDS:
            began, largest, before = now, 0.0, largest
        self._window = (began, max(largest, late), before)

    def _overdue(self) -> float:
        """How late it is at this moment: whoever asks may be woken before we are."""
        return 0.0 if self._due is None else max(0.0, asyncio.get_running_loop().time() - self._due)

    def recent(self) -> float:
        """The longest delay of the last two seconds, in seconds."""
        return max(self._overdue(), *self._recent, 0.0)

    def largest(self) -> float:
        """The longest delay of the last half minute, at least, in seconds."""
        return max(self._overdue(), self._window[1], self._window[2])
