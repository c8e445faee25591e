"""
Thousands of viewers who come in the same moment, and stay until each was told everything.

There is no queue of handshakes, and no pause: all connections are opened at once, as after a deployment. Whoever is not
accepted at first is tried again by the kernel.
"""

from __future__ import annotations

import gc
import os
import select
import socket
import time
from dataclasses import dataclass
from enum import Enum, auto
from itertools import islice
from typing import TYPE_CHECKING, Final

from benchmarks.load import request, text_frame
from benchmarks.targets import Transport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.targets import Opening

#: What stands once in each run that is told, and once in the last of them: of one length, so that one tail serves both.
EACH: Final = b"~each~"
LAST: Final = b"~last~"
#: The last run's word is so near to the end of what a viewer gets.
NEAR_END: Final = 2048
#: What is read at once: what stays in the processor's cache between reading and looking.
CHUNK: Final = 128 * 1024
#: Room before a chunk, for the end of the one before: a word may have been cut in two.
ROOM: Final = len(EACH) - 1
#: Connections that are opened between two looks at those that are open.
BURST: Final = 200
#: Viewers who count what they are told, one in so many. Of the others it is known that they have the last of it, and as
#: many bytes.
COUNTING_ONE_IN: Final = 50
#: Snapshots of the same runs differ by no more than this share: ids of connections, heartbeats.
SAME_LENGTH: Final = 0.01
_LOOK_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """What became of the viewers. Seconds count from the first connection."""

    told: int
    #: Closed or turned away; and what the first of them was answered.
    refused: int
    first_refusal: str
    #: Until the first, the middle one and the last were told everything.
    first_seconds: float
    median_seconds: float
    last_seconds: float
    received_bytes: int
    #: What those who count were told at the least and at the most; and whether all others got as many bytes.
    fewest_runs: int
    most_runs: int
    same_length: bool
    #: The share of its core that this process used.
    generator_cpu: float


class _Phase(Enum):
    CONNECTING = auto()
    ASKING = auto()
    LISTENING = auto()
    TOLD = auto()
    REFUSED = auto()


class _Viewer:
    """One who comes."""

    __slots__ = ("bytes", "counts", "head", "opening", "phase", "refusal", "runs", "socket", "tail", "told_at")

    def __init__(self, opening: Opening, *, counts: bool) -> None:
        self.opening, self.counts = opening, counts
        self.socket = socket.socket()
        self.phase = _Phase.CONNECTING
        self.head = self.tail = b""
        self.bytes = self.runs = 0
        self.told_at = 0.0
        self.refusal = ""


class Arrivals:
    """The viewers. Lives in a process of its own (`processes.Remote`), which does nothing else meanwhile."""

    def __init__(self) -> None:
        gc.disable()  # what is kept here is kept until the end
        self._epoll = select.epoll()
        self._buffer = bytearray(ROOM + CHUNK)
        self._chunk = memoryview(self._buffer)[ROOM:]
        self._viewers: dict[int, _Viewer] = {}

    async def arrive(self, port: int, transport: Transport, openings: Sequence[Opening], timeout: float) -> Arrived:
        """Connect a viewer for each opening, all at once; return when all were told LAST, or after *timeout* s."""
        self._transport = transport
        viewers = [_Viewer(opening, counts=not place % COUNTING_ONE_IN) for place, opening in enumerate(openings)]
        coming = iter(viewers)
        self._left = len(viewers)
        began, cpu = time.monotonic(), time.process_time()
        while self._left and time.monotonic() - began < timeout:
            burst = list(islice(coming, BURST))
            for viewer in burst:
                self._connect(viewer, port)
            for number, _ in self._epoll.poll(0 if burst else _LOOK_SECONDS):
                self._look_at(self._viewers[number])
        return _arrived(viewers, began, (time.process_time() - cpu) / (time.monotonic() - began))

    async def leave(self) -> None:
        """Close all connections, at once."""
        for viewer in self._viewers.values():
            viewer.socket.close()
        self._viewers.clear()

    def _connect(self, viewer: _Viewer, port: int) -> None:
        viewer.socket.setblocking(False)
        viewer.socket.connect_ex(("127.0.0.1", port))  # "in progress"; how it ends is told by epoll
        self._viewers[viewer.socket.fileno()] = viewer
        self._epoll.register(viewer.socket, select.EPOLLOUT)

    def _look_at(self, viewer: _Viewer) -> None:
        try:
            if viewer.phase is _Phase.CONNECTING:
                self._ask(viewer)
                return
            size = viewer.socket.recv_into(self._chunk)
        except BlockingIOError:
            return
        except OSError as error:
            self._refused(viewer, f"{error} while {viewer.phase.name.lower()}, after {viewer.bytes} bytes")
            return
        if not size:
            self._refused(viewer, f"closed after {viewer.bytes} bytes of a snapshot; {viewer.head!r}")
        elif viewer.phase is _Phase.ASKING:
            self._let_in(viewer, size)
        else:
            self._hear(viewer, size)

    def _ask(self, viewer: _Viewer) -> None:
        if error := viewer.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, os.strerror(error))
        viewer.socket.send(request(viewer.opening, self._transport))
        viewer.phase = _Phase.ASKING
        self._epoll.modify(viewer.socket, select.EPOLLIN)

    def _let_in(self, viewer: _Viewer, size: int) -> None:
        viewer.head += self._chunk[:size]
        if b"\r\n\r\n" not in viewer.head:
            return
        if not viewer.head.startswith((b"HTTP/1.1 101 ", b"HTTP/1.1 200 ")):
            self._refused(viewer, viewer.head.decode(errors="replace"))
            return
        if self._transport is Transport.WEBSOCKET:
            viewer.socket.send(b"".join(text_frame(text) for _, text in viewer.opening.says))
        viewer.phase = _Phase.LISTENING
        self._hear(viewer, size)  # there may be more than the head, already

    def _hear(self, viewer: _Viewer, size: int) -> None:
        start, end = ROOM - len(viewer.tail), ROOM + size
        self._buffer[start:ROOM] = viewer.tail
        viewer.bytes += size
        if viewer.counts:
            viewer.runs += self._buffer.count(EACH, start, end)
        if viewer.phase is _Phase.LISTENING and self._buffer.find(LAST, max(start, end - NEAR_END), end) >= 0:
            viewer.phase, viewer.told_at = _Phase.TOLD, time.monotonic()
            self._left -= 1
        viewer.tail = bytes(self._buffer[max(start, end - ROOM) : end])

    def _refused(self, viewer: _Viewer, why: str) -> None:
        if viewer.phase is not _Phase.TOLD:
            self._left -= 1
        viewer.phase, viewer.refusal = _Phase.REFUSED, why
        self._epoll.unregister(viewer.socket)


def _arrived(viewers: Sequence[_Viewer], began: float, cpu: float) -> Arrived:
    told = sorted(viewer.told_at - began for viewer in viewers if viewer.phase is _Phase.TOLD)
    refusals = [viewer.refusal for viewer in viewers if viewer.phase is _Phase.REFUSED]
    runs = [viewer.runs for viewer in viewers if viewer.counts]
    sizes = [viewer.bytes for viewer in viewers if viewer.phase is _Phase.TOLD] or [0]
    return Arrived(
        told=len(told),
        refused=len(refusals),
        first_refusal=refusals[0] if refusals else "",
        first_seconds=told[0] if told else 0.0,
        median_seconds=told[len(told) // 2] if told else 0.0,
        last_seconds=told[-1] if told else 0.0,
        received_bytes=sum(sizes),
        fewest_runs=min(runs, default=0),
        most_runs=max(runs, default=0),
        same_length=min(sizes) >= max(sizes) * (1 - SAME_LENGTH),
        generator_cpu=cpu,
    )
