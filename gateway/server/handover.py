"""
A viewer's socket after the handshake: nothing of the request is left, only the transport, its peer, and what reading
needs. Bytes that the hub writes go straight to the transport, without a task, queue or await.

The transport's own buffer is the only place where something waits to be sent. It tells us when it holds more than we
keep for a viewer, and when that has gone out.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any, Final

from gateway.server.frames import (
    INVALID_DATA,
    NORMAL,
    Incoming,
    Opcode,
    Violation,
    check_close,
    close_frame,
    control_frame,
)

if TYPE_CHECKING:
    from gateway.transports.sinks import Peer, SocketLimits

#: Holds back what does not fill a packet; Linux has it.
_CORK: Final[int | None] = getattr(socket, "TCP_CORK", None)

#: How long a peer may take, after our goodbye, to take what is unsent and to close before the connection is cut.
_CLOSE_SECONDS: Final = 5.0
#: As long as it takes something it may take its time for the end of its runs: cut off, it would come back and ask for
#: the same again, and a slow viewer would never see it.
_LAST_WORDS_SECONDS: Final = 60.0


class HandedOver(asyncio.Protocol):
    """What both kinds of sockets have in common. Is the sink of its peer (transports/sinks.py: ViewerSink)."""

    __slots__ = ("_closing", "_connections", "_gone", "_peer", "_timer", "_transport")

    def __init__(self, transport: asyncio.Transport, peer: Peer, connections: set[Any], limits: SocketLimits) -> None:
        self._transport = transport
        self._peer = peer
        self._closing = False
        self._gone = False
        self._timer: asyncio.TimerHandle | None = None
        self._connections = connections  # uvicorn's: whom it tells to go when it stops, and waits for
        connections.add(self)
        transport.set_protocol(self)
        if not transport.is_closing():  # uvloop's raises when its viewer left before the answer began
            transport.set_write_buffer_limits(high=limits.unsent_bytes)

    def begin(self) -> None:
        """Tell the peer; only now, because it may close at once."""
        # It may have gone while the app was still answering; then the loss was told to the protocol before us.
        gone = self._transport.is_closing()
        if gone:
            self._closing = True  # what is written from now on is dropped: uvloop's transport would raise
        self._peer.connected(self)
        if gone:
            self._over()

    @property
    def closing(self) -> bool:
        """Whether a goodbye was said, by either side."""
        return self._closing

    # The sink.

    def write(self, data: bytes) -> None:
        if not self._closing:
            self._transport.write(data)

    @property
    def unsent(self) -> int:
        return self._transport.get_write_buffer_size()

    def close(self, code: int, reason: str) -> None:
        if not self._closing:
            self._closing = True
            self._say_goodbye(code, reason)
            if code == NORMAL:
                self._cut_when_stuck(self.unsent + 1)
            else:
                self._cut_soon()

    def _cut_when_stuck(self, unsent_before: int) -> None:
        if self._gone:
            return
        if self.unsent < unsent_before:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_LAST_WORDS_SECONDS, self._cut_when_stuck, self.unsent)
        else:
            self._transport.abort()

    def _cut_soon(self) -> None:
        """Closing waits for what is unsent; whoever does not take that must not be kept for ever."""
        if self._timer is None and not self._gone:
            self._timer = asyncio.get_running_loop().call_later(_CLOSE_SECONDS, self._transport.abort)

    def _say_goodbye(self, code: int, reason: str) -> None:
        """Whatever the kind of socket calls a clean end."""
        self._transport.close()

    def abort(self) -> None:
        self._closing = True
        self._transport.abort()

    def pause_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # The transport.

    def pause_writing(self) -> None:
        self._peer.filled()

    def resume_writing(self) -> None:
        self._peer.drained()

    def eof_received(self) -> bool:
        self._closing = True
        self._cut_soon()
        return False  # a half-closed connection is closed: nobody speaks our protocols that way

    def connection_lost(self, exc: Exception | None) -> None:
        self._over()

    def _over(self) -> None:
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        if not self._gone:
            self._gone = True
            self._connections.discard(self)
            self._peer.closed()

    # The server.

    def shutdown(self) -> None:
        """The server stops, and this viewer's turn has come."""
        self._peer.going_away()


class ResponseSocket(HandedOver):
    """A response whose body goes on: Server-Sent Events. What the viewer sends is not read any more."""

    __slots__ = ("_chunked",)

    def __init__(
        self, transport: asyncio.Transport, peer: Peer, connections: set[Any], limits: SocketLimits, *, chunked: bool
    ) -> None:
        self._chunked = chunked
        super().__init__(transport, peer, connections, limits)

    def data_received(self, data: bytes) -> None:
        """A pipelined request behind an endless response: it will never be answered, and is not kept."""

    def _say_goodbye(self, code: int, reason: str) -> None:
        if self._chunked:
            self._end_with_the_connection()
            self._transport.write(b"0\r\n\r\n")  # RFC 9112, section 7.1: a clean end
        self._transport.close()

    def _end_with_the_connection(self) -> None:
        """
        Have the end of the response leave in one packet with that of its connection, where there are packets.

        Else a client might ask for something else in between, and have no answer. That this is the last response can't
        be said in its head: Node takes one that says `connection: close` for whole, however it ends.
        """
        connected = self._transport.get_extra_info("socket")
        if _CORK is not None and connected is not None and connected.family in (socket.AF_INET, socket.AF_INET6):
            with contextlib.suppress(OSError):  # it has gone
                connected.setsockopt(socket.IPPROTO_TCP, _CORK, 1)


class WebSocketSocket(HandedOver):
    """A WebSocket: what the viewer says is read here (frames.py), what it is told comes as the hub has spelled it."""

    __slots__ = ("_incoming",)

    def __init__(self, transport: asyncio.Transport, peer: Peer, connections: set[Any], limits: SocketLimits) -> None:
        self._incoming = Incoming(limits.message_bytes)
        super().__init__(transport, peer, connections, limits)

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return  # both sides have said goodbye, or nothing that follows counts
        answers: list[bytes] = []
        violation: Violation | None = None
        try:
            for opcode, payload in self._incoming.receive(data):
                if opcode is Opcode.CLOSE:
                    check_close(payload)
                    self._answer_goodbye(answers, payload)
                    return
                if opcode is Opcode.PING:
                    answers.append(control_frame(Opcode.PONG, payload))
                elif not self._closing:
                    self._take(opcode, payload)
        except Violation as found:
            violation = found
        if answers and not self._closing:  # after a goodbye, nothing else
            self._transport.write(b"".join(answers))
        if violation is not None:
            self._fail(violation)

    def _take(self, opcode: Opcode, payload: bytes) -> None:
        if opcode is Opcode.BINARY:
            self._peer.received_binary()
        elif opcode is Opcode.TEXT:
            try:
                text = payload.decode()
            except UnicodeDecodeError:
                raise Violation(INVALID_DATA, "not UTF-8") from None
            self._peer.received(text)

    def _answer_goodbye(self, answers: list[bytes], payload: bytes) -> None:
        """The viewer's goodbye is answered with the same, or is the answer to ours; then the connection ends."""
        if not self._closing:
            answers.append(control_frame(Opcode.CLOSE, payload))
            self._transport.write(b"".join(answers))
        self._end()

    def _fail(self, violation: Violation) -> None:
        if not self._closing:
            self._transport.write(close_frame(violation.code, violation.reason))
        self._end()

    def _end(self) -> None:
        self._closing = True
        self._transport.close()
        self._cut_soon()

    def _say_goodbye(self, code: int, reason: str) -> None:
        # The viewer's answer is waited for: a connection that is closed before it has read all would lose the rest.
        self._transport.write(close_frame(code, reason))
