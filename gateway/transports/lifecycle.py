"""Where a gateway's process is on its way from start to exit: what the server that runs it tells the rest of it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Lifecycle:
    """Serving, until its server says otherwise; there is no way back."""

    __slots__ = ("_draining", "_waiting")

    def __init__(self) -> None:
        self._draining = False
        self._waiting: dict[Callable[[], None], None] = {}

    @property
    def draining(self) -> bool:
        """Whether the process is about to end: whoever is here is being sent away, and nobody should come."""
        return self._draining

    def drain(self) -> None:
        """The process is about to end. Whoever says so sends away those who wait, each in its turn."""
        self._draining = True

    @property
    def waiting(self) -> list[Callable[[], None]]:
        """The requests that are held until something happens and were not sent away yet, as they said it to `wait`."""
        return list(self._waiting)

    def wait(self, answer: Callable[[], None]) -> None:
        """A request is held, and *answer* ends that: it is called, at its turn, should the process be about to end."""
        self._waiting[answer] = None

    def forget(self, answer: Callable[[], None]) -> None:
        """It is not held any more."""
        self._waiting.pop(answer, None)

    def send_away(self, answer: Callable[[], None]) -> None:
        """It is the turn of a request that is held."""
        self.forget(answer)
        answer()

    @contextlib.contextmanager
    def telling(self, answer: Callable[[], None]) -> Iterator[None]:
        """As `wait`, while the block lasts."""
        self.wait(answer)
        try:
            yield
        finally:
            self.forget(answer)
