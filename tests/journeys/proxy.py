"""A network that misbehaves: a TCP proxy between a gateway and Redis that goes silent, or refuses."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

from tests.redis_server import free_port

if TYPE_CHECKING:
    from types import TracebackType

SUBSCRIPTION = b"runcast-gateway-subscription"
_PIECE = 64 * 1024


class _Link:
    """One connection through the proxy."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.near, self.far = near, far
        self.is_subscription = False
        self.passes = asyncio.Event()
        self.passes.set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_PIECE):
                self.is_subscription = self.is_subscription or SUBSCRIPTION in data
                await self.passes.wait()
                writer.write(data)
                await writer.drain()

    def cut(self) -> None:
        self.passes.set()
        for writer in (self.near, self.far):
            writer.transport.abort()


class Proxy:
    """Forwards to *port* for the duration of its block."""

    def __init__(self, port: int) -> None:
        self._target = port
        #: How many came, since the beginning.
        self.connections = 0
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._silent = False

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()

    async def accept(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    async def refuse(self) -> None:
        """Cut all connections, and refuse new ones."""
        if self._server is not None:
            self._server.close()
            for link in list(self._links):
                link.cut()
            await self._server.wait_closed()
            self._server = None
            await asyncio.gather(*self._tasks)

    def fall_silent(self, *, only_subscriptions: bool = False, only_present: bool = False) -> None:
        """
        Forward nothing any more on the connections there are, without closing them.

        With *only_subscriptions* the others, and new ones, go on; with *only_present* new ones do. Without either of
        them new ones are silent too.
        """
        self._silent = not (only_subscriptions or only_present)
        for link in self._links:
            if link.is_subscription or not only_subscriptions:
                link.passes.clear()

    def speak(self) -> None:
        """Forward again, what waited first."""
        self._silent = False
        for link in self._links:
            link.passes.set()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None or not self._server.is_serving():  # it came when all was over
            writer.transport.abort()
            return
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except (OSError, asyncio.CancelledError):  # refused, or came when the test was just over
            writer.transport.abort()
            return
        link = _Link(writer, far_writer)
        if self._server is None or not self._server.is_serving():  # refused while it was on its way
            link.cut()
            return
        if self._silent:
            link.passes.clear()
        self._links.add(link)
        ways = [
            asyncio.create_task(link.carry(reader, far_writer)),
            asyncio.create_task(link.carry(far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._links.discard(link)
            link.cut()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
