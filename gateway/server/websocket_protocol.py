"""
A WebSocket up to its handshake, where that is not answered by the short way (handshakes.py): uvicorn's protocol class
with the handover extension (transports/sinks.py).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gateway.server.handover import WebSocketSocket
from gateway.server.heads import BAD_REQUEST, refused
from gateway.transports.sinks import HANDOVER

if TYPE_CHECKING:
    import asyncio

    from gateway.transports.sinks import Peer, SocketLimits

# uvicorn prints whole paths of WebSockets at INFO, and the websockets library all headers at DEBUG: tokens, both.
# Whatever level an operator wants of everything else, not of this.
_handshakes_log = logging.getLogger("runcast.handshakes")
_handshakes_log.setLevel(logging.WARNING)

#: What a viewer may send while its handshake is answered; the rest stays in the socket.
_EARLY_BYTES: Final = 64 * 1024


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket up to its handshake."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.logger = self.conn.logger = _handshakes_log
        self.conn.debug = False
        self._early = bytearray()

    def data_received(self, data: bytes) -> None:
        if self.handshake_initiated:
            # A viewer that did not wait for our answer: these are frames, for whoever reads them after us.
            self._early += data
            if len(self._early) > _EARLY_BYTES and not self.transport.is_closing():
                self.transport.pause_reading()
            return
        super().data_received(data)
        if not self.handshake_initiated:
            # What comes first is the whole request, so the library can't read it, and uvicorn would say nothing.
            self.transport.write(b"".join(self.conn.data_to_send()) or refused(BAD_REQUEST))
            self.transport.close()

    async def run_asgi(self) -> None:
        cast("Any", self.scope)["extensions"][HANDOVER] = self._hand_over
        await super().run_asgi()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # by an HTTP response: uvicorn would log that there was none

    def abort(self) -> None:
        """The server stops, and its time is up."""
        self.transport.abort()

    def _hand_over(self, peer: Peer, limits: SocketLimits) -> None:
        """The handshake is done; from now on frames are read and written without us."""
        self.stop_keepalive()
        self.connections.discard(self)
        socket = WebSocketSocket(self.transport, peer, self.connections, limits)
        self.transport = cast("asyncio.Transport", _NoTransport())
        self.scope["extensions"] = {}
        socket.begin()
        early, self._early = bytes(self._early), bytearray()
        if len(early) > _EARLY_BYTES:
            socket.resume_reading()
        if early:
            socket.data_received(early)


class _NoTransport:
    """What a protocol is left with that has handed its socket over: uvicorn closes it when the app returns."""

    def close(self) -> None:
        pass

    def is_closing(self) -> bool:
        return True
