"""
Thousands of connections of one process, read with as little as Python allows.

No transport, protocol or stream of an event loop is in the way: one epoll tells which sockets have something, each is
read into the same large buffer, and whoever the bytes are for looks at them there. Nothing is copied or allocated,
however much has come.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import time
from typing import Final, Protocol

#: What is read at once. More would not stay in the processor's cache between reading and looking.
CHUNK: Final = 128 * 1024
#: Room before a chunk, for what a reader kept of the one before.
ROOM: Final = 256
#: Sockets that are told about at once, and how long reading may go on before the event loop has its turn.
MOST_EVENTS: Final = 512
TURN_SECONDS: Final = 0.02
#: A server has so long to take a connection, and as long again to answer its handshake.
HANDSHAKE_SECONDS: Final = 30.0

# Edge-triggered: each arrival is told once, and a socket that has been read is not looked at again.
_EVENTS: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
_ENDED: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


class Line:
    """One open connection, and who its bytes are for."""

    __slots__ = ("reader", "socket")

    def __init__(self, connected: socket.socket, reader: Reader) -> None:
        self.socket = connected
        self.reader = reader

    def send(self, data: bytes) -> None:
        """Send something small. Nobody here says so much that it would not fit at once."""
        with contextlib.suppress(OSError):  # that a connection has ended is told by reading it
            self.socket.send(data)


class Reader(Protocol):
    """Who the bytes of a connection are for."""

    @property
    def tail(self) -> bytes:
        """What it wants to see once more, before the next chunk: at most ROOM bytes."""

    def opened(self, line: Line) -> None:
        """The connection is there."""

    def received(self, line: Line, buffer: bytearray, start: int, end: int) -> None:
        """Look at a part of *buffer*, which will be written over. It begins with `tail`."""

    def ended(self, line: Line) -> None:
        """The other side has closed it."""


class Sockets:
    """Connections to ports of loopback, read in the running event loop."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._lines: dict[int, Line] = {}
        self._buffer = bytearray(ROOM + CHUNK)
        self._chunk = memoryview(self._buffer)[ROOM:]
        # An epoll is a file that can be waited for like any other.
        asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._read)

    def connect(self, port: int, reader: Reader) -> Line:
        """
        Open a connection for *reader*, who is told when it is there.

        Waits for it: on loopback it is there at once, unless the server's backlog is full.
        """
        connected = socket.create_connection(("127.0.0.1", port), HANDSHAKE_SECONDS)
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line = Line(connected, reader)
        self._lines[connected.fileno()] = line
        self._epoll.register(connected, _EVENTS)
        reader.opened(line)
        return line

    def close(self) -> None:
        """Close all connections, at once and without saying so. Nothing can be opened afterwards."""
        asyncio.get_running_loop().remove_reader(self._epoll.fileno())
        self._epoll.close()
        for line in self._lines.values():
            line.socket.close()
        self._lines.clear()

    def _read(self) -> None:
        """
        Read what has come, and what comes meanwhile.

        To go back to the event loop after each arrival would cost more than reading it.
        """
        poll, lines, buffer, chunk = self._epoll.poll, self._lines, self._buffer, self._chunk
        until = time.monotonic() + TURN_SECONDS
        while events := poll(0, MOST_EVENTS):
            for number, kind in events:
                line = lines.get(number)
                if line is None:
                    continue
                size = CHUNK
                # Less than a whole chunk means that there was no more, and so does nothing; unless the end is near.
                while size == CHUNK or (size and kind & _ENDED):
                    try:
                        size = line.socket.recv_into(chunk)
                    except BlockingIOError:
                        break
                    except OSError:
                        size = 0
                    if not size:
                        self._end(line)
                        break
                    reader = line.reader
                    if tail := reader.tail:
                        start = ROOM - len(tail)
                        buffer[start:ROOM] = tail
                        reader.received(line, buffer, start, ROOM + size)
                    else:
                        reader.received(line, buffer, ROOM, ROOM + size)
            if time.monotonic() > until:
                break

    def _end(self, line: Line) -> None:
        del self._lines[line.socket.fileno()]
        line.socket.close()
        line.reader.ended(line)
