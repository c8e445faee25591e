"""A network between pages and a gateway that has something against some transports."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

from tests.redis_server import free_port

if TYPE_CHECKING:
    from types import TracebackType

#: By how their requests begin.
TRANSPORTS = {
    b"GET /v1/ws": "websocket",
    b"GET /v1/events": "sse",
    b"GET /v1/poll": "poll",
    b"GET /v1/runs/": "poll",  # a stream's pages
}


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

    Transports that are named in `refused` are cut at once, those in `mute` get no answer, those in `deaf` are not heard
    after their request, and those in `short` are cut as soon as something was answered.
    """

    def __init__(self, port: int) -> None:
        self.target = port
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.refused: set[str] = set()
        self.mute: set[str] = set()
        self.deaf: set[str] = set()
        self.short: set[str] = set()
        #: How many answers were cut in the middle.
        self.cut_short = 0
        #: What was asked for, in order.
        self.asked: list[str] = []
        self._room: int | None = None
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

    def cut_after(self, size: int) -> None:
        """Cut whatever carries the last one of the next *size* bytes that transports are answered."""
        self._room = size

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
                asked = next((name for start, name in TRANSPORTS.items() if data.startswith(start)), None)
                if asked:
                    path.transport = asked
                    self.asked.append(asked)
                if path.transport in self.refused:
                    return
                if path.transport in self.deaf and not asked:
                    continue
                path.far.write(data)
                await path.far.drain()

    async def _back(self, path: _Path, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if path.transport in self.mute:
                    continue
                short = path.transport in self.short
                if path.transport and self._room is not None:
                    data = data[: self._room]
                    self._room -= len(data)
                    if not self._room:
                        self._room, short = None, True
                        self.cut_short += 1
                path.near.write(data)
                await path.near.drain()
                if short:
                    return
