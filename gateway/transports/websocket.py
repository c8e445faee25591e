"""`GET /v1/ws`: any number of feeds on one socket (docs/protocol.md, "WebSocket")."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from gateway.codec import encode_message
from gateway.errors import (
    AlreadySubscribed,
    BadInput,
    GatewayError,
    NotAuthenticated,
    NotSubscribed,
    TokenInvalid,
    TooManyFeeds,
)
from gateway.feed.connection import Connection
from gateway.feeds import FeedId
from gateway.transports import refusals
from gateway.transports.admission import bearer, headers_of
from gateway.transports.framings import LINES, WEBSOCKET
from gateway.transports.requests import Authenticate, Subscribe, Unsubscribe, parse_message
from gateway.transports.sinks import HANDOVER, serve_on_asgi
from gateway.transports.viewing import Viewer, log

if TYPE_CHECKING:
    from gateway.feed.follower import Follower
    from gateway.feed.view import Framing
    from gateway.transports.admission import Admitted
    from gateway.transports.requests import Wish
    from gateway.transports.sinks import Receive, Scope, Send, ViewerSink
    from gateway.transports.viewing import Services

SUBPROTOCOL: Final = "runcast.v1"
_TOKEN_SUBPROTOCOL: Final = "token."  # noqa: S105 - a prefix, not a secret
#: Messages of one viewer that wait to be worked on; more are left in the socket.
_INBOX: Final = 64
_BAD_MESSAGES: Final = 10


class WebSocketEndpoint:
    """The ASGI app of the route: origin, subprotocol and token of the handshake, then the viewer itself."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        offered: list[str] = scope.get("subprotocols", [])
        await receive()  # websocket.connect
        # Always accepted: a browser tells its page nothing about a refused handshake, but it
        # does pass on the error and the close code that come now.
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if SUBPROTOCOL in offered else None})
        handover = scope.get("extensions", {}).get(HANDOVER)
        viewer = WebSocketViewer(
            self._services,
            WEBSOCKET if handover else LINES,
            origin=headers.get("origin"),
            credential=_credential(headers.get("authorization"), offered),
        )
        if handover is not None:
            handover(viewer, self._services.settings.socket_limits)
            return

        async def send_lines(data: bytes) -> None:
            for line in data.splitlines():
                await send({"type": "websocket.send", "text": line.decode()})

        async def say_goodbye(code: int, reason: str) -> None:
            await send({"type": "websocket.close", "code": code, "reason": reason})

        limit = self._services.settings.unsent_limit_bytes
        await serve_on_asgi(viewer, receive, send_lines, say_goodbye, unsent_limit=limit)


def _credential(authorization: str | None, offered: list[str]) -> str | None:
    named = [entry[len(_TOKEN_SUBPROTOCOL) :] for entry in offered if entry.startswith(_TOKEN_SUBPROTOCOL)]
    return bearer(authorization) or (named[0] if named else None)


class WebSocketViewer(Viewer):
    """
    One viewer's socket. Messages are worked on in order, by a task that exists only while there are some; what the
    viewer is told goes through the hub.
    """

    __slots__ = ("_bad_messages", "_credential", "_inbox", "_origin", "_timer", "_worker")
    transport = "websocket"

    def __init__(self, services: Services, framing: Framing, *, origin: str | None, credential: str | None) -> None:
        super().__init__(services, framing)
        self._origin = origin
        self._credential = credential
        self._inbox: deque[str] | None = None
        self._worker: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._bad_messages = 0

    # What the sink calls (transports/sinks.py: Peer).

    def connected(self, sink: ViewerSink) -> None:
        super().connected(sink)
        credential, self._credential = self._credential, None
        try:
            self._services.admission.check_origin(self._origin)
            if credential is not None:
                self._authenticate(credential)
            else:
                seconds = self._services.settings.handshake_seconds
                self._timer = asyncio.get_running_loop().call_later(seconds, self._too_late)
        except GatewayError as error:
            self.refuse(error)

    def received(self, text: str) -> None:
        if self._inbox is None:
            self._inbox = deque()
        self._inbox.append(text)
        if len(self._inbox) >= _INBOX and self._sink is not None:
            self._sink.pause_reading()
        self._begin_work()

    def filled(self) -> None:
        # Whoever does not take our answers is not listened to: each message, and each ping, would make another one.
        super().filled()
        if self._sink is not None:
            self._sink.pause_reading()

    def drained(self) -> None:
        super().drained()
        self._read_on()
        self._begin_work()

    def received_binary(self) -> None:
        self.close(refusals.UNSUPPORTED_DATA, "a binary frame; only text is spoken here")

    def closed(self) -> None:
        self._stop_waiting()
        if self._worker is not None:
            self._worker.cancel()
        super().closed()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self.refuse(NotAuthenticated("no token came in time"))

    # What the viewer says.

    def _begin_work(self) -> None:
        if self._inbox and self._worker is None:
            self._worker = asyncio.create_task(self._work(), name="viewer messages")

    def _read_on(self) -> None:
        if self._sink is not None and not self.is_full and len(self._inbox or ()) <= _INBOX // 2:
            self._sink.resume_reading()

    async def _work(self) -> None:
        try:
            while self._inbox and not self._leaving and not self.is_full:
                text = self._inbox.popleft()
                if len(self._inbox) == _INBOX // 2:
                    self._read_on()
                await self._carry_out(text)
                await asyncio.sleep(0)  # thousands of messages that need no waiting must not hold up other viewers
        except Exception:
            log.exception("a viewer's message could not be worked on")
            self.close(refusals.INTERNAL_ERROR, "our fault")
        finally:
            self._worker = None
            if not self._inbox:
                self._inbox = None

    async def _carry_out(self, text: str) -> None:
        feed = None
        try:
            command = parse_message(text)
            match command:
                case Authenticate(token=token):
                    await self._renew(token) if self._connection is not None else self._authenticate(token)
                case Subscribe(wish=wish):
                    feed = str(wish.feed)
                    await self._subscribe(wish)
                case Unsubscribe(feed=name):
                    feed = name
                    self._unsubscribe(name)
        except BadInput as error:
            self.tell("error", refusals.error_message(error, feed=feed))
            self._bad_messages += 1
            if self._bad_messages >= _BAD_MESSAGES:
                self.close(refusals.TOO_MANY_BAD_MESSAGES, "too many messages that are not of this protocol")
        except GatewayError as error:
            if refusals.close_code(error) is None or self._connection is not None:
                self.tell("error", refusals.error_message(error, feed=feed))
            else:
                self.refuse(error)

    def _authenticate(self, credential: str) -> None:
        admitted = self._services.admission.admit(credential)
        if self._sink is not None:
            self._stop_waiting()
            self.let_in(admitted, Connection(self._services.hub, self._sink, self.framing, admitted.environment))

    async def _renew(self, credential: str) -> None:
        """Another token for the same viewer: its feeds go on, but for those that the new one does not allow."""
        admitted = self._services.admission.admit(credential)
        before, connection = self._admitted, self._connection
        if before is None or connection is None:
            return
        if admitted.environment != before.environment:
            raise TokenInvalid("the new token is of another environment; open another connection for it")
        for feed, follower in list(connection.followers.items()):
            try:
                await self._services.admission.check_feed(admitted, feed)
            except GatewayError as error:
                self._services.hub.leave(follower)
                self.tell("error", refusals.error_message(error, feed=str(feed)))
            else:
                if admitted.hidden != before.hidden and admitted.hidden is not None:
                    self._show_differently(follower, admitted.hidden)
        self.let_in(admitted, connection)

    def _show_differently(self, follower: Follower, hidden: frozenset[str]) -> None:
        """The new token hides other columns: the feed begins anew, as the viewer may see it now."""
        view, connection = follower.group.view, follower.connection
        self._services.hub.leave(follower)
        shown = type(view)(view.feed, hidden, view.since, view.limit)
        self._services.hub.follow(connection, shown, None)

    async def _subscribe(self, wish: Wish) -> None:
        connection, admitted = self._signed_in()
        if wish.feed in connection.followers:
            raise AlreadySubscribed(str(wish.feed))
        limit = self._services.settings.feeds_per_connection
        if len(connection.followers) >= limit:
            raise TooManyFeeds(limit=limit)
        await self._services.admission.check_feed(admitted, wish.feed)
        if self._connection is not None:  # it may have gone meanwhile
            self._services.hub.follow(connection, wish.view(admitted.hidden), wish.cursor)

    def _unsubscribe(self, name: str) -> None:
        connection, _ = self._signed_in()
        follower = connection.followers.get(FeedId.parse(name))
        if follower is None:
            raise NotSubscribed(name)
        self._services.hub.leave(follower)
        self.tell("unsubscribed", encode_message({"type": "unsubscribed", "feed": str(follower.group.view.feed)}))

    def _signed_in(self) -> tuple[Connection, Admitted]:
        if self._connection is None or self._admitted is None:
            raise NotAuthenticated('say {"type": "authenticate", "token": …} first')
        return self._connection, self._admitted
