"""A transport and a peer with behaviour: what a socket does, without one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.transports.sinks import ViewerSink


class FakeTransport(asyncio.Transport):
    """
    Sends when told to; keeps what is unsent and says when that is too much, as a socket's transport does.

    Closing waits for what is unsent, and the loss is told later: `settle` does what the event loop would.
    """

    def __init__(self) -> None:
        super().__init__()
        self.protocol: Any = None
        self.sent = bytearray()
        self._reading = True
        self._buffer = bytearray()
        self._high, self._low = 64 * 1024, 16 * 1024
        self._full = False
        self._closing = False
        self._lost = False
        self.stuck = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None
        self._high, self._low = high, high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._lost:
            return
        self._buffer += data
        if not self.stuck:
            self.take()
        elif len(self._buffer) > self._high and not self._full:
            self._full = True
            self.protocol.pause_writing()

    def take(self, size: int | None = None) -> None:
        """The other side reads *size* bytes, or all."""
        size = len(self._buffer) if size is None else size
        self.sent += self._buffer[:size]
        del self._buffer[:size]
        if self._full and len(self._buffer) <= self._low:
            self._full = False
            self.protocol.resume_writing()

    def pause_reading(self) -> None:
        assert not self._closing, "asyncio refuses that"
        self._reading = False

    def resume_reading(self) -> None:
        assert not self._closing, "asyncio refuses that"
        self._reading = True

    def is_reading(self) -> bool:
        return self._reading

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    def abort(self) -> None:
        self._closing = True
        self._buffer.clear()

    def receive(self, data: bytes) -> None:
        """The other side sends."""
        if not self._closing:
            self.protocol.data_received(data)

    def receive_end(self) -> None:
        """The other side will send nothing more."""
        if not self._closing and not self.protocol.eof_received():
            self.close()

    def settle(self) -> None:
        """What the event loop does later: tell the loss of a connection that is closed and has sent everything."""
        if self._closing and not self._buffer and not self._lost:
            self._lost = True
            self.protocol.connection_lost(None)


class RecordingPeer:
    """Writes down what its sink calls; says *answer* to each message, when it is given one."""

    def __init__(self, answer: bytes = b"") -> None:
        self.calls: list[str] = []
        self.texts: list[str] = []
        self.sink: ViewerSink | None = None
        self._answer = answer

    def connected(self, sink: ViewerSink) -> None:
        self.sink = sink
        self.calls.append("connected")

    def received(self, text: str) -> None:
        self.texts.append(text)
        self.calls.append("received")
        if self._answer and self.sink is not None:
            self.sink.write(self._answer)

    def received_binary(self) -> None:
        self.calls.append("received_binary")
        if self.sink is not None:
            self.sink.close(1003, "only text is spoken here")

    def filled(self) -> None:
        self.calls.append("filled")

    def drained(self) -> None:
        self.calls.append("drained")

    def going_away(self) -> None:
        self.calls.append("going_away")
        if self.sink is not None:
            self.sink.close(1012, "the server is stopping")

    def closed(self) -> None:
        self.calls.append("closed")
