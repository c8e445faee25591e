"""
Thousands of viewers in one process, on bare sockets: each knows when it was told to come back, and little else.
"""

from __future__ import annotations

import asyncio
import resource
import time
from typing import TYPE_CHECKING, Final, Self, cast

from tests.journeys.churn import events_request, websocket_request
from tests.journeys.gateway_process import token
from tests.journeys.in_process import until

if TYPE_CHECKING:
    from types import TracebackType

#: Handshakes at the same time.
_AT_ONCE: Final = 100
#: A token each would be dear to make, and one token for all is more than a gateway allows.
_PER_TOKEN: Final = 250
_LIVE: Final = b'"complete":true'
_TOLD: Final = b'"type":"reconnect"'
_CLOSE_FRAME: Final = 0x88
#: More than the longest thing that is looked for.
_TAIL: Final = 200


class Member(asyncio.Protocol):
    """One viewer. Times are of `time.monotonic`; None for what did not happen."""

    def __init__(self, kind: str, mark: bytes) -> None:
        self.kind = kind
        self.live = asyncio.Event()
        self.marked_at: float | None = None
        self.told_at: float | None = None
        self.ended_at: float | None = None
        self.error: Exception | None = None
        self.transport: asyncio.Transport | None = None
        self._mark = mark
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

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
        self.ended_at, self.error = time.monotonic(), exc
        self.live.set()


class Crowd:
    """*size* viewers of *run*, half of them on WebSockets; *mark* is something that they will be told, once."""

    def __init__(self, port: int, run: str, size: int, mark: bytes) -> None:
        self._port, self._run, self._mark = port, run, mark
        self.members = [Member(("websocket", "events")[number % 2], mark) for number in range(size)]

    async def __aenter__(self) -> Self:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, len(self.members) + 1000), hard), hard))
        waiting = iter(enumerate(self.members))

        async def come() -> None:
            for number, member in waiting:
                await self._come(member, number)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(_AT_ONCE):
                tasks.create_task(come())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self.members:
            if member.transport is not None:
                member.transport.abort()
        await until(lambda: all(member.ended_at for member in self.members if member.transport), "the end of all")

    async def _come(self, member: Member, number: int) -> None:
        request = websocket_request if member.kind == "websocket" else events_request
        credential = token("read:runs", f"read:runs:of_viewers_{number // _PER_TOKEN}")
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: member, "127.0.0.1", self._port)
        transport.write(request(credential, self._run))
        await asyncio.wait_for(member.live.wait(), 30)
        assert member.ended_at is None, f"viewer {number} was not let in"

    @property
    def told(self) -> int:
        return sum(member.told_at is not None for member in self.members)
