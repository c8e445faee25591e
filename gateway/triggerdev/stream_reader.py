"""
One reader of a stream, for as long as there is something to come (Trigger.dev realtime protocol, section 6.5).

For the official clients a body that ends is a stream that is over, and one that breaks is to be asked for again, after
the last chunk that came. So it ends only when nothing more will come, or nothing came for as long as the client would
wait; in all other cases it is cut: the client knows best where it is. Some proxies end a response cleanly that broke
behind them, so a client of v2 is first given what it can't read, which it takes for a break, too.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final

from gateway.errors import GatewayError
from gateway.feed.connection import Connection
from gateway.feed.follower import Phase
from gateway.transports import refusals
from gateway.transports.sinks import HANDOVER, serve_on_asgi
from gateway.transports.viewing import Viewer
from gateway.triggerdev.stream_records import RECORDS, UNREADABLE, Anew, Spelling

if TYPE_CHECKING:
    from gateway.cursors import Cursor
    from gateway.feed.follower import Follower
    from gateway.feeds import FeedId
    from gateway.transports.admission import Admitted
    from gateway.transports.sinks import Receive, Scope, Send, ViewerSink
    from gateway.transports.viewing import Services
    from gateway.triggerdev.stream_records import RecordsView

#: How long a stream stays open after its run ended, and after each chunk that comes then: the last may be under way.
GRACE_SECONDS: Final = 1.0
#: From the last that is said to a client until its connection is broken: it goes out in between.
_CUT_SECONDS: Final = 0.05
_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back until a buffer is full
]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reader is to be told."""

    view: RecordsView
    #: It has everything up to here, of the epoch that counts when it comes.
    cursor: Cursor
    #: It ends when nothing came for so many seconds; None: never.
    silence: float | None
    #: How long ago its run ended; 0 when it has not.
    ended_seconds: float


class _ReaderConnection(Connection):
    """A connection whose feed goes through its reader; all else goes beside it, and is no news."""

    __slots__ = ("_reader", "_socket")

    def __init__(self, reader: StreamReader, services: Services, socket: ViewerSink, admitted: Admitted) -> None:
        super().__init__(services.hub, reader, reader.framing, admitted.environment)
        self._reader = reader
        self._socket = socket

    def tell_spelled(self, data: bytes) -> None:
        if data:
            self._socket.write(data)  # past the reader: this is not of its feed

    def ended(self, feed: FeedId) -> None:
        self._reader.run_ended()


class StreamReader(Viewer):
    """Our side of one reader's socket. Is the sink of its connection, too (feed/connection.py: Sink)."""

    __slots__ = ("_allowed", "_ends", "_grace", "_reading", "_told_at", "_wakes")
    transport: ClassVar[str] = "sse"

    def __init__(self, services: Services, reading: Reading, admitted: Admitted, *, chunked: bool) -> None:
        super().__init__(services, RECORDS[chunked])
        self._reading = reading
        # Cut off when its token ends, most of these clients would not come back with another one.
        grace = services.settings.shape_handle_grace_seconds
        ends = None if admitted.expires_at is None else admitted.expires_at + grace
        self._allowed = replace(admitted, expires_at=ends)
        self._grace = max(0.0, GRACE_SECONDS - reading.ended_seconds)
        self._told_at = 0.0
        #: Wakes up when nothing was told for as long as it waits, and when its run ended.
        self._wakes: asyncio.TimerHandle | None = None
        self._ends: asyncio.TimerHandle | None = None

    def connected(self, sink: ViewerSink) -> None:
        super().connected(sink)
        connection = _ReaderConnection(self, self._services, sink, self._allowed)
        try:
            self.let_in(self._allowed, connection)
        except GatewayError as error:
            self.refuse(error)
            return
        loop = asyncio.get_running_loop()
        self._told_at = loop.time()
        silence = self._reading.silence
        if silence is not None:
            self._wakes = loop.call_later(silence, self._look_for_silence, silence)
        self._services.hub.follow(connection, self._reading.view, self._reading.cursor)

    def write(self, data: bytes) -> None:
        """What its feed tells: bytes as the framing spells them."""
        if self._sink is None or self._leaving:
            return
        if isinstance(data, Anew) and data.epoch != self._reading.cursor.epoch:
            # Something was lost. Which of what is there it has, only the client can tell, by the index of the last.
            self.cut(refusals.GOING_AWAY, "chunks that it may have were lost")
            return
        self._told_at = asyncio.get_running_loop().time()
        self._sink.write(data)

    def run_ended(self) -> None:
        """Its run has ended, and it was told everything."""
        if self._ends is None and self._sink is not None:
            self._ends = asyncio.get_running_loop().call_later(self._grace, self._look_for_end)

    def _look_for_end(self) -> None:
        self._ends, loop = None, asyncio.get_running_loop()
        if not all(follower.ended for follower in self._followers()):
            return  # its run goes on after all
        left = self._told_at + self._grace - loop.time()
        if not self._is_live():
            left = GRACE_SECONDS  # it may lack something
        if left > 0:
            self._ends = loop.call_later(left, self._look_for_end)
        else:
            self.close(refusals.NORMAL, "its run ended")

    def _look_for_silence(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if not self._is_live():
            self._told_at = loop.time()  # it may lack something: that is no silence
        left = self._told_at + seconds - loop.time()
        if left > 0:
            self._wakes = loop.call_later(left, self._look_for_silence, seconds)
        else:
            self.close(refusals.NORMAL, "nothing came for as long as it waits")

    def _is_live(self) -> bool:
        told_stale = self._connection is not None and self._connection.told_stale
        return not told_stale and all(follower.phase is Phase.LIVE for follower in self._followers())

    def _followers(self) -> list[Follower]:
        return [] if self._connection is None else [*self._connection.followers.values()]

    def cut(self, code: int, reason: str) -> None:
        """Break the connection, so that the client comes back, after the last chunk that it has."""
        if self._sink is not None and not self._leaving:
            self._leaving, self._ending, self._why = True, code, reason
            if self._reading.view.spelling is Spelling.V1:
                self._sink.abort()
                return
            self._sink.write(self.framing.wrap(UNREADABLE))
            asyncio.get_running_loop().call_later(_CUT_SECONDS, self._sink.abort)

    def refuse(self, error: GatewayError) -> None:
        """When it comes back it is told why."""
        self._services.counters.refusals[error.code] += 1
        self.cut(refusals.close_code(error) or refusals.INTERNAL_ERROR, error.code)

    def going_away(self) -> None:
        self._services.counters.reconnects_told["stopping"] += 1
        self.cut(refusals.GOING_AWAY, "the server is stopping")

    def closed(self) -> None:
        for timer in (self._wakes, self._ends):
            if timer is not None:
                timer.cancel()
        super().closed()

    def received(self, text: str) -> None:
        """A response hears nothing."""

    def received_binary(self) -> None:
        """A response hears nothing."""


async def send_stream(
    services: Services, reading: Reading, admitted: Admitted, scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer with a stream; its headers go out at once, also when there is nothing in it yet."""
    handover = scope.get("extensions", {}).get(HANDOVER)
    chunked = handover is not None and scope["http_version"] == "1.1"
    headers = [*_HEADERS, (b"x-stream-version", reading.view.spelling.version.encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b": here\n\n", "more_body": True})
    reader = StreamReader(services, reading, admitted, chunked=chunked)
    if handover is not None:
        handover(reader, services.settings.socket_limits)
        return

    async def send_piece(data: bytes) -> None:
        await send({"type": "http.response.body", "body": data, "more_body": True})

    async def say_goodbye(code: int, reason: str) -> None:
        if code == refusals.NORMAL:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    await serve_on_asgi(reader, receive, send_piece, say_goodbye, unsent_limit=services.settings.unsent_limit_bytes)
