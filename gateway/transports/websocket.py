"""`GET /v1/ws`: any number of feeds on one socket (docs/protocol.md, "WebSocket")."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from gateway.codec import encode_message
from gateway.errors import (
    AlreadySubscribed,
    BadInput,
    GatewayError,
    NotAuthenticated,
    NotSubscribed,
    TooManyFeeds,
    Unavailable,
)
from gateway.feed.connection import Connection
from gateway.feeds import FeedId
from gateway.limits import Bucket
from gateway.transports import refusals
from gateway.transports.admission import bearer, foreign_origin, headers_of
from gateway.transports.framings import LINES, WEBSOCKET
from gateway.transports.requests import Authenticate, Subscribe, Unsubscribe, parse_message, spell_authenticate
from gateway.transports.sinks import HANDOVER, serve_on_asgi
from gateway.transports.streams import resolved
from gateway.transports.viewing import Viewer, log

if TYPE_CHECKING:
    from gateway.feed.view import Framing
    from gateway.transports.admission import Admitted
    from gateway.transports.desk import SocketVisit
    from gateway.transports.requests import Wish
    from gateway.transports.sinks import Receive, Scope, Send, ViewerSink
    from gateway.transports.viewing import Services

PATH: Final = "/v1/ws"
_RAW_PATH: Final = PATH.encode()
SUBPROTOCOL: Final = "runcast.v1"
_SUBPROTOCOL_LINE: Final = f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n".encode()
_TOKEN_SUBPROTOCOL: Final = "token."  # noqa: S105 - a prefix, not a secret
#: A viewer that says more is listened to more slowly: all its feeds several times over, then so many messages a second.
_MESSAGES_AT_ONCE, _MESSAGES_PER_SECOND = 5000, 500
#: Messages of one viewer that wait to be worked on; more are left in the socket.
_INBOX: Final = 64
_BAD_MESSAGES: Final = 10


class WebSocketEndpoint:
    """The ASGI app of the route: origin, subprotocol and token of the handshake, then the viewer itself."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        offered: list[str] = scope.get("subprotocols", [])
        await receive()  # websocket.connect
        # Always accepted: a browser tells its page nothing about a refused handshake, but it
        # does pass on the error and the close code that come now.
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if SUBPROTOCOL in offered else None})
        handover = scope.get("extensions", {}).get(HANDOVER)
        viewer = viewer_of(self._services, headers_of(scope), offered, WEBSOCKET if handover else LINES)
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


class SocketDesk:
    """
    Takes handshakes without a task (transports/desk.py: SocketClerk): each good one is accepted, and all else is said
    on the socket.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    def take(self, visit: SocketVisit) -> bool:
        if visit.path != _RAW_PATH:
            return False
        headers = headers_of({"headers": visit.headers})
        offered = [name.strip() for name in headers.get("sec-websocket-protocol", "").split(",")]
        viewer = viewer_of(self._services, headers, offered, WEBSOCKET)
        head = _SUBPROTOCOL_LINE if SUBPROTOCOL in offered else b""
        visit.accept(head, viewer, self._services.settings.socket_limits)
        return True


def viewer_of(services: Services, headers: dict[str, str], offered: list[str], framing: Framing) -> WebSocketViewer:
    """Whoever made a handshake with *headers* that offers these subprotocols."""
    credential = _credential(headers.get("authorization"), offered)
    return WebSocketViewer(services, framing, origin=foreign_origin(headers), credential=credential)


def _credential(authorization: str | None, offered: list[str]) -> str | None:
    named = [entry[len(_TOKEN_SUBPROTOCOL) :] for entry in offered if entry.startswith(_TOKEN_SUBPROTOCOL)]
    return bearer(authorization) or (named[0] if named else None)


class WebSocketViewer(Viewer):
    """
    One viewer's socket. Messages are worked on in order, by a task that exists only while there are some; what the
    viewer is told goes through the hub.
    """

    __slots__ = ("_bad_messages", "_credential", "_has_spoken", "_inbox", "_origin", "_pace", "_timer", "_worker")
    transport = "websocket"

    def __init__(self, services: Services, framing: Framing, *, origin: str | None, credential: str | None) -> None:
        super().__init__(services, framing)
        self._origin = origin
        self._credential = credential
        self._inbox: deque[str] | None = None
        self._worker: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._bad_messages = 0
        self._has_spoken = False
        self._pace: Bucket | None = None

    # What the sink calls (transports/sinks.py: Peer).

    def connected(self, sink: ViewerSink) -> None:
        super().connected(sink)
        credential, self._credential = self._credential, None
        try:
            self._services.admission.check_origin(self._origin)
            admitted = None if credential is None else self._services.admission.admit(credential)
            if admitted is not None and not admitted.one_time:
                self._enter(admitted)
                return
            seconds = self._services.settings.handshake_seconds
            self._timer = asyncio.get_running_loop().call_later(seconds, self._too_late)
            if credential is not None:
                # To use it up Redis is asked, and what the viewer says meanwhile waits: as if this were its first word.
                self.received(spell_authenticate(credential))
        except GatewayError as error:
            self.refuse(error)

    def received(self, text: str) -> None:
        first, self._has_spoken = not self._has_spoken, True
        if first and self._follow_at_once(text):
            return
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

    def _follow_at_once(self, text: str) -> bool:
        """
        Whether this was all that most viewers ever say, one feed that they may see by its name: it needs no waiting,
        and so no task. Everything else is worked on by one, which also says what is wrong with it.
        """
        connection, admitted = self._connection, self._admitted
        if connection is None or admitted is None or self._leaving or self.is_full:
            return False
        try:
            command = parse_message(text)
        except BadInput:
            return False
        if not isinstance(command, Subscribe) or command.wish.from_now:
            return False
        wish = command.wish
        if not self._services.admission.covers(admitted, wish.feed):
            return False
        self._services.hub.follow(connection, wish.view(admitted.hidden), wish.cursor)
        return True

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
                await self._keep_pace()
                await self._carry_out(text)
                await asyncio.sleep(0)  # thousands of messages that need no waiting must not hold up other viewers
        except Exception:
            log.exception("a viewer's message could not be worked on")
            self.close(refusals.INTERNAL_ERROR, "our fault")
        finally:
            self._worker = None
            if not self._inbox:
                self._inbox = None

    async def _keep_pace(self) -> None:
        if self._pace is None:
            self._pace = Bucket(_MESSAGES_PER_SECOND, time.monotonic(), burst=_MESSAGES_AT_ONCE)
        seconds = self._pace.take(time.monotonic())
        if seconds:
            await asyncio.sleep(seconds)
            self._pace.take(time.monotonic())

    async def _carry_out(self, text: str) -> None:
        feed = None
        try:
            command = parse_message(text)
            match command:
                case Authenticate(token=token):
                    await self._authenticate(token)
                case Subscribe(wish=wish):
                    feed = str(wish.feed)
                    await self._subscribe(wish)
                case Unsubscribe(feed=name):
                    feed = name
                    self._unsubscribe(name)
        except BadInput as error:
            self.complain(error, feed=feed)
            self._bad_messages += 1
            if self._bad_messages >= _BAD_MESSAGES:
                self.close(refusals.TOO_MANY_BAD_MESSAGES, "too many messages that are not of this protocol")
        except GatewayError as error:
            # Whoever can't be let in now, because Redis is away, is sent away to come back.
            if self._connection is not None or not (refusals.close_code(error) or isinstance(error, Unavailable)):
                self.complain(error, feed=feed)
            else:
                self.refuse(error)

    async def _authenticate(self, credential: str) -> None:
        admitted = self._services.admission.admit(credential)
        if self._connection is not None:
            await self.renew(admitted)
        else:
            # Before its token may be used up.
            self._services.quotas.check_connection(admitted.environment, admitted.token)
            await self._services.admission.use(admitted)
            self._enter(admitted)

    def _enter(self, admitted: Admitted) -> None:
        if self._sink is not None:
            self._stop_waiting()
            self.let_in(admitted, Connection(self._services.hub, self._sink, self.framing, admitted.environment))

    async def _subscribe(self, wish: Wish) -> None:
        connection, admitted = self._signed_in()
        if wish.feed in connection.followers:
            raise AlreadySubscribed(str(wish.feed))
        limit = self._services.settings.feeds_per_connection
        if len(connection.followers) >= limit:
            raise TooManyFeeds(limit=limit)
        await self._services.admission.check_feed(admitted, wish.feed)
        wish = await resolved(self._services.store, admitted.environment, wish)
        while self._admitted is not None and self._admitted is not admitted:  # it has another token meanwhile
            admitted = self._admitted
            await self._services.admission.check_feed(admitted, wish.feed)
        if self._connection is not None:  # it may have gone meanwhile
            if wish.begin is not None:
                connection.tell(wish.begin)
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
