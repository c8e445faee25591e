"""
A viewer's socket after the handshake: nothing of the request is left, only the transport, its peer, and what reading
needs. Bytes that the hub writes go straight to the transport, without a task, queue or await.

The transport's own buffer is the only place where something waits to be sent. It tells us when it holds more than we
keep for a viewer, and when that has gone out.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from websockets.exceptions import InvalidState, ProtocolError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Protocol, Side, State

if TYPE_CHECKING:
    from gateway.transports.sinks import Peer, SocketLimits

# Below WARNING the library says what is in each frame, and with it viewers' tokens. Whatever level an operator
# wants of everything else, not of this.
_frames_log = logging.getLogger("runcast.frames")
_frames_log.setLevel(logging.WARNING)

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
            if code == CloseCode.NORMAL_CLOSURE:
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
            self._transport.write(b"0\r\n\r\n")  # RFC 9112, section 7.1: a clean end
        self._transport.close()


class WebSocketSocket(HandedOver):
    """A WebSocket: frames in by the websockets library, frames out as the hub has spelled them."""

    __slots__ = ("_fragments", "_reader")

    def __init__(self, transport: asyncio.Transport, peer: Peer, connections: set[Any], limits: SocketLimits) -> None:
        # A fresh one, because what the handshake needed is three times as large as what is needed now.
        self._reader = Protocol(Side.SERVER, state=State.OPEN, max_size=limits.message_bytes, logger=_frames_log)
        # One buffer, because fragments may be empty and without end: a list of them would grow for ever.
        self._fragments: bytearray | None = None
        super().__init__(transport, peer, connections, limits)

    def data_received(self, data: bytes) -> None:
        self._reader.receive_data(data)
        self._take_events()

    def _take_events(self) -> None:
        for frame in self._reader.events_received():
            if isinstance(frame, Frame) and not self._closing:
                self._take(frame)
        # Pongs and close frames, which the library has made; after a close frame of ours, nothing else.
        self._send_answers()

    def _take(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.TEXT if frame.fin:
                self._text(bytes(frame.data))
            case Opcode.TEXT:
                self._fragments = bytearray(frame.data)
            case Opcode.CONT if self._fragments is not None:
                self._fragments += frame.data
                if frame.fin:
                    whole, self._fragments = bytes(self._fragments), None
                    self._text(whole)
            case Opcode.BINARY:
                self._peer.received_binary()
            case _:
                pass  # pings and pongs: the library answers them

    def _text(self, data: bytes) -> None:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            self.close(CloseCode.INVALID_DATA, "not UTF-8")
            return
        self._peer.received(text)

    def _send_answers(self) -> None:
        for answer in self._reader.data_to_send():
            if answer:
                self._transport.write(answer)
            else:  # the library's mark for: close your side
                self._transport.close()
        if self._reader.state is not State.OPEN:
            self._closing = True
            self._cut_soon()

    def _say_goodbye(self, code: int, reason: str) -> None:
        try:
            self._reader.send_close(code, reason[:100])
        except InvalidState:
            pass  # the viewer was faster: its own goodbye, or what is wrong with its frames, is being answered
        except ProtocolError:
            self._transport.close()
            return
        self._send_answers()
