"""Where a gateway's process is on its way from start to exit: what the server that runs it tells the rest of it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Lifecycle:
    """Serving, until its server says otherwise; there is no way back."""

    __slots__ = ("_draining", "_told")

    def __init__(self) -> None:
        self._draining = False
        self._told: dict[Callable[[], None], None] = {}

    @property
    def draining(self) -> bool:
        """Whether the process is about to end: whoever is here is being sent away, and nobody should come."""
        return self._draining

    def drain(self) -> None:
        self._draining = True
        for call in list(self._told):
            call()

    def tell(self, call: Callable[[], None]) -> None:
        """Have *call* called should the process be about to end: for who is here as long as it is."""
        self._told[call] = None

    @contextlib.contextmanager
    def telling(self, call: Callable[[], None]) -> Iterator[None]:
        """Have *call* called should the process be about to end while the block lasts: for requests that wait."""
        self._told[call] = None
        try:
            yield
        finally:
            del self._told[call]
