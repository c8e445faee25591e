"""When to try again after a failure. No clock of its own: whoever asks says what time it is, in seconds."""

from __future__ import annotations

from typing import Final

FIRST_PAUSE_SECONDS: Final = 0.1
#: A Redis that comes back is noticed in so long; a job that reports meanwhile waits for one short time-out per pause.
LONGEST_PAUSE_SECONDS: Final = 5.0


class Breaker:
    """
    Lets everyone through while all is well, and after a failure one attempt per pause.

    The pauses double from the first to the longest; one success ends them.
    """

    __slots__ = ("_pause", "retry_at")

    def __init__(self) -> None:
        self._pause = 0.0
        #: When the next attempt may be made; None while all is well.
        self.retry_at: float | None = None

    @property
    def open(self) -> bool:
        """Whether the last attempt that ended was a failure."""
        return self.retry_at is not None

    def allows(self, now: float) -> bool:
        """Whether to try now. While things fail a yes is for one caller; the next one waits for the next pause."""
        if self.retry_at is None:
            return True
        if now < self.retry_at:
            return False
        self._pause = min(LONGEST_PAUSE_SECONDS, self._pause * 2)
        self.retry_at = now + self._pause
        return True

    def failed(self, now: float) -> None:
        # Callers that were on their way together fail together: that is one failure, and one pause.
        self._pause = self._pause or FIRST_PAUSE_SECONDS
        self.retry_at = now + self._pause

    def succeeded(self) -> None:
        self._pause, self.retry_at = 0.0, None
