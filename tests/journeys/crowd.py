"""
Thousands of viewers in one process, on bare sockets: each knows when it was told to come back, and little else.
"""

from __future__ import annotations

import asyncio
import resource
import time
from typing import Final, Self

from tests.journeys.gateway_process import token
from tests.journeys.gathering import Gathering, Guest

#: A token each would be dear to make, and one token for all is more than a gateway allows.
_PER_TOKEN: Final = 250
_LIVE: Final = b'"complete":true'
_TOLD: Final = b'"type":"reconnect"'
_CLOSE_FRAME: Final = 0x88
#: More than the longest thing that is looked for.
_TAIL: Final = 200


class Member(Guest):
    """One viewer. Times are of `time.monotonic`; None for what did not happen."""

    def __init__(self, kind: str, mark: bytes) -> None:
        super().__init__(kind)
        self.live = asyncio.Event()
        self.marked_at: float | None = None
        self.told_at: float | None = None
        self.error: Exception | None = None
        self._mark = mark
        self._tail = b""

    def data_received(self, data: bytes) -> None:
        now, seen = time.monotonic(), self._tail + data
        if _LIVE in seen:
            self.live.set()
        if self.marked_at is None and self._mark in seen:
            # It must have come before the goodbye, if that is in the same piece.
            assert self.told_at is None
            assert _TOLD not in seen or seen.index(self._mark) < seen.index(_TOLD)
            self.marked_at = now
        if self.told_at is None and _TOLD in seen:
            self.told_at = now
        if self.kind == "websocket" and self.told_at is not None and _CLOSE_FRAME in seen and self.transport:
            self.transport.close()
        self._tail = seen[-_TAIL:]

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.error = exc
        self.live.set()


class Crowd(Gathering[Member]):
    """*size* viewers of *run*; *mark* is something that they will be told, once."""

    def __init__(self, port: int, run: str, size: int, mark: bytes) -> None:
        super().__init__(port, run, [Member(self.kind_of(number), mark) for number in range(size)])

    async def __aenter__(self) -> Self:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, len(self.members) + 1000), hard), hard))
        return await super().__aenter__()

    def _token_of(self, member: Member, number: int) -> str:
        return token("read:runs", f"read:runs:of_viewers_{number // _PER_TOKEN}")

    async def _until_live(self, member: Member) -> None:
        await member.live.wait()

    @property
    def told(self) -> int:
        return sum(member.told_at is not None for member in self.members)
