"""Very many viewers of one run in this process, each with a token of its own; on bare sockets, which cost little."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Final, Self, cast

from tests.journeys.churn import events_request, websocket_request
from tests.journeys.in_process import until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

#: Handshakes at the same time.
_AT_ONCE: Final = 100
_TICK: Final = re.compile(rb'"tick":(\d+)')
_CONNECTION: Final = re.compile(rb'"connection":"([^.]+)')


class Listener(asyncio.Protocol):
    """One viewer. `heard` is everything that it was told."""

    def __init__(self, kind: str, token: str) -> None:
        self.kind, self.token = kind, token
        self.heard = bytearray()
        self.ended_at: float | None = None
        self.transport: asyncio.Transport | None = None
        self._came = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.heard += data
        if self.ended_at is None and b'"type":"error"' in data:
            self.ended_at = time.monotonic()
        self._came.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended_at = self.ended_at or time.monotonic()
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


class Listeners:
    """Viewers of *run*, half of them on WebSockets, each with one of *tokens*."""

    def __init__(self, port: int, run: str, tokens: Sequence[str]) -> None:
        self._port, self._run = port, run
        self.members = [Listener(("websocket", "events")[number % 2], token) for number, token in enumerate(tokens)]

    async def __aenter__(self) -> Self:
        waiting = iter(self.members)

        async def come() -> None:
            for member in waiting:
                await self._come(member)

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

    async def _come(self, member: Listener) -> None:
        request = websocket_request if member.kind == "websocket" else events_request
        await asyncio.get_running_loop().create_connection(lambda: member, "127.0.0.1", self._port)
        assert member.transport is not None
        member.transport.write(request(member.token, self._run))
        async with asyncio.timeout(30):
            await member.until(b'"complete":true')
