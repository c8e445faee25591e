"""`GET /v1/events`: feeds as Server-Sent Events (docs/protocol.md, "Server-Sent Events")."""

from __future__ import annotations

import random
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import parse_qsl

from gateway.codec import encode_message
from gateway.errors import BadMessage, GatewayError, Unavailable
from gateway.feed.connection import Connection
from gateway.feed.follower import Phase
from gateway.feed.view import Message
from gateway.feeds import FeedId
from gateway.runs import FINAL
from gateway.transports import refusals
from gateway.transports.admission import bearer, foreign_origin, headers_of
from gateway.transports.framings import EVENTS
from gateway.transports.requests import parse_query
from gateway.transports.sinks import HANDOVER, serve_on_asgi
from gateway.transports.viewing import Viewer

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gateway.feed.view import Framing, Shown
    from gateway.transports.admission import Admitted
    from gateway.transports.events_desk import EventsDesk
    from gateway.transports.requests import Wish
    from gateway.transports.sinks import Receive, Scope, Send, ViewerSink
    from gateway.transports.viewing import Services

_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back until a buffer is full
]
#: The same, as they are written.
HEAD: Final = b"".join([b"%b: %b\r\n" % header for header in _HEADERS])
PATH: Final = "/v1/events"
_PROBLEM: Final = (b"content-type", b"application/problem+json")
#: Viewers whose connection broke come back after a time that each draws for itself.
_RETRY_MILLISECONDS: Final = (500, 3000)
#: The parameter that asks for another form than JSON.
_FORM: Final = "format"
_JSON: Final = "json"
_LIVE: Final = encode_message({"type": "heartbeat", "state": "live"})
_NO_FORMS: Final[Mapping[str, Form]] = MappingProxyType({})


class Form(Protocol):
    """How a response shows feeds, when not as JSON."""

    #: Parameters that those who read it add to every request, and that mean nothing here.
    besides: frozenset[str]

    def view(self, wish: Wish, hidden: frozenset[str] | None) -> Shown:
        """A feed in this form; *hidden* is what the token hides (`Wish.view`)."""

    def framing(self, *, several_feeds: bool, chunked: bool) -> Framing:
        """How its messages are spelled: the same object for all that spell them alike."""


class EventsEndpoint:
    """
    The ASGI app of the route: everything that can be refused is refused before the stream begins.

    Args:
        desk: Takes most of the requests of pages like those that were let in here.
        forms: Other forms than JSON, by how a request names them.
    """

    def __init__(self, services: Services, desk: EventsDesk, forms: Mapping[str, Form] = _NO_FORMS) -> None:
        self._services = services
        self._desk = desk
        self._forms = forms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            status, body = refusals.method_not_allowed(scope["method"])
            await respond(send, status, body, [_PROBLEM, (b"allow", b"GET")])
            return
        try:
            form = self._form_of(scope)
            besides = {_FORM} if form is None else {_FORM, *form.besides}
            wishes, admitted = await wishes_of(self._services, scope, besides=besides)
            await self._desk.learn(scope["headers"])
            await EventsResponse(self._services, wishes, admitted, form).send(scope, receive, send)
        except GatewayError as error:
            self._services.counters.refusals[error.code] += 1
            status, body = refusals.problem(error)
            await respond(send, status, body, refusals.problem_headers(error))

    def _form_of(self, scope: Scope) -> Form | None:
        """The form that is asked for; None for JSON."""
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        asked = [value for name, value in pairs if name == _FORM]
        if len(asked) > 1:
            raise BadMessage(f"{_FORM} may be given once")
        if asked in ([], [_JSON]):
            return None
        if asked[0] not in self._forms:
            raise BadMessage(f'"{_FORM}" is one of {", ".join([_JSON, *self._forms])}, not {asked[0][:40]!r}')
        return self._forms[asked[0]]


async def wishes_of(
    services: Services, scope: Scope, *, besides: Collection[str] = (), counted: bool = False
) -> tuple[list[Wish], Admitted]:
    """
    What a request with feeds in its query asks for, and what it may see; its token is used now.

    Args:
        besides: Parameters that are not for us.
        counted: Whether it is one of the requests that may not come faster than so many a second.

    Raises:
        GatewayError: Saying why not; then nothing was used.
    """
    wishes, admitted = asked(services, scope, besides=besides, counted=counted)
    for wish in wishes:
        await services.admission.check_feed(admitted, wish.feed)
    # Before its token may be used up.
    services.quotas.check_connection(admitted.environment, admitted.token)
    await services.admission.use(admitted)
    return wishes, admitted


def asked(
    services: Services, scope: Scope, *, besides: Collection[str] = (), counted: bool = False
) -> tuple[list[Wish], Admitted]:
    """
    As `wishes_of`, as far as nobody has to be asked for it: whether it may see what it wishes is not looked at.

    Args:
        scope: Of it, `headers` and `query_string`.

    Raises:
        GatewayError
    """
    headers = headers_of(scope)
    try:
        pairs = parse_qsl(scope["query_string"].decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError as error:
        raise BadMessage(f"the query can't be read: {error}") from error
    admission = services.admission
    admission.check_origin(foreign_origin(headers))
    token = next((value for name, value in pairs if name == "token"), None)
    admitted = admission.admit(bearer(headers.get("authorization")) or token)
    if counted:
        services.quotas.check_request(admitted.environment, admitted.token)
    return parse_query([pair for pair in pairs if pair[0] not in besides], headers.get("last-event-id")), admitted


class EventsResponse:
    """Feeds that somebody may see, as one response: until all of them ended, or for ever."""

    def __init__(
        self, services: Services, wishes: Sequence[Wish], admitted: Admitted, form: Form | None = None
    ) -> None:
        self._services = services
        self._wishes = wishes
        self._admitted = admitted
        self._form = form

    async def send(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Answer the request: 204 to whoever has seen the end of everything, else with what happens.

        Raises:
            TooManyConnections: When there is no place for another one; nothing was answered then.
        """
        self._services.quotas.check_connection(self._admitted.environment, self._admitted.token)
        if await self.ended_before():
            await respond(send, 204, b"", [])
        else:
            await self._stream(scope, receive, send)

    async def ended_before(self) -> bool:
        """Whether the viewer has seen the end of all that it asks for, and would only reconnect for ever."""
        try:
            return all([await self._saw_end(wish) for wish in self._wishes])
        except Unavailable:
            return False  # a bare EventSource gives up for ever on a 503; in the stream it is told `stale`

    async def _saw_end(self, wish: Wish) -> bool:
        run, cursor = wish.feed.run_id, wish.cursor
        if run is None or cursor is None:
            return False
        store, environment = self._services.store, self._admitted.environment
        page = await store.read_page(
            environment, FeedId.run(run), "", after=0, since=0, columns=("status",), metadata=False
        )
        # With a cursor of an earlier epoch it is told once more, and comes back with one of this epoch.
        ended = page.epoch == cursor.epoch and page.rows and page.rows[0].status in FINAL
        if not ended or page.rows[0].sequence > cursor.sequence:
            return False
        if wish.feed.kind == "run":
            return True
        left = await store.read_stream(environment, run, wish.feed.names[1], after=cursor.sequence, limit=1)
        return not left.chunks

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        handover = scope.get("extensions", {}).get(HANDOVER)
        chunked = handover is not None and scope["http_version"] == "1.1"
        several = len(self._wishes) > 1
        form = self._form
        framing = EVENTS[several, chunked] if form is None else form.framing(several_feeds=several, chunked=chunked)
        viewer = EventsViewer(self._services, self._wishes, self._admitted, framing, form)
        await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        await send({"type": "http.response.body", "body": first_words(self._wishes), "more_body": True})
        if handover is not None:
            handover(viewer, self._services.settings.socket_limits)
            return

        async def send_piece(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        async def say_goodbye(code: int, reason: str) -> None:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        limit = self._services.settings.unsent_limit_bytes
        await serve_on_asgi(viewer, receive, send_piece, say_goodbye, unsent_limit=limit)


def first_words(wishes: Sequence[Wish]) -> bytes:
    """How soon to come back, and for who began now and was told nothing yet, with which cursor."""
    words = b"retry: %d\n" % random.randint(*_RETRY_MILLISECONDS)
    for wish in wishes:
        if wish.from_now and wish.cursor is not None:
            words += b"id: %s\n" % str(wish.cursor).encode()
    return words + b"\n"


async def respond(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """A whole answer."""
    length = [] if status == 204 else [(b"content-length", b"%d" % len(body))]
    kept = [*({b"cache-control": b"no-store"} | dict(headers)).items(), *length]
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


class _FormConnection(_EventsConnection):
    """
    As for a page that keeps no count itself of what it was told: that it is up to date is said when it is, and not only
    by the next heartbeat.
    """

    __slots__ = ("_said",)

    def __init__(self, viewer: EventsViewer, services: Services, sink: ViewerSink, admitted: Admitted) -> None:
        super().__init__(viewer, services, sink, admitted)
        self._said = False

    def caught_up(self) -> None:
        super().caught_up()
        # Whoever was told that the data may be old is told otherwise by a heartbeat.
        if self._said or self.told_stale or any(f.phase is not Phase.LIVE for f in self.followers.values()):
            return
        self._said = True
        self.tell(Message("heartbeat", _LIVE, ""))


class EventsViewer(Viewer):
    """One response that never ends by itself, unless all its runs do."""

    __slots__ = ("_allowed", "_form", "_wishes")
    transport = "sse"

    def __init__(
        self,
        services: Services,
        wishes: Sequence[Wish],
        admitted: Admitted,
        framing: Framing,
        form: Form | None = None,
    ) -> None:
        super().__init__(services, framing)
        self._wishes = wishes
        self._allowed = admitted
        self._form = form

    def connected(self, sink: ViewerSink) -> None:
        super().connected(sink)
        kind = _EventsConnection if self._form is None else _FormConnection
        connection = kind(self, self._services, sink, self._allowed)
        try:
            self.let_in(self._allowed, connection)
        except GatewayError as error:
            self.refuse(error)
            return
        for wish in self._wishes:
            if wish.begin is not None:
                connection.tell(wish.begin)
            hidden, form = self._allowed.hidden, self._form
            view = wish.view(hidden) if form is None else form.view(wish, hidden)
            self._services.hub.follow(connection, view, wish.cursor)
        self._wishes = ()

    async def renew(self, admitted: Admitted) -> None:
        await super().renew(admitted)
        if self._connection is not None and not self._connection.followers:
            self.close(refusals.NORMAL, "its new token allows nothing of what it follows")

    def received(self, text: str) -> None:
        """A response hears nothing."""

    def received_binary(self) -> None:
        """A response hears nothing."""
