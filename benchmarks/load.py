"""
The load generator: thousands of viewers in one process, who look at what they receive as little as possible.

Nothing is parsed on the way in. A delivery is found by the mark that each change carries (`changes.py`) wherever it
stands in the received bytes, so frames of a WebSocket, events of a stream and chunks of HTTP all count alike, and
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
from typing import TYPE_CHECKING, Final, cast

from benchmarks.changes import MARK, PROGRESS, split_marks
from benchmarks.tally import Tally
from benchmarks.targets import Transport

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.tally import Counted
    from benchmarks.targets import Target

#: Viewers who record the latency of every delivery, one in so many; the others count deliveries. They are spread
#: evenly over the order in which viewers connected, because a gateway serves them in some order.
SAMPLED_ONE_IN: Final = 10
#: Handshakes under way at once. With all of them at once the kernel would drop some and try again a second later.
HANDSHAKES: Final = 200
HANDSHAKE_SECONDS: Final = 30.0
SETTLE_LOOK_SECONDS: Final = 0.02
_CURSOR: Final = re.compile(rb'"cursor":"([^"]+)"')
_PING, _PONG, _TEXT = 0x89, 0x8A, 0x81


class RefusedViewer(Exception):
    """A gateway did not take a viewer."""


class LoadGenerator:
    """
    Viewers of one gateway. Lives in a process of its own (`processes.Remote`).

    Viewers are identified by their place in the list they were connected with.
    """

    def __init__(self) -> None:
        # What is kept here lives as long as its viewers; looking for garbage in it would cost deliveries.
        gc.disable()
        self._tally = Tally()
        self._viewers: dict[int, _Viewer] = {}

    async def connect(
        self,
        target: Target,
        port: int,
        transport: Transport,
        runs: Sequence[str],
        number: int,
        cursors: Sequence[str] = (),
    ) -> float:
        """
        Connect a viewer for each of *runs*; return the seconds until each holds change *number* of its run, or later.

        With *cursors*, one per viewer, they come back from where they were.

        Raises:
            RefusedViewer: With what the gateway answered.
        """
        began = time.monotonic()
        openings = enumerate(
            _Opening(_request(target, transport, run, cursor), _greeting(target, transport, run, cursor), number)
            for run, cursor in zip(runs, cursors or [""] * len(runs), strict=True)
        )
        await self.disconnect()
        self._tally = Tally()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(HANDSHAKES, len(runs))):
                tasks.create_task(self._open_each(openings, port))
        return time.monotonic() - began

    async def _open_each(self, openings: Iterator[tuple[int, _Opening]], port: int) -> None:
        for place, opening in openings:
            await opening.connect(port)
            kind = _SampledViewer if place % SAMPLED_ONE_IN == SAMPLED_ONE_IN // 2 else _Viewer
            self._viewers[place] = kind(opening, self._tally)

    async def begin(self) -> None:
        """Count from now on (connections that ended: from the beginning)."""
        self._tally.clear()

    async def settle(self, began_at: int, ended_at: int, number: int, timeout: float) -> Counted:
        """
        Wait until every viewer holds change *number*, or for *timeout* seconds, and return what was counted.

        *began_at* and *ended_at* (CLOCK_MONOTONIC, ns) are when the first and the last change were sent.
        """
        deadline = time.monotonic() + timeout
        while self._up_to_date(number) < len(self._viewers) and time.monotonic() < deadline:
            await asyncio.sleep(SETTLE_LOOK_SECONDS)
        return self._tally.counted(began_at, ended_at, self._up_to_date(number))

    def _up_to_date(self, number: int) -> int:
        return sum(viewer.number() == number for viewer in self._viewers.values())

    async def cursors(self) -> list[str]:
        """Each viewer's place, as its gateway named it; "" where it names none."""
        return [self._viewers[place].cursor() for place in range(len(self._viewers))]

    async def disconnect(self) -> None:
        """Close all connections, at once."""
        for viewer in self._viewers.values():
            viewer.leave()
        self._viewers = {}
        await asyncio.sleep(0)


class _Opening(asyncio.Protocol):
    """A connection until its viewer has been told the present state."""

    transport: asyncio.Transport

    def __init__(self, request: bytes, greeting: bytes, number: int) -> None:
        self.received = b""
        self._request = request
        self._greeting = greeting
        self._number = number
        self._accepted = False
        self._told: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self, port: int) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", port)
        try:
            await asyncio.wait_for(self._told, HANDSHAKE_SECONDS)
        except BaseException:
            self.transport.abort()
            raise

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so
        self.transport.write(self._request)

    def data_received(self, chunk: bytes) -> None:
        self.received += chunk
        if not self._accepted and b"\r\n\r\n" in self.received:
            self._accept()
        if any(number >= self._number for _, number, _ in split_marks(self.received)) and not self._told.done():
            self._told.set_result(None)

    def _accept(self) -> None:
        head = self.received.partition(b"\r\n\r\n")[0]
        if head.startswith((b"HTTP/1.1 101 ", b"HTTP/1.1 200 ")):
            self._accepted = True
            self.transport.write(self._greeting)
        else:
            self._refuse(self.received.decode(errors="replace"))

    def connection_lost(self, error: Exception | None) -> None:
        self._refuse(f"closed ({error}) after {self.received!r}")

    def _refuse(self, why: str) -> None:
        if not self._told.done():
            self._told.set_exception(RefusedViewer(why))


class _Viewer(asyncio.Protocol):
    """
    Counts deliveries exactly.

    Of what it received it keeps the end, from the last mark on: what a chunk cut in two is whole with the next one,
    and the last value is at hand.
    """

    __slots__ = ("_first_cursor", "_tail", "_tally", "_transport")

    def __init__(self, opening: _Opening, tally: Tally) -> None:
        found = _CURSOR.findall(opening.received)
        self._first_cursor: bytes = found[-1] if found else b""
        self._tail = opening.received[opening.received.rfind(MARK) :]
        self._tally = tally
        self._transport = opening.transport
        self._transport.set_protocol(self)

    def data_received(self, chunk: bytes) -> None:
        if chunk[0] == _PING:
            self._answer_ping(chunk)
        data = self._tail + chunk
        last = data.rfind(MARK)
        if last:
            tally = self._tally
            tally.deliveries += data.count(MARK) - 1  # the first one was counted with an earlier chunk
            tally.last_at = time.monotonic_ns()
            data = data[last:]
        self._tail = data

    def _answer_ping(self, chunk: bytes) -> None:
        # Among other data a ping is overlooked. A server that hears nothing for so long that it ends the connection
        # would be noticed: the viewer is counted as lost.
        payload = chunk[2 : 2 + chunk[1]]
        self._transport.write(struct.pack("!BB4x", _PONG, 0x80 | len(payload)) + payload)

    def connection_lost(self, error: Exception | None) -> None:
        self._tally.lost += 1

    def number(self) -> int:
        """The number of the last change it was told; 0 when that was cut in two."""
        match = PROGRESS.match(self._tail)
        return int(match[1]) if match else 0

    def cursor(self) -> str:
        found = _CURSOR.findall(self._tail)
        return (found[-1] if found else self._first_cursor).decode()

    def leave(self) -> None:
        self._transport.abort()


class _SampledViewer(_Viewer):
    """Also records the latency of every delivery: from the moment it was sent until its bytes were read here."""

    __slots__ = ()

    def data_received(self, chunk: bytes) -> None:
        now = time.monotonic_ns()
        if chunk[0] == _PING:
            self._answer_ping(chunk)
        data = self._tail + chunk
        marks = list(split_marks(data))[1:]
        if marks:
            self._tally.deliveries += len(marks)
            self._tally.latencies.extend([now - sent_at for _, _, sent_at in marks])
            self._tally.last_at = now
            data = data[marks[-1][0] :]
        self._tail = data


def _request(target: Target, transport: Transport, run: str, cursor: str) -> bytes:
    headers = {"Host": "127.0.0.1", **target.headers(transport, cursor)}
    if transport is Transport.WEBSOCKET:
        headers |= {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        }
    else:
        headers["Accept"] = "text/event-stream"
    lines = [f"GET {target.path(transport, run)} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def _greeting(target: Target, transport: Transport, run: str, cursor: str) -> bytes:
    """The first message as a masked frame. The mask is zero: allowed, if not random, and nothing to compute."""
    message = target.first_message(run, cursor).encode()
    if transport is Transport.SSE or not message:
        return b""
    if len(message) < 126:
        return struct.pack("!BB4x", _TEXT, 0x80 | len(message)) + message
    return struct.pack("!BBH4x", _TEXT, 0x80 | 126, len(message)) + message
