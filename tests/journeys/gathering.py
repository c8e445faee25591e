"""Very many viewers on bare sockets, as they come and go together: what the kinds of them have in common."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, Generic, Self, TypeVar, cast

from tests.journeys.churn import events_request, websocket_request
from tests.journeys.in_process import until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

#: Handshakes at the same time.
_AT_ONCE: Final = 100


class Guest(asyncio.Protocol):
    """One viewer, on a WebSocket or of events."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.transport: asyncio.Transport | None = None
        #: When it was over (`time.monotonic`); None while it is not.
        self.ended_at: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended_at = self.ended_at or time.monotonic()


G = TypeVar("G", bound=Guest)


class Gathering(ABC, Generic[G]):
    """*members*, who follow *run* while the block lasts; all are live when it begins."""

    def __init__(self, port: int, run: str, members: Sequence[G]) -> None:
        self._port, self._run = port, run
        self.members = members

    @staticmethod
    def kind_of(number: int) -> str:
        """Half of them are on WebSockets."""
        return ("websocket", "events")[number % 2]

    @abstractmethod
    def _token_of(self, member: G, number: int) -> str: ...

    @abstractmethod
    async def _until_live(self, member: G) -> None: ...

    async def __aenter__(self) -> Self:
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

    async def _come(self, member: G, number: int) -> None:
        request = websocket_request if member.kind == "websocket" else events_request
        credential = self._token_of(member, number)
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: member, "127.0.0.1", self._port)
        transport.write(request(credential, self._run))
        async with asyncio.timeout(60):
            await self._until_live(member)
        assert member.ended_at is None, f"viewer {number} was not let in"
