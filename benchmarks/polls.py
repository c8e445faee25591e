"""
The load generator of long polls: viewers who speak the official client's protocol, and nothing else.

Each asks for a snapshot, then polls, and polls again in the moment in which it is answered, with the requests and
headers that the official client sends in Node. A body that many are sent is read once: what it costs to look at the
same bytes again is a look into a dictionary. So each viewer knows what it was told of every run, and it can be proven
at the end that nothing was lost, repeated or turned round.
"""

from __future__ import annotations

import asyncio
import gc
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote

import orjson

from benchmarks.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.tally import Counted

#: The metadata key of the changes that are counted: `{"n": its number, "at": CLOCK_MONOTONIC when it was said, in ns}`.
TICK: Final = "tick"
#: As in load.py.
SAMPLED_ONE_IN: Final = 10
HANDSHAKES: Final = 200
HANDSHAKE_SECONDS: Final = 30.0
SETTLE_LOOK_SECONDS: Final = 0.02
#: Bodies that are known by heart. Those of a moment are the same for many viewers, and never come again.
BODIES: Final = 2_000

#: What the official SDK and its runtime add to each request (Trigger.dev realtime protocol, section 0.1).
HEADERS: Final = {
    "connection": "keep-alive",
    "authorization": "Bearer %s",
    "trigger-version": "4.8.3",
    "x-trigger-electric-version": "1.0.0-beta.1",
    "x-trigger-api-version": "2025-07-16",
    "accept": "*/*",
    "accept-language": "*",
    "sec-fetch-mode": "cors",
    "user-agent": "node",
    "accept-encoding": "gzip, deflate",
}
_END_OF_HEAD: Final = b"\r\n\r\n"
_OK: Final = b"HTTP/1.1 200 "
_LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
#: Their values go into the next request as they are: these characters need no encoding.
_HANDLE: Final = re.compile(rb"\r\nelectric-handle: ([\w.~-]+)\r\n", re.IGNORECASE)
_OFFSET: Final = re.compile(rb"\r\nelectric-offset: (\w+)\r\n", re.IGNORECASE)
_CURSOR: Final = re.compile(rb"\r\nelectric-cursor: ([\w.~-]+)\r\n", re.IGNORECASE)
_SCHEMA: Final = re.compile(rb"\r\nelectric-schema: \{", re.IGNORECASE)


class BrokenProtocol(Exception):
    """An answer that the official client would not understand, or that ends its subscription."""


@dataclass(frozen=True, slots=True)
class Feed:
    """Where viewers look: a path, and the query parameters of its own."""

    path: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What went over all viewers' connections since `begin`. Bytes are those of HTTP, without what TCP adds."""

    answers: int
    received_bytes: int
    head_bytes: int
    sent_bytes: int
    #: The longest body of an answer.
    longest_body: int


@dataclass(frozen=True, slots=True)
class PollsCounted:
    """What viewers were answered between `begin` and the end of `settle`."""

    counted: Counted
    traffic: Traffic
    #: Changes that a viewer was told after a later one of the same run, and those that it was told once more.
    late: int
    repeated: int
    #: Viewers for whom not every run is as it was left.
    wrong: int
    #: Why the first viewer gave up; "" when none did.
    complaint: str


@dataclass(frozen=True, slots=True)
class _News:
    """What a body says: each change of a run as its number and when it was said; and whether it ends up to date."""

    changes: tuple[tuple[str, int, int], ...]
    up_to_date: bool


class Pollers:
    """Viewers of one feed of one gateway. Lives in a process of its own (`processes.Remote`)."""

    def __init__(self) -> None:
        # What is kept here lives as long as its viewers; looking for garbage in it would cost deliveries.
        gc.disable()
        self._viewers: list[_Viewer] = []
        self._told = _Told()

    async def connect(self, port: int, feed: Feed, tokens: Sequence[str]) -> None:
        """
        Connect a viewer for each of *tokens*; return when each has its snapshot, and has asked for what comes next.

        Raises:
            BrokenProtocol: With what was wrong with an answer.
        """
        await self.disconnect()
        self._told = _Told()
        self._viewers = [
            (_SampledViewer if place % SAMPLED_ONE_IN == SAMPLED_ONE_IN // 2 else _Viewer)(
                _Requests.of(feed, port, token), self._told
            )
            for place, token in enumerate(tokens)
        ]
        waiting = iter(self._viewers)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(HANDSHAKES, len(tokens))):
                tasks.create_task(_open_each(waiting, port))

    async def begin(self) -> None:
        """Count from now on."""
        self._told.clear()

    async def traffic(self) -> Traffic:
        """What went over the wire since `begin`, or since they came."""
        return self._told.traffic()

    async def settle(self, began_at: int, ended_at: int, latest: Mapping[str, int], timeout: float) -> PollsCounted:
        """
        Wait until every viewer knows the newest change of all, or for *timeout* seconds, and return what was counted.

        *began_at* and *ended_at* (CLOCK_MONOTONIC, ns) are when the first and the last change were said; *latest* is
        the number of each run's last change.
        """
        newest = max(latest.values())
        deadline = time.monotonic() + timeout
        while not all(viewer.newest >= newest for viewer in self._viewers) and time.monotonic() < deadline:
            await asyncio.sleep(SETTLE_LOOK_SECONDS)
        told = self._told
        return PollsCounted(
            counted=told.counted(began_at, ended_at, sum(viewer.newest >= newest for viewer in self._viewers)),
            traffic=told.traffic(),
            late=told.late,
            repeated=told.repeated,
            wrong=sum(viewer.known != latest for viewer in self._viewers),
            complaint=told.complaint,
        )

    async def disconnect(self) -> None:
        """Close all connections, at once."""
        for viewer in self._viewers:
            viewer.leave()
        self._viewers = []
        await asyncio.sleep(0)


async def _open_each(waiting: Iterator[_Viewer], port: int) -> None:
    for viewer in waiting:
        await viewer.open(port)


class _Told(Tally):
    """What all viewers together were told."""

    __slots__ = (
        *("_bodies", "answers", "complaint", "head_bytes", "late", "longest_body", "received", "repeated", "sent"),
    )

    def __init__(self) -> None:
        super().__init__()
        self._bodies: dict[bytes, _News] = {}
        self.complaint = ""

    def clear(self) -> None:
        super().clear()
        self.answers = self.received = self.head_bytes = self.sent = 0
        self.longest_body = self.late = self.repeated = 0

    def read(self, body: bytes) -> _News:
        """
        Raises:
            BrokenProtocol: When it is no body of the protocol.
        """
        news = self._bodies.get(body)
        if news is None:
            if len(self._bodies) >= BODIES:
                self._bodies.clear()
            news = self._bodies[body] = _read(body)
            self.longest_body = max(self.longest_body, len(body))
        return news

    def traffic(self) -> Traffic:
        return Traffic(self.answers, self.received, self.head_bytes, self.sent, self.longest_body)


def _read(body: bytes) -> _News:
    messages = orjson.loads(body)
    if not isinstance(messages, list):
        raise BrokenProtocol(f"a body is a list, not {body[:200]!r}")
    changes = [tuple(_changes(message)) for message in messages if "key" in message]
    last = messages[-1]["headers"] if messages else {}
    return _News(tuple(change for found in changes for change in found), last.get("control") == "up-to-date")


def _changes(message: dict[str, Any]) -> Iterator[tuple[str, int, int]]:
    """The numbered change in a message, if it has one. The run's id is in every row, whole or not."""
    row = message["value"]
    if not message["headers"]["operation"] or not isinstance(row["id"], str):
        raise BrokenProtocol(f"a change names its operation and its run: {message}")
    metadata = orjson.loads(row.get("metadata") or "{}")
    if TICK in metadata:
        yield row["id"], metadata[TICK]["n"], metadata[TICK]["at"]


@dataclass(frozen=True, slots=True)
class _Requests:
    """A viewer's requests; the parameters are sorted by name, as the client sorts them."""

    snapshot: bytes
    #: The next page of a snapshot, for handle and offset.
    page: bytes
    #: For cursor, handle and offset.
    live: bytes

    @classmethod
    def of(cls, feed: Feed, port: int, token: str) -> _Requests:
        headers = [f"host: 127.0.0.1:{port}", *(f"{name}: {value}" for name, value in HEADERS.items())]
        tail = "\r\n".join([" HTTP/1.1", *headers, "", ""]) % token

        def request(parameters: dict[str, str]) -> bytes:
            own = {name: quote(value, safe="").replace("%", "%%") for name, value in feed.parameters.items()}
            query = "&".join(f"{name}={value}" for name, value in sorted({**own, **parameters}.items()))
            return f"GET {feed.path}?{query}{tail}".encode()

        first = request({"log": "full", "offset": "-1"})
        page = request({"handle": "%b", "log": "full", "offset": "%b"})
        live = request({"cursor": "%b", "handle": "%b", "live": "true", "log": "full", "offset": "%b"})
        return cls(first % (), page, live)


class _Viewer(asyncio.Protocol):
    """One subscription. Asks, remembers what it is told, and asks again."""

    __slots__ = ("_cursor", "_live", "_opened", "_rest", "_told", "_transport", "known", "newest", "requests")

    def __init__(self, requests: _Requests, told: _Told) -> None:
        self.requests = requests
        #: The number of the last change of each run, and the highest of all.
        self.known: dict[str, int] = {}
        self.newest = 0
        self._told = told
        self._rest = b""
        self._cursor = b""
        self._live = False
        self._transport: asyncio.Transport | None = None
        self._opened: asyncio.Future[None] | None = None

    async def open(self, port: int) -> None:
        """
        Raises:
            BrokenProtocol, TimeoutError: When it gets no snapshot.
        """
        loop = asyncio.get_running_loop()
        self._opened = loop.create_future()
        await loop.create_connection(lambda: self, "127.0.0.1", port)
        await asyncio.wait_for(self._opened, HANDSHAKE_SECONDS)

    def leave(self) -> None:
        if self._transport is not None:
            transport, self._transport = self._transport, None
            transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so
        self._ask(self.requests.snapshot)

    def data_received(self, chunk: bytes) -> None:
        data = self._rest + chunk if self._rest else chunk
        end = data.find(_END_OF_HEAD)
        if end < 0:
            self._rest = data
            return
        length = _LENGTH.search(data, 0, end + 2)
        if length is None:
            self._give_up(f"an answer without its length: {data[:400]!r}")
            return
        whole = end + 4 + int(length[1])
        if len(data) < whole:
            self._rest = data
            return
        self._rest = b""
        told = self._told
        told.answers += 1
        told.received += len(data)
        told.head_bytes += end + 4
        try:
            if len(data) > whole:
                raise BrokenProtocol(f"more than was asked for: {data[whole : whole + 200]!r}")
            self._answered(data, end + 2, told.read(data[end + 4 :]))
        except (BrokenProtocol, ValueError, KeyError, TypeError) as error:
            self._give_up(f"{error!r} in the answer {data[:600]!r}")

    def _answered(self, data: bytes, head: int, news: _News) -> None:
        """Take what an answer says, and ask again. *head* is where its headers end."""
        handle, offset = _HANDLE.search(data, 0, head), _OFFSET.search(data, 0, head)
        if not data.startswith(_OK) or handle is None or offset is None:
            raise BrokenProtocol("an answer is 200 and has a handle and an offset")
        self._note(news.changes)
        if self._live:
            cursor = _CURSOR.search(data, 0, head)
            if cursor is None or cursor[1] == self._cursor:
                raise BrokenProtocol("a live answer has a cursor, and another one than its request")
            self._cursor = cursor[1]
        elif _SCHEMA.search(data, 0, head) is None:
            raise BrokenProtocol("an answer that is not live has a schema")
        elif news.up_to_date:
            self._live = True
        if self._live:
            self._ask(self.requests.live % (self._cursor, handle[1], offset[1]))
            if self._opened is not None and not self._opened.done():
                self._opened.set_result(None)
        else:
            self._ask(self.requests.page % (handle[1], offset[1]))

    def _note(self, changes: Sequence[tuple[str, int, int]]) -> None:
        known, told = self.known, self._told
        for run, number, _ in changes:
            before = known.get(run, 0)
            if number <= before:
                told.repeated += number == before
                told.late += number < before
                continue
            known[run] = number
            told.deliveries += 1
            if number > self.newest:
                self.newest = number
        if changes:
            told.last_at = time.monotonic_ns()

    def _ask(self, request: bytes) -> None:
        if self._transport is not None:
            self._told.sent += len(request)
            self._transport.write(request)

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is not None:
            self._give_up(f"the connection ended ({error}), having sent {self._rest[:400]!r}")

    def _give_up(self, why: str) -> None:
        self._told.lost += 1
        self._told.complaint = self._told.complaint or why
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(BrokenProtocol(why))
        self.leave()


class _SampledViewer(_Viewer):
    """Also records the latency of every delivery: from the moment it was said until its bytes were read here."""

    __slots__ = ()

    def _note(self, changes: Sequence[tuple[str, int, int]]) -> None:
        now = time.monotonic_ns()
        known = self.known
        self._told.latencies.extend([now - at for run, number, at in changes if number > known.get(run, 0)])
        super()._note(changes)
