"""`GET /v1/events`: feeds as Server-Sent Events (docs/protocol.md, "Server-Sent Events")."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from gateway.errors import BadMessage, GatewayError, Unavailable
from gateway.feed.connection import Connection
from gateway.runs import FINAL
from gateway.transports import refusals
from gateway.transports.admission import bearer, headers_of
from gateway.transports.framings import EVENTS
from gateway.transports.requests import parse_query
from gateway.transports.sinks import HANDOVER, serve_on_asgi
from gateway.transports.viewing import Viewer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.feeds import FeedId
    from gateway.transports.admission import Admitted
    from gateway.transports.requests import Wish
    from gateway.transports.sinks import Receive, Scope, Send, ViewerSink
    from gateway.transports.viewing import Services

_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back until a buffer is full
]
_PROBLEM: Final = (b"content-type", b"application/problem+json")
#: Viewers whose connection broke come back after a time that each draws for itself.
_RETRY_MILLISECONDS: Final = (500, 3000)


class EventsEndpoint:
    """The ASGI app of the route: everything that can be refused is refused before the stream begins."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            status, body = refusals.method_not_allowed(scope["method"])
            await _respond(send, status, body, [_PROBLEM, (b"allow", b"GET")])
            return
        try:
            wishes, admitted = await self._admit(scope)
            ended = await self._ended_before(wishes, admitted)
        except GatewayError as error:
            status, body = refusals.problem(error)
            await _respond(send, status, body, [_PROBLEM])
            return
        if ended:
            await _respond(send, 204, b"", [])
            return
        await self._stream(scope, receive, send, wishes, admitted)

    async def _admit(self, scope: Scope) -> tuple[list[Wish], Admitted]:
        headers = headers_of(scope)
        try:
            pairs = parse_qsl(scope["query_string"].decode("ascii"), keep_blank_values=True, errors="strict")
        except ValueError as error:
            raise BadMessage(f"the query can't be read: {error}") from error
        admission = self._services.admission
        admission.check_origin(headers.get("origin"))
        token = next((value for name, value in pairs if name == "token"), None)
        admitted = admission.admit(bearer(headers.get("authorization")) or token)
        wishes = parse_query(pairs, headers.get("last-event-id"))
        for wish in wishes:
            await admission.check_feed(admitted, wish.feed)
        return wishes, admitted

    async def _ended_before(self, wishes: Sequence[Wish], admitted: Admitted) -> bool:
        """Whether the viewer has seen the end of every run it asks for, and would only reconnect for ever."""
        for wish in wishes:
            if wish.feed.kind != "run" or wish.cursor is None:
                return False
            try:
                page = await self._services.store.read_page(
                    admitted.environment, wish.feed, "", after=0, since=0, columns=("status",), metadata=False
                )
            except Unavailable:
                return False  # a bare EventSource gives up for ever on a 503; in the stream it is told `stale`
            # With a cursor of an earlier epoch it is told once more, and comes back with one of this epoch.
            ended = page.epoch == wish.cursor.epoch and page.rows and page.rows[0].status in FINAL
            if not ended or page.rows[0].sequence > wish.cursor.sequence:
                return False
        return True

    async def _stream(
        self, scope: Scope, receive: Receive, send: Send, wishes: Sequence[Wish], admitted: Admitted
    ) -> None:
        handover = scope.get("extensions", {}).get(HANDOVER)
        chunked = handover is not None and scope["http_version"] == "1.1"
        viewer = EventsViewer(self._services, wishes, admitted, chunked=chunked)
        await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        retry = b"retry: %d\n\n" % random.randint(*_RETRY_MILLISECONDS)
        await send({"type": "http.response.body", "body": retry, "more_body": True})
        if handover is not None:
            handover(viewer, self._services.settings.socket_limits)
            return

        async def send_piece(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        async def say_goodbye(code: int, reason: str) -> None:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        limit = self._services.settings.unsent_limit_bytes
        await serve_on_asgi(viewer, receive, send_piece, say_goodbye, unsent_limit=limit)


async def _respond(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    length = [] if status == 204 else [(b"content-length", b"%d" % len(body))]
    kept = [(b"cache-control", b"no-store"), *headers, *length]
    await send({"type": "http.response.start", "status": status, "headers": kept})
    await send({"type": "http.response.body", "body": body})


class _EventsConnection(Connection):
    """A connection that is over when every run it follows has ended."""

    __slots__ = ("_viewer",)

    def __init__(self, viewer: EventsViewer, services: Services, sink: ViewerSink, admitted: Admitted) -> None:
        super().__init__(services.hub, sink, viewer.framing, admitted.environment)
        self._viewer = viewer

    def ended(self, feed: FeedId) -> None:
        if all(follower.ended for follower in self.followers.values()):
            self.flush()
            self._viewer.close(refusals.NORMAL, "every run ended")


class EventsViewer(Viewer):
    """One response that never ends by itself, unless all its runs do."""

    __slots__ = ("_allowed", "_wishes")
    transport = "events"

    def __init__(self, services: Services, wishes: Sequence[Wish], admitted: Admitted, *, chunked: bool) -> None:
        super().__init__(services, EVENTS[len(wishes) > 1, chunked])
        self._wishes = wishes
        self._allowed = admitted

    def connected(self, sink: ViewerSink) -> None:
        super().connected(sink)
        connection = _EventsConnection(self, self._services, sink, self._allowed)
        self.let_in(self._allowed, connection)
        for wish in self._wishes:
            self._services.hub.follow(connection, wish.view(self._allowed.hidden), wish.cursor)
        self._wishes = ()

    def received(self, text: str) -> None:
        """A response hears nothing."""

    def received_binary(self) -> None:
        """A response hears nothing."""
