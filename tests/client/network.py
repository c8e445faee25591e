"""A network between pages and a gateway that has something against some transports."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

from tests.redis_server import free_port

if TYPE_CHECKING:
    from types import TracebackType

#: By how their requests begin.
TRANSPORTS = {b"GET /v1/ws": "websocket", b"GET /v1/events": "sse", b"GET /v1/poll": "poll"}


class _Path:
    """One connection through the network."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.near, self.far = near, far
        #: What it is used for now: a browser uses a connection for one request after another.
        self.transport = ""

    def cut(self) -> None:
        for writer in (self.near, self.far):
            writer.transport.abort()


class Network:
    """
    Forwards to *port*, or whatever is its `target` later, for the duration of its block.

    Transports that are named in `refused` are cut at once, those in `mute` get no answer, and those in `short` are cut
    as soon as something was answered.
    """

    def __init__(self, port: int) -> None:
        self.target = port
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.refused: set[str] = set()
        self.mute: set[str] = set()
        self.short: set[str] = set()
        #: What was asked for, in order.
        self.asked: list[str] = []
        self._paths: set[_Path] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks)

    def open(self, transport: str) -> int:
        """Connections that carry this transport now."""
        return sum(path.transport == transport for path in self._paths)

    def cut(self, *transports: str) -> None:
        """Cut the connections that carry these, or all."""
        for path in list(self._paths):
            if not transports or path.transport in transports:
                path.cut()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        path = _Path(writer, far_writer)
        self._paths.add(path)
        ways = [asyncio.create_task(self._there(path, reader)), asyncio.create_task(self._back(path, far_reader))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        self._paths.discard(path)
        path.cut()
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)

    async def _there(self, path: _Path, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                for start, transport in TRANSPORTS.items():
                    if data.startswith(start):
                        path.transport = transport
                        self.asked.append(transport)
                if path.transport in self.refused:
                    return
                path.far.write(data)
                await path.far.drain()

    async def _back(self, path: _Path, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if path.transport in self.mute:
                    continue
                path.near.write(data)
                await path.near.drain()
                if path.transport in self.short:
                    return
