"""
What a transport needs of a connection, and the one that works on any ASGI server.

Our own server (gateway/server) offers `HANDOVER` in the scope's extensions: the app gives it a peer, returns, and from
then on bytes go straight to the socket. Elsewhere `serve_on_asgi` does the same with the server's own `send`, one task
for each connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

Scope = MutableMapping[str, Any]
ASGIMessage = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[ASGIMessage]]
Send = Callable[[ASGIMessage], Awaitable[None]]

#: The ASGI extension: a callable that takes a Peer and SocketLimits, and calls the peer's `connected` with a sink.
HANDOVER: Final = "runcast.handover"


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """What one viewer's socket may hold."""

    #: Unsent bytes at which its peer is told that it is full.
    unsent_bytes: int
    #: A longer message of the viewer closes the socket.
    message_bytes: int


class ViewerSink(Protocol):
    """
    A viewer's socket. Nothing here blocks or fails; on a connection that is gone it does nothing.

    `write` takes bytes as the connection's framing spells them.
    """

    def write(self, data: bytes) -> None: ...

    def close(self, code: int, reason: str) -> None:
        """Say goodbye (a close frame; the end of the response) after what is unsent, and close."""

    def abort(self) -> None:
        """Close now; what is unsent is lost."""

    @property
    def unsent(self) -> int:
        """Bytes that the viewer has not taken yet."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Peer(Protocol):
    """Our side of a viewer's socket: what its sink calls. None of these may block or raise."""

    def connected(self, sink: ViewerSink) -> None:
        """It begins; comes first, and once."""

    def received(self, text: str) -> None:
        """A text message (WebSocket only)."""

    def received_binary(self) -> None:
        """A binary message (WebSocket only)."""

    def filled(self) -> None:
        """More is unsent than we keep for a viewer."""

    def drained(self) -> None:
        """It was sent."""

    def going_away(self) -> None:
        """The server stops: say goodbye and close."""

    def closed(self) -> None:
        """It is over; comes last, and once."""


class _AsgiSink:
    """Keeps what is unsent in memory, up to a limit that it reports; a task sends it."""

    def __init__(self, peer: Peer, limit: int) -> None:
        self._peer = peer
        self._limit = limit
        self._pieces: list[bytes] = []
        self._unsent = 0
        self._full = False
        self._wake = asyncio.Event()
        self.goodbye: tuple[int, str] | None = None
        self.aborted = asyncio.Event()
        #: Set while the peer wants to hear; the server holds back what it is not asked for.
        self.reads = asyncio.Event()
        self.reads.set()

    @property
    def unsent(self) -> int:
        return self._unsent

    def write(self, data: bytes) -> None:
        if self.goodbye is not None:
            return
        self._pieces.append(data)
        self._unsent += len(data)
        self._wake.set()
        if self._unsent > self._limit and not self._full:
            self._full = True
            self._peer.filled()

    def close(self, code: int, reason: str) -> None:
        if self.goodbye is None:
            self.goodbye = (code, reason)
            self._wake.set()

    def abort(self) -> None:
        self.close(1011, "")
        self.aborted.set()

    def pause_reading(self) -> None:
        self.reads.clear()

    def resume_reading(self) -> None:
        self.reads.set()

    async def pump(self, send_piece: Callable[[bytes], Awaitable[None]]) -> None:
        """Send until told to close."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pieces:
                data, self._pieces = b"".join(self._pieces), []
                await send_piece(data)
                self._unsent -= len(data)
                if self._full and self._unsent <= self._limit // 4:
                    self._full = False
                    self._peer.drained()
            if self.goodbye is not None:
                return


async def serve_on_asgi(
    peer: Peer,
    receive: Receive,
    send_piece: Callable[[bytes], Awaitable[None]],
    say_goodbye: Callable[[int, str], Awaitable[None]],
    *,
    unsent_limit: int,
) -> None:
    """Serve *peer* with what any ASGI server offers, until either side closes."""
    sink = _AsgiSink(peer, unsent_limit)
    peer.connected(sink)
    pump = asyncio.create_task(sink.pump(send_piece), name="viewer writes")
    tasks = {
        pump,
        asyncio.create_task(_hear(peer, sink, receive), name="viewer reads"),
        asyncio.create_task(sink.aborted.wait(), name="viewer aborts"),
    }
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if pump.done() and sink.goodbye is not None and pump.exception() is None:
            with contextlib.suppress(OSError, RuntimeError):  # it went first
                await say_goodbye(*sink.goodbye)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        peer.closed()


async def _hear(peer: Peer, sink: _AsgiSink, receive: Receive) -> None:
    while True:
        await sink.reads.wait()
        message = await receive()
        if message["type"] in ("websocket.disconnect", "http.disconnect"):
            return
        if message.get("text") is not None:
            peer.received(message["text"])
        elif message.get("bytes") is not None:
            peer.received_binary()
