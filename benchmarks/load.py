"""
The load generator: thousands of viewers in one process, who look at what they receive as little as possible.

Nothing is parsed on the way in. A delivery is found by the mark that each change carries (`marks.py`), wherever it
stands in the received bytes: so frames of a WebSocket, events of a stream and packets of Socket.IO all count alike, and
several changes in one message count as what they are.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import os
import re
import struct
import time
from typing import TYPE_CHECKING, Final, TypeAlias

from benchmarks.marks import LENGTH, NEEDLE, NUMBER, PATTERN
from benchmarks.sockets import HANDSHAKE_SECONDS, Sockets
from benchmarks.tally import Tally
from benchmarks.targets import Transport

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.sockets import Line
    from benchmarks.tally import Counted
    from benchmarks.targets import Opening

#: Viewers who look at every mark, one in so many; the others count them. They are spread evenly over the order in which
#: viewers connected, because a server serves them in some order.
SAMPLED_ONE_IN: Final = 10
#: Handshakes under way at once. With all of them at once the kernel would drop some and try again a second later.
HANDSHAKES: Final = 200
SETTLE_LOOK_SECONDS: Final = 0.02
#: What a mark may end within: a chunk that ends otherwise cuts none in two, but for its needle.
_NEEDLE_BYTES: Final = frozenset(NEEDLE)
_CURSOR: Final = re.compile(rb'"cursor":"([^"]+)"')
_PING, _PONG, _TEXT = 0x89, 0x8A, 0x81

#: Where a viewer looks, and how it comes in there.
Visit: TypeAlias = "tuple[str, Opening]"
#: What is true in the end: by feed, the number of the last change of each of its runs.
Truth: TypeAlias = "Mapping[str, Mapping[int, int]]"


class RefusedViewer(Exception):
    """A server did not take a viewer."""


class LoadGenerator:
    """
    Viewers of one server. Lives in a process of its own (`processes.Remote`).

    Viewers are identified by their place in the list they were connected with.
    """

    def __init__(self) -> None:
        # What is kept here lives as long as its viewers; looking for garbage among them would cost deliveries.
        gc.disable()
        self._tally = Tally()
        self._sockets: Sockets | None = None
        self._feeds: list[str] = []
        self._viewers: list[Viewer] = []

    async def connect(
        self,
        port: int,
        transport: Transport,
        visits: Sequence[Visit],
        one_in: int = SAMPLED_ONE_IN,
        recorded: int = 0,
    ) -> float:
        """
        Connect a viewer for each of *visits*; return the seconds until the last one's handshake was answered.

        One viewer *one_in* is sampled. The first *recorded* viewers keep all that they receive, for `recordings`.

        Raises:
            RefusedViewer: With what the server answered.
        """
        await self.disconnect()
        self._tally = Tally()
        self._sockets = Sockets()
        self._feeds = [feed for feed, _ in visits]
        began = time.monotonic()
        self._viewers = [self._viewer(place, one_in, recorded) for place in range(len(visits))]
        waiting = iter([(opening, viewer) for (_, opening), viewer in zip(visits, self._viewers, strict=True)])
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(HANDSHAKES, len(visits))):
                tasks.create_task(_open_each(waiting, self._sockets, port, transport))
        return time.monotonic() - began

    async def begin(self) -> None:
        """Count from now on (connections that ended: from the beginning)."""
        self._tally.clear()
        for viewer in self._viewers:
            viewer.clear()

    async def hold(self, newest: Mapping[str, int], timeout: float) -> int:
        """Wait until every viewer holds the newest change of its feed, or for *timeout* s; return how many do not."""
        wanted = self._wanted(newest)
        deadline = time.monotonic() + timeout
        while (behind := self._behind(wanted)) and time.monotonic() < deadline:
            await asyncio.sleep(SETTLE_LOOK_SECONDS)
        return behind

    async def calm(self, quiet: float, timeout: float) -> None:
        """Wait until nothing has come for *quiet* seconds, or for *timeout* seconds."""
        deadline = time.monotonic() + timeout
        while time.monotonic_ns() - self._tally.last_at < quiet * 1e9 and time.monotonic() < deadline:
            await asyncio.sleep(SETTLE_LOOK_SECONDS)

    async def settle(self, began_at: int, ended_at: int, truth: Truth, timeout: float, patience: float) -> Counted:
        """
        Wait until every viewer holds the newest change of its feed, and return what was counted.

        Or until nothing has come for *patience* seconds; at most for *timeout* seconds. *began_at* and *ended_at*
        (CLOCK_MONOTONIC, ns) are when the first and the last change were sent.
        """
        wanted = self._wanted({feed: max(runs.values()) for feed, runs in truth.items()})
        deadline, tally = time.monotonic() + timeout, self._tally
        while (behind := self._behind(wanted)) and time.monotonic() < deadline:
            quiet = time.monotonic_ns() - max(tally.last_at, ended_at)
            if quiet > patience * 1e9:
                break
            await asyncio.sleep(SETTLE_LOOK_SECONDS)
        wrong = sum(not viewer.knows(truth[feed]) for feed, viewer in zip(self._feeds, self._viewers, strict=True))
        return tally.counted(began_at, ended_at, len(self._viewers) - behind, wrong)

    async def cursors(self) -> list[str]:
        """The place of each viewer, if it was recorded and its server named one; else ""."""
        return [viewer.cursor() for viewer in self._viewers]

    async def recordings(self) -> list[list[tuple[int, bytes]]]:
        """What the recorded viewers received since `begin`, with the time (CLOCK_MONOTONIC, ns) of each chunk."""
        return [viewer.chunks for viewer in self._viewers if isinstance(viewer, RecordingViewer)]

    async def lost(self) -> int:
        """Connections that ended."""
        return self._tally.lost

    async def disconnect(self) -> None:
        """Close all connections, at once."""
        if self._sockets is not None:
            self._sockets.close()
        self._sockets, self._viewers = None, []
        gc.collect()

    def _viewer(self, place: int, one_in: int, recorded: int) -> Viewer:
        if place < recorded:
            return RecordingViewer(self._tally)
        return (SampledViewer if place % one_in == one_in // 2 else Viewer)(self._tally)

    def _wanted(self, newest: Mapping[str, int]) -> list[bytes]:
        return [b"%010d" % newest[feed] for feed in self._feeds]

    def _behind(self, wanted: Sequence[bytes]) -> int:
        return sum(viewer.newest < number for number, viewer in zip(wanted, self._viewers, strict=True))


async def _open_each(
    waiting: Iterator[tuple[Opening, Viewer]], sockets: Sockets, port: int, transport: Transport
) -> None:
    for opening, viewer in waiting:
        handshake = Handshake(opening, transport, viewer)
        sockets.connect(port, handshake)
        await asyncio.wait_for(handshake.accepted, HANDSHAKE_SECONDS)


class Handshake:
    """Reads a connection until it is a viewer's."""

    tail = b""

    def __init__(self, opening: Opening, transport: Transport, viewer: Viewer) -> None:
        self.accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._received = bytearray()
        self._is_in = False
        self._request = request(opening, transport)
        self._says = list(opening.says) if transport is Transport.WEBSOCKET else []
        self._viewer = viewer
        viewer.answers(opening, transport)

    def opened(self, line: Line) -> None:
        line.send(self._request)

    def received(self, line: Line, buffer: bytearray, start: int, end: int) -> None:
        self._received += buffer[start:end]
        head, complete, _ = self._received.partition(b"\r\n\r\n")
        if not complete:
            return
        if not head.startswith((b"HTTP/1.1 101 ", b"HTTP/1.1 200 ")):
            self._refuse(self._received.decode(errors="replace"))
            return
        while self._says and self._says[0][0] in self._received:
            line.send(text_frame(self._says.pop(0)[1]))
        if not self._says and not self.accepted.done():
            viewer = line.reader = self._viewer
            viewer.received(line, self._received, 0, len(self._received))
            self.accepted.set_result(None)

    def ended(self, line: Line) -> None:
        self._refuse(f"closed after {bytes(self._received)!r}")

    def _refuse(self, why: str) -> None:
        if not self.accepted.done():
            self.accepted.set_exception(RefusedViewer(why))


class Viewer:
    """
    Counts deliveries exactly: whole marks.

    A mark that a chunk's end cuts in two is kept, and seen whole at the beginning of the next one.
    """

    __slots__ = ("_heartbeat", "_pinged", "_tally", "newest", "tail")

    def __init__(self, tally: Tally) -> None:
        self.tail = b""
        #: The number in the last mark, ten digits.
        self.newest = b""
        self._tally = tally
        self._pinged = False
        self._heartbeat: tuple[bytes, bytes] | None = None

    def answers(self, opening: Opening, transport: Transport) -> None:
        """What this viewer must answer."""
        self._pinged = transport is Transport.WEBSOCKET
        if opening.heartbeat is not None:
            asked, answered = opening.heartbeat
            self._heartbeat = bytes((_TEXT, len(asked))) + asked.encode(), text_frame(answered)

    def opened(self, line: Line) -> None:
        pass

    def received(self, line: Line, buffer: bytearray, start: int, end: int) -> None:
        if self._pinged and buffer.find(_PING, start, end) >= 0:
            self._pong(line, buffer, start, end)
        if self._heartbeat is not None and buffer.find(self._heartbeat[0], start, end) >= 0:
            line.send(self._heartbeat[1])
        count = buffer.count(NEEDLE, start, end)
        whole = end
        if count:
            place = buffer.rfind(NEEDLE, start, end)
            if place + LENGTH > end:
                count, whole = count - 1, place
                place = buffer.rfind(NEEDLE, start, place)
            if count:
                self.newest = bytes(buffer[place + NUMBER.start : place + NUMBER.stop])
                self._note(buffer, start, whole, count)
        if whole == end and buffer[end - 1] in _NEEDLE_BYTES:
            whole -= _cut(buffer, start, end)
        self.tail = bytes(buffer[whole:end]) if whole < end else b""

    def _note(self, buffer: bytearray, start: int, end: int, count: int) -> None:
        """There are so many whole marks in a part of *buffer*."""
        tally = self._tally
        tally.deliveries += count
        tally.last_at = time.monotonic_ns()

    def _pong(self, line: Line, buffer: bytearray, start: int, end: int) -> None:
        # What is told here is ASCII, so such a byte is a ping, or belongs to the length of another frame. An answer
        # that nobody asked for is allowed (RFC 6455, section 5.5.3), and so rare that it costs nothing.
        place = buffer.find(_PING, start, end)
        while 0 <= place < end - 1:
            size = buffer[place + 1]
            if size < 126 and 0x7E not in buffer[max(place - 2, 0) : place] and place + 2 + size <= end:
                line.send(struct.pack("!BB4x", _PONG, 0x80 | size) + buffer[place + 2 : place + 2 + size])
            place = buffer.find(_PING, place + 1, end)

    def ended(self, line: Line) -> None:
        self._tally.lost += 1

    def clear(self) -> None:
        """Forget what is counted."""

    def knows(self, truth: Mapping[int, int]) -> bool:
        """Whether it was told *truth*, the number of the last change of each run, as far as it has looked."""
        return True

    def cursor(self) -> str:
        """Its place, as its server named it last; "" when it named none, or this viewer does not keep it."""
        return ""


def _cut(buffer: bytearray, start: int, end: int) -> int:
    """How much of a needle a chunk ends with, when it ends within one."""
    for size in range(len(NEEDLE) - 1, 0, -1):
        if buffer.endswith(NEEDLE[:size], start, end):
            return size
    return 0


class SampledViewer(Viewer):
    """Looks at every mark: its age, from the moment it was sent until it was read here, and what its run is now."""

    __slots__ = ("_known",)

    def __init__(self, tally: Tally) -> None:
        super().__init__(tally)
        self._known: dict[bytes, bytes] = {}

    def _note(self, buffer: bytearray, start: int, end: int, count: int) -> None:
        now = time.monotonic_ns()
        tally = self._tally
        tally.deliveries += count
        tally.last_at = now
        found = PATTERN.findall(buffer, start, end)
        tally.latencies.extend([now - int(at) for _, _, at in found])
        self._known.update({run: number for run, number, _ in found})

    def knows(self, truth: Mapping[int, int]) -> bool:
        return {int(run): int(number) for run, number in self._known.items()} == truth


class RecordingViewer(Viewer):
    """Keeps all that it receives, to be looked at afterwards."""

    __slots__ = ("chunks",)

    def __init__(self, tally: Tally) -> None:
        super().__init__(tally)
        self.chunks: list[tuple[int, bytes]] = []

    def received(self, line: Line, buffer: bytearray, start: int, end: int) -> None:
        self.chunks.append((time.monotonic_ns(), bytes(buffer[start + len(self.tail) : end])))
        super().received(line, buffer, start, end)

    def clear(self) -> None:
        self.chunks = []

    def cursor(self) -> str:
        found = _CURSOR.findall(b"".join(chunk for _, chunk in self.chunks))
        return found[-1].decode() if found else ""


def request(opening: Opening, transport: Transport) -> bytes:
    """The request that a viewer begins with."""
    headers = {"Host": "127.0.0.1", **opening.headers}
    if transport is Transport.WEBSOCKET:
        headers |= {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        }
    else:
        headers["Accept"] = "text/event-stream"
    lines = [f"GET {opening.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def text_frame(text: str) -> bytes:
    """A message as a masked frame. The mask is zero: allowed, if not random, and nothing to compute."""
    message = text.encode()
    if len(message) < 126:
        return struct.pack("!BB4x", _TEXT, 0x80 | len(message)) + message
    return struct.pack("!BBH4x", _TEXT, 0x80 | 126, len(message)) + message
