"""
uvicorn's protocol classes with four additions: the handover extension (transports/sinks.py), the app's desk
(transports/desk.py), limits of time and size for the request itself, and no log line with a query in it.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gateway.server.handover import ResponseSocket, WebSocketSocket
from gateway.server.visits import DefaultHead, DeskVisit
from gateway.transports.desk import DESK
from gateway.transports.sinks import HANDOVER

if TYPE_CHECKING:
    import httptools

    from gateway.transports.desk import FrontDesk
    from gateway.transports.sinks import ASGIMessage, Peer, Send, SocketLimits

# uvicorn prints whole paths of WebSockets at INFO, and the websockets library all headers at DEBUG: tokens, both.
# Whatever level an operator wants of everything else, not of this.
_handshakes_log = logging.getLogger("runcast.handshakes")
_handshakes_log.setLevel(logging.WARNING)

#: How long a connection may take to say what it wants.
REQUEST_SECONDS: Final = 10.0
#: A client that takes nothing of what waits to be sent to it is let go after so long.
STUCK_SECONDS: Final = 60.0
#: The longest request line with headers: a hundred feeds in a query, and a token, fit in.
REQUEST_BYTES: Final = 128 * 1024
#: The longest path with query that uvicorn's parser reads.
_URL_BYTES: Final = 65_535
#: What a viewer may send while its handshake is answered; the rest stays in the socket.
_EARLY_BYTES: Final = 64 * 1024

_URL_TOO_LONG: Final = b"HTTP/1.1 414 URI Too Long\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_BAD_REQUEST: Final = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


#: One for the process: its server makes the headers, and all connections write the same.
_default_head: Final = DefaultHead()


class HttpProtocol(HttpToolsProtocol):
    """One HTTP connection."""

    _desk: FrontDesk | None = None
    #: The visit that its app's desk has taken and not yet answered.
    _visit: DeskVisit | None = None
    #: What the app answers now. With pipelining it is not the newest, which uvicorn knows.
    _running: RequestResponseCycle | None = None
    _request_timer: asyncio.TimerHandle | None = None
    #: Runs while something waits to be sent that should have been taken.
    _stuck_timer: asyncio.TimerHandle | None = None
    #: Bytes of the request line and headers that are being read; None when there are none.
    _request_bytes: int | None = None
    _segment = b""
    url = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.access_log = False  # whatever was set up for uvicorn's log of it: whole queries would be in it
        self._desk = getattr(self.app, DESK, None)
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            # Whatever these bytes are (empty lines, the rest of a body), uvicorn stops its own timer for them.
            self._expect_request()
        self._segment = data
        super().data_received(data)
        self._segment = b""
        if self._request_bytes is not None:
            self._request_bytes += len(data)
            if self._request_bytes > REQUEST_BYTES and not self.transport.is_closing():
                self.transport.write(_TOO_LARGE)
                self.transport.close()

    @property
    def busy(self) -> bool:
        """Whether a request is being read or answered."""
        answering = self.cycle is not None and not self.cycle.response_complete
        return answering or self._request_bytes is not None or bool(self.pipeline)

    def finish(self) -> None:
        """The server stops: what is being answered is finished, and the connection is not kept for another request."""
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def abort(self) -> None:
        """The server stops, and its time is up."""
        self.transport.abort()

    def _expect_request(self) -> None:
        # uvicorn waits for ever for the rest of a request; whoever sends it byte by byte holds a socket.
        if self._request_timer is None:
            self._request_timer = self.loop.call_later(REQUEST_SECONDS, self.transport.close)

    def _request_came(self) -> None:
        self._request_bytes = None
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    # Whoever does not take his answers: the app's task that writes them, and his place, must not be kept for ever.

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_unsent()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._watch_no_more()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._watch_unsent()  # the transport closes only when all is sent

    def _watch_unsent(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent and self._stuck_timer is None:
            self._stuck_timer = self.loop.call_later(STUCK_SECONDS, self._look_whether_stuck, unsent)

    def _look_whether_stuck(self, unsent_before: int) -> None:
        self._stuck_timer = None
        if self.transport.get_write_buffer_size() < unsent_before:
            self._watch_unsent()  # slow, but it takes something
        else:
            self.transport.abort()

    def _watch_no_more(self) -> None:
        if self._stuck_timer is not None:
            self._stuck_timer.cancel()
            self._stuck_timer = None

    def send_400_response(self, msg: str) -> None:
        if len(self.url) > _URL_BYTES:
            self.transport.write(_URL_TOO_LONG)
            self.transport.close()
        else:
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._request_bytes = 0
        self._expect_request()

    def on_headers_complete(self) -> None:
        self._request_came()
        if self._desk is not None and self._visits(self._desk):
            return
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:  # it is an upgrade otherwise
            self._prepare(self.cycle)
            if self.parser.get_http_version() == "1.0":
                cast("Any", self.cycle).send = _without_chunks(self.cycle)
            if getattr(self.server_state, "draining", False):
                self.finish()

    def _prepare(self, cycle: RequestResponseCycle) -> None:
        # Each request has its own: with pipelining the newest is not the one that is answered.
        cast("Any", cycle.scope)["extensions"] = {HANDOVER: partial(self._hand_over, cycle)}
        cycle.on_response = partial(self._answered, cycle)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _answered(self, cycle: RequestResponseCycle) -> None:
        self._running = None
        # What is left holds each other through the extension: let it go now, not when the garbage collector comes.
        cast("Any", cycle.scope)["extensions"] = {}
        self.on_response_complete()

    # The app's desk (transports/desk.py).

    def _visits(self, desk: FrontDesk) -> bool:
        """Whether the desk takes the request. It is shown those that need nothing but an answer, one at a time."""
        parser = self.parser
        if (
            parser.get_method() != b"GET"
            or (self.cycle is not None and not self.cycle.response_complete)
            or self.flow.write_paused
            or getattr(self.server_state, "draining", False)
            or parser.get_http_version() != "1.1"
            or parser.should_upgrade()
            or not parser.should_keep_alive()
            or self.expect_100_continue
        ):
            return False
        path, _, query = self.url.partition(b"?")
        visit = self._visit = DeskVisit(self, path, query, self.scope)
        if not desk.take(visit):
            self._visit = None
            return False
        self.cycle = cast("RequestResponseCycle", visit)
        return True

    def answer_visit(self, visit: DeskVisit, head: bytes, body: bytes) -> None:
        """Answer a visit with 200, all in one write."""
        self._visit = None
        if self.transport.is_closing():
            return
        closing = b"" if visit.keep_alive else b"connection: close\r\n"
        default = _default_head.lines(self.server_state)
        self.transport.write(
            b"HTTP/1.1 200 OK\r\n%b%b%bcontent-length: %d\r\n\r\n%b" % (default, head, closing, len(body), body)
        )
        if not visit.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def go_on(self, visit: DeskVisit) -> None:
        """Let the app answer a visit after all."""
        self._visit = None
        if self.transport.is_closing():
            return
        scope = visit.scope
        path = visit.path.decode("ascii")
        scope["method"], scope["query_string"] = "GET", visit.query
        scope["path"] = self.root_path + (unquote(path) if "%" in path else path)
        scope["raw_path"] = self.root_path.encode("ascii") + visit.path
        cycle = RequestResponseCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=visit.keep_alive,
            on_response=self.on_response_complete,
        )
        self._prepare(cycle)
        cycle.more_body = visit.more_body
        if not visit.more_body:
            cycle.message_event.set()
        if cast("Any", self.cycle) is visit:  # and no request has come behind it
            self.cycle = cycle
        self._start_asgi_task(cycle, self.app)

    def handle_websocket_upgrade(self) -> None:
        # We are called while the parser's news of the upgrade is handled; it says how far the request went, and
        # uvicorn drops what comes behind.
        upgrade = cast("httptools.HttpParserUpgrade", sys.exc_info()[1])
        rest = self._segment[upgrade.args[0] :]
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()  # two would write to one socket
            return
        self._watch_no_more()
        super().handle_websocket_upgrade()
        if rest and not self.transport.is_closing():
            cast("WebSocketProtocol", self.transport.get_protocol()).data_received(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        self._request_came()
        self._watch_no_more()
        running, self._running = self._running, None
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
        super().connection_lost(exc)
        if self._visit is not None:
            self._visit.disconnected = True
            self._visit.set()

    def _hand_over(self, cycle: RequestResponseCycle, peer: Peer, limits: SocketLimits) -> None:
        """The response has begun; from now on its body is written by the peer, and we are no longer needed."""
        cycle.response_complete = True  # for the app's task, which returns now
        self._running = None
        self._unset_keepalive_if_required()
        self._request_came()
        self._watch_no_more()
        self.pipeline.clear()  # what was asked behind an endless response is never answered
        self.flow.resume_reading()
        self.connections.discard(self)
        socket = ResponseSocket(self.transport, peer, self.connections, limits, chunked=bool(cycle.chunked_encoding))
        # These hold each other, the scope and the headers, through the extension: let them go now,
        # not when the garbage collector comes.
        cycle.scope["extensions"] = {}
        socket.begin()


def _without_chunks(cycle: RequestResponseCycle) -> Send:
    """
    The way to send that uvicorn lacks for HTTP/1.0, which knows no chunks (RFC 9112, section 6.1): a body whose length
    is not known ends with its connection.
    """
    send = cycle.send

    async def send_without_chunks(message: ASGIMessage) -> None:
        begins = message["type"] == "http.response.start" and message["status"] == 200
        if begins and all(name != b"content-length" for name, _ in message["headers"]):
            cycle.chunked_encoding, cycle.expected_content_length = False, sys.maxsize
        await send(cast("Any", message))

    return send_without_chunks


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket up to its handshake."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.logger = self.conn.logger = _handshakes_log
        self.conn.debug = False
        self._early = bytearray()

    def data_received(self, data: bytes) -> None:
        if self.handshake_initiated:
            # A viewer that did not wait for our answer: these are frames, for whoever reads them after us.
            self._early += data
            if len(self._early) > _EARLY_BYTES and not self.transport.is_closing():
                self.transport.pause_reading()
            return
        super().data_received(data)
        if not self.handshake_initiated:
            # What comes first is the whole request, so the library can't read it, and uvicorn would say nothing.
            self.transport.write(b"".join(self.conn.data_to_send()) or _BAD_REQUEST)
            self.transport.close()

    async def run_asgi(self) -> None:
        cast("Any", self.scope)["extensions"][HANDOVER] = self._hand_over
        await super().run_asgi()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # by an HTTP response: uvicorn would log that there was none

    def abort(self) -> None:
        """The server stops, and its time is up."""
        self.transport.abort()

    def _hand_over(self, peer: Peer, limits: SocketLimits) -> None:
        """The handshake is done; from now on frames are read and written without us."""
        self.stop_keepalive()
        self.connections.discard(self)
        socket = WebSocketSocket(self.transport, peer, self.connections, limits)
        self.transport = cast("asyncio.Transport", _NoTransport())
        self.scope["extensions"] = {}
        socket.begin()
        early, self._early = bytes(self._early), bytearray()
        if len(early) > _EARLY_BYTES:
            socket.resume_reading()
        if early:
            socket.data_received(early)


class _NoTransport:
    """What a protocol is left with that has handed its socket over: uvicorn closes it when the app returns."""

    def close(self) -> None:
        pass

    def is_closing(self) -> bool:
        return True
