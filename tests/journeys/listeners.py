"""Very many viewers of one run in this process, each with a token of its own; on bare sockets, which cost little."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Final

from tests.journeys.gathering import Gathering, Guest

if TYPE_CHECKING:
    from collections.abc import Sequence

_TICK: Final = re.compile(rb'"tick":(\d+)')
_CONNECTION: Final = re.compile(rb'"connection":"([^.]+)')


class Listener(Guest):
    """One viewer. `heard` is everything that it was told."""

    def __init__(self, kind: str, token: str) -> None:
        super().__init__(kind)
        self.token = token
        self.heard = bytearray()
        self._came = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.heard += data
        if self.ended_at is None and b'"type":"error"' in data:
            self.ended_at = time.monotonic()
        self._came.set()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._came.set()

    async def until(self, mark: bytes) -> None:
        """Wait until it was told *mark*."""
        while mark not in self.heard:
            assert self.ended_at is None, bytes(self.heard[-500:])
            self._came.clear()
            await self._came.wait()

    @property
    def process(self) -> str:
        """The gateway process that holds it."""
        found = _CONNECTION.search(self.heard)
        assert found is not None
        return found[1].decode()

    @property
    def ticks(self) -> list[int]:
        return [int(number) for number in _TICK.findall(self.heard)]


class Listeners(Gathering[Listener]):
    """Viewers of *run*, each with one of *tokens*."""

    def __init__(self, port: int, run: str, tokens: Sequence[str]) -> None:
        super().__init__(port, run, [Listener(self.kind_of(number), token) for number, token in enumerate(tokens)])

    def _token_of(self, member: Listener, number: int) -> str:
        return member.token

    async def _until_live(self, member: Listener) -> None:
        await member.until(b'"complete":true')
