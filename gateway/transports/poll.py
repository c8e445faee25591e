"""
`GET /v1/poll`: what happened since a cursor, as one JSON answer that waits until there is something (docs/protocol.md,
"Long poll"). For networks that let nothing through that goes on.

The headers go out at once, with the id of the connection, so that a poll can be given another token while it waits.
What can be refused is refused before; what happens to its token later is told in its messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import parse_qsl

from gateway.codec import encode_message
from gateway.cursors import Cursor
from gateway.durations import parse_duration
from gateway.errors import BadInput, BadMessage, GatewayError, TooLarge
from gateway.feed.connection import Connection
from gateway.feed.follower import Phase
from gateway.transports import refusals
from gateway.transports.sse import EventsResponse, respond, wishes_of
from gateway.transports.viewing import Viewer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.feed.follower import Follower
    from gateway.transports.admission import Admitted
    from gateway.transports.requests import Wish
    from gateway.transports.sinks import Receive, Scope, Send
    from gateway.transports.viewing import Services

#: How long a poll is held when it does not say, and at most. Proxies cut what is silent for a minute, some for half.
WAIT_SECONDS: Final = 20.0
LONGEST_WAIT_SECONDS: Final = 30.0
#: Until its feeds are up to date a poll that would not wait has so long; and one that comes while nothing can be read.
CATCH_UP_SECONDS: Final = 5.0
#: More is not kept for one answer.
MOST_BYTES: Final = 8 * 1024 * 1024
CONNECTION_HEADER: Final = b"runcast-connection"

_WAIT: Final = "wait"
#: What a poll is told by its headers, or by its coming back.
_UNSAID: Final = frozenset({"welcome", "heartbeat"})
#: The rest of a snapshot that has nothing to say: what the client has is all there is.
_NOTHING_NEW: Final = (b'"replaces":false', b'"runs":[]}')


class PollEndpoint:
    """The ASGI app of the route."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            status, body = refusals.method_not_allowed(scope["method"])
            headers = [(b"content-type", refusals.PROBLEM_TYPE.encode()), (b"allow", b"GET")]
            await respond(send, status, body, headers)
            return
        try:
            wait = _wait_of(scope)
            wishes, admitted = await wishes_of(self._services, scope, besides=(_WAIT,), counted=True)
            if await EventsResponse(self._services, wishes, admitted).ended_before():
                await respond(send, 204, b"", [])
                return
            await self._poll(receive, send, wishes, admitted, wait)
        except GatewayError as error:
            self._services.counters.refusals[error.code] += 1
            status, body = refusals.problem(error)
            await respond(send, status, body, refusals.problem_headers(error))

    async def _poll(
        self, receive: Receive, send: Send, wishes: Sequence[Wish], admitted: Admitted, wait: float
    ) -> None:
        viewer = PollViewer(self._services, wishes, admitted)
        with contextlib.ExitStack() as here:
            here.callback(viewer.closed)
            here.enter_context(self._services.lifecycle.telling(viewer.going_away))
            viewer.begin()
            headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
            headers.append((CONNECTION_HEADER, viewer.public_id.encode()))
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            # Some servers keep the headers until there is a body; a space before a JSON text means nothing.
            await send({"type": "http.response.body", "body": b" ", "more_body": True})
            if await viewer.wait(receive, wait):
                await send({"type": "http.response.body", "body": viewer.answer()})


def _wait_of(scope: Scope) -> float:
    pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    given = [value for name, value in pairs if name == _WAIT]
    if len(given) > 1:
        raise BadMessage(f"{_WAIT} may be given once")
    if not given:
        return WAIT_SECONDS
    try:
        seconds = 0.0 if given[0] in ("0", "0s") else parse_duration(given[0])
    except BadInput as error:
        raise BadMessage(f'"{_WAIT}": {error}') from error
    if seconds > LONGEST_WAIT_SECONDS:
        raise BadMessage(f'"{_WAIT}" is at most {LONGEST_WAIT_SECONDS:g} seconds, not {given[0][:40]!r}')
    return seconds


class PollFraming:
    """One message a line, without those that a poll is not told."""

    def frame(self, kind: str, body: bytes, cursor: str) -> bytes:
        return b"" if kind in _UNSAID else body + b"\n"

    def wrap(self, frames: bytes) -> bytes:
        return frames


POLL: Final = PollFraming()


class _Kept:
    """What a poll was told until it answers. Is its sink (transports/sinks.py: ViewerSink)."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        #: Whether nothing more is to be waited for. What is told until the answer goes out is kept all the same: its
        #: cursor is behind that.
        self.over = False
        #: Whether it was too much, so that nothing of it is told.
        self.too_large = False
        self.changed = asyncio.Event()
        self._size = 0

    def write(self, data: bytes) -> None:
        if self.too_large:
            return
        for line in data.splitlines():
            if line.startswith(b'{"type":"snapshot"') and all(part in line for part in _NOTHING_NEW):
                continue
            self.lines.append(line)
            self._size += len(line)
        self.changed.set()
        if self._size > MOST_BYTES:
            error = TooLarge(
                "the answer, which `limit` or `skipColumns` can make smaller,", size=self._size, limit=MOST_BYTES
            )
            self.lines, self.too_large = [refusals.error_message(error)], True
            self._end()

    def close(self, code: int, reason: str) -> None:
        self._end()

    def abort(self) -> None:
        self._end()

    def _end(self) -> None:
        self.over = True
        self.changed.set()

    @property
    def unsent(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """A poll hears nothing."""

    def resume_reading(self) -> None:
        """A poll hears nothing."""


class _PollConnection(Connection):
    """A connection whose viewer looks again when it is up to date, or not any more, which comes without a message."""

    __slots__ = ("_kept",)

    def __init__(self, viewer: PollViewer, services: Services, kept: _Kept, admitted: Admitted) -> None:
        super().__init__(services.hub, kept, viewer.framing, admitted.environment)
        self._kept = kept

    def caught_up(self) -> None:
        super().caught_up()
        self._kept.changed.set()

    def tell_spelled(self, data: bytes) -> None:
        super().tell_spelled(data)
        self._kept.changed.set()  # a heartbeat is not told, but may say that the data is old, or is not any more


class PollViewer(Viewer):
    """
    One request that answers when all its feeds are up to date and something happened, or when its time is up.

    Or when the gateway loses sight of the data: a page that waits believes that it sees the truth.
    """

    __slots__ = ("_allowed", "_kept", "_wishes")
    transport: ClassVar[str] = "poll"
    log_level: ClassVar[int] = logging.DEBUG  # each page has one every few seconds

    def __init__(self, services: Services, wishes: Sequence[Wish], admitted: Admitted) -> None:
        super().__init__(services, POLL)
        self._wishes = wishes
        self._allowed = admitted
        self._kept = _Kept()

    def begin(self) -> None:
        """
        Follow what was asked for.

        Raises:
            GatewayError: As `let_in`.
        """
        self.connected(self._kept)
        connection = _PollConnection(self, self._services, self._kept, self._allowed)
        self.let_in(self._allowed, connection)
        for wish in self._wishes:
            self._services.hub.follow(connection, wish.view(self._allowed.hidden), wish.cursor)

    async def wait(self, receive: Receive, seconds: float) -> bool:
        """Wait until there is something to answer, or for *seconds*. Returns whether anybody still hears it."""
        leaving = asyncio.create_task(_disconnected(receive), name="viewer leaves a poll")
        told = asyncio.create_task(self._until_told(seconds), name="viewer polls")
        try:
            await asyncio.wait({leaving, told}, return_when=asyncio.FIRST_COMPLETED)
            return not leaving.done()
        finally:
            for task in (leaving, told):
                task.cancel()
            await asyncio.gather(leaving, told, return_exceptions=True)

    async def _until_told(self, seconds: float) -> None:
        # Who comes while the data can't be seen was told so already; told at once, it would ask again and again.
        unseen = self._is_stale()
        patience = CATCH_UP_SECONDS if unseen else max(seconds, CATCH_UP_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience) as limit:
                began = asyncio.get_running_loop().time()
                await self._until(lambda: self._is_live() or (self._is_stale() and not unseen))
                limit.reschedule(began + seconds)  # up to date once, also when nothing is waited for
                await self._until(lambda: self._is_stale() or (bool(self._kept.lines) and self._is_live()))

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not self._kept.over and not holds():
            self._kept.changed.clear()
            await self._kept.changed.wait()
            await asyncio.sleep(0)  # what comes in the same turn goes into the same answer

    def answer(self) -> bytes:
        """What it was told, and the cursor to come back with."""
        head: dict[str, object] = {"state": "live" if self._is_live() else "stale"}
        cursor = self._cursor()
        if cursor is not None:
            head["cursor"] = str(cursor)
        return b'%s,"messages":[%s]}' % (encode_message(head)[:-1], b",".join(self._kept.lines))

    def _followers(self) -> list[Follower]:
        if self._connection is None:
            return []
        self._connection.flush()
        return [*self._connection.followers.values()]

    def _is_stale(self) -> bool:
        """Whether the gateway has lost sight of the data, or is not yet sure again."""
        return self._connection is not None and self._connection.told_stale

    def _is_live(self) -> bool:
        return not self._is_stale() and all(follower.phase is Phase.LIVE for follower in self._followers())

    def _cursor(self) -> Cursor | None:
        """Up to where all its feeds have been told everything; while that is not so, where it came from."""
        followers = self._followers()
        epochs = {follower.group.epoch for follower in followers}
        if len(epochs) != 1 or not self._is_live() or self._kept.too_large:
            return self._wishes[0].cursor
        return Cursor(epochs.pop(), min(follower.group.place(follower) for follower in followers))

    def received(self, text: str) -> None:
        """A poll hears nothing."""

    def received_binary(self) -> None:
        """A poll hears nothing."""


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
