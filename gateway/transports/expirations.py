"""What a token opened ends when the token does: everybody who was let in, by when that is."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from gateway.revocations import Revocation
    from gateway.transports.admission import Admitted
    from gateway.transports.revoking import Bearer

_TICKS_PER_SECOND: Final = 4
#: Viewers that are ended in one go: some milliseconds.
_SLICE: Final = 100


class Expiring(Protocol):
    """Who was let in with a token or a secret key: a viewer, or a poll that is held."""

    @property
    def admitted(self) -> Admitted | None: ...

    def expired(self) -> None:
        """The token's time is over."""

    def revoked(self, revocation: Revocation) -> None:
        """The token was taken back."""

    def keys_changed(self) -> None:
        """Other secret keys count from now on."""


class Expirations:
    """
    Ends what a token opened within a second of its expiry.

    One timer for all connections: a timer each would cost more memory than the rest of an idle viewer.
    """

    def __init__(self) -> None:
        self._due: dict[int, dict[Expiring, None]] = {}
        #: Those who were let in with a secret key: nothing ends them, unless their key is taken away.
        self._endless: dict[Expiring, None] = {}

    def add(self, viewer: Expiring, when: float | None) -> None:
        """*when* in unix seconds; None: never."""
        due = self._endless if when is None else self._due.setdefault(self._tick(when), {})
        due[viewer] = None

    def remove(self, viewer: Expiring, when: float | None) -> None:
        if when is None:
            self._endless.pop(viewer, None)
            return
        tick = self._tick(when)
        self._due.get(tick, {}).pop(viewer, None)
        if not self._due.get(tick, True):
            del self._due[tick]

    @staticmethod
    def _tick(when: float) -> int:
        return math.ceil(when * _TICKS_PER_SECOND)

    def viewers(self) -> list[Bearer]:
        """Everybody who was let in."""
        return [*self._everybody()]

    def keys_changed(self) -> None:
        """Other secret keys count from now on: end those soon whose key is not among them."""
        for viewer in self._everybody():
            viewer.keys_changed()

    def _everybody(self) -> list[Expiring]:
        return [*self._endless, *(viewer for due in self._due.values() for viewer in due)]

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await asyncio.sleep(1 / _TICKS_PER_SECOND)
            now = time.time() * _TICKS_PER_SECOND
            for tick in [tick for tick in self._due if tick <= now]:
                await self._end(self._due.get(tick, {}))
                self._due.pop(tick, None)

    @staticmethod
    async def _end(due: dict[Expiring, None]) -> None:
        """End all of *due*: ten thousand at once in slices, so that the others don't wait for it."""
        ended = 0
        while due:
            viewer, _ = due.popitem()
            viewer.expired()
            ended += 1
            if ended % _SLICE == 0:
                await asyncio.sleep(0)
