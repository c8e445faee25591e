"""
uvicorn's protocol classes with three additions: the handover extension (transports/sinks.py), a time limit for the
request itself, and no log line with a query in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gateway.server.handover import ResponseSocket, WebSocketSocket
from gateway.transports.sinks import HANDOVER

if TYPE_CHECKING:
    import asyncio

    from gateway.transports.sinks import Peer, SocketLimits


#: How long a connection may take to say what it wants.
REQUEST_SECONDS: Final = 10.0


class HttpProtocol(HttpToolsProtocol):
    """One HTTP connection."""

    _request_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_request()

    def _expect_request(self) -> None:
        # uvicorn waits for ever for the rest of a request; whoever sends it byte by byte holds a socket.
        if self._request_timer is None:
            self._request_timer = self.loop.call_later(REQUEST_SECONDS, self.transport.close)

    def _request_came(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_request()
        cast("Any", self.scope)["extensions"] = {HANDOVER: self._hand_over}

    def on_headers_complete(self) -> None:
        self._request_came()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._request_came()
        super().connection_lost(exc)

    def _hand_over(self, peer: Peer, limits: SocketLimits) -> None:
        """The response has begun; from now on its body is written by the peer, and we are no longer needed."""
        cycle = self.cycle
        cycle.response_complete = True  # for the app's task, which returns now
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        socket = ResponseSocket(self.transport, peer, self.connections, limits, chunked=bool(cycle.chunked_encoding))
        # These two hold each other, the scope and the headers, through the extension: let them go now,
        # not when the garbage collector comes.
        cast("Any", self.scope)["extensions"] = {}
        socket.begin()


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket up to its handshake."""

    async def run_asgi(self) -> None:
        cast("Any", self.scope)["extensions"][HANDOVER] = self._hand_over
        await super().run_asgi()

    def _hand_over(self, peer: Peer, limits: SocketLimits) -> None:
        """The handshake is done; from now on frames are read and written without us."""
        self.stop_keepalive()
        self.connections.discard(self)
        socket = WebSocketSocket(self.transport, peer, self.connections, limits)
        self.transport = cast("asyncio.Transport", _NoTransport())
        self.scope["extensions"] = {}
        self._pass_on(socket)

    def _pass_on(self, socket: WebSocketSocket) -> None:
        """What the viewer sent right behind its handshake was read by us."""
        socket.begin()
        while not self.queue.empty():
            message = cast("Any", self.queue.get_nowait())
            if message["type"] == "websocket.receive" and message.get("text") is not None:
                socket.receive_early(message["text"])
        if self.read_paused:
            socket.resume_reading()
        rest = bytes(self.conn.reader.buffer)
        if rest:
            socket.data_received(rest)


class _NoTransport:
    """What a protocol is left with that has handed its socket over: uvicorn closes it when the app returns."""

    def close(self) -> None:
        pass

    def is_closing(self) -> bool:
        return True
