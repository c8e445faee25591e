"""
uvicorn's protocol class for HTTP with five additions: the handover extension (transports/sinks.py), the app's desk
(transports/desk.py), limits of time (patience.py) and size for the request itself, what HTTP says of a request and
httptools does not (heads.py), and no log line with a query in it.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from gateway.server.handover import HandedOver, ResponseSocket, WebSocketSocket
from gateway.server.handshakes import UPGRADE_REQUIRED, accepted, is_of_another_version, key_of
from gateway.server.heads import BAD_REQUEST, origin_form, refusal, refused, without_upgrade
from gateway.server.patience import PatientProtocol
from gateway.server.unchunked import without_chunks
from gateway.server.visits import DefaultHead, DeskVisit, HandshakeVisit
from gateway.transports.desk import DESK
from gateway.transports.sinks import HANDOVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.server.websocket_protocol import WebSocketProtocol
    from gateway.transports.desk import FrontDesk
    from gateway.transports.sinks import Peer, SocketLimits

#: The longest request line with headers: a hundred feeds in a query, and a token, fit in.
REQUEST_BYTES: Final = 128 * 1024
#: The longest path with query that uvicorn's parser reads.
_URL_BYTES: Final = 65_535
#: Whoever has shut down its side still hears an answer that comes so soon; a poll that is held has been left.
_HALF_CLOSED_SECONDS: Final = 1.0

_URL_TOO_LONG: Final = b"414 URI Too Long"
_TOO_LARGE: Final = b"431 Request Header Fields Too Large"

_NOTHING: Final = memoryview(b"")

#: One for the process: its server makes the headers, and all connections write the same.
_default_head: Final = DefaultHead()


class HttpProtocol(PatientProtocol):
    """One HTTP connection."""

    _desk: FrontDesk | None = None
    #: The visit that its app's desk has taken and not yet answered.
    _visit: DeskVisit | None = None
    #: The response to a visit that begins when what has come is read, and nothing else.
    _beginning: Callable[[], None] | None = None
    #: What the app answers now. With pipelining it is not the newest, which uvicorn knows.
    _running: RequestResponseCycle | None = None
    #: What is being parsed.
    _segment = _NOTHING
    #: Whether the body of the newest request is not at its end.
    _in_body = False
    #: Why the request that is being read is refused, when it is not for what uvicorn says of it.
    _refusal: bytes | None = None
    #: What is written behind the last answer before the connection closes; None while more requests may come.
    _last_words: bytes | None = None
    _half_closed_timer: asyncio.TimerHandle | None = None
    url = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # As uvicorn does, but for addresses: uvloop would keep a socket object for each connection that was asked.
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        self.scheme = "https" if is_ssl(transport) else "http"
        self.access_log = False  # whatever was set up for uvicorn's log of it: whole queries would be in it
        self._desk = getattr(self.app, DESK, None)
        self._unparsed: list[memoryview] = []
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing() or self._last_words is not None:
            return
        if self.cycle is None or self.cycle.response_complete:
            # Whatever these bytes are (empty lines, the rest of a body), uvicorn stops its own timer for them.
            self._expect_request()
        self._unparsed.append(memoryview(data))
        while self._unparsed and not self.transport.is_closing():
            self._segment = self._unparsed.pop()
            super().data_received(self._segment)  # type: ignore[arg-type]  # the parser takes any buffer
        self._segment = _NOTHING
        if self._request_bytes is not None:
            self._request_bytes += len(data)
            if self._request_bytes > REQUEST_BYTES and not self.transport.is_closing():
                self._refuse(_TOO_LARGE)
        if self._beginning is not None:
            self._beginning()

    @property
    def port(self) -> int | None:
        """The port of ours that the connection came to."""
        self._ask_addresses()
        return None if self.server is None else self.server[1]

    def _ask_addresses(self) -> None:
        if self.server is None:
            self.server, self.client = get_local_addr(self.transport), get_remote_addr(self.transport)

    def _complete(self, scope: Any) -> None:
        """The app is told who asks, and where."""
        self._ask_addresses()
        scope["server"], scope["client"] = self.server, self.client

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

    # How a connection ends, whose requests that came before are answered all the same, and first.

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or (_URL_TOO_LONG if len(self.url) > _URL_BYTES else BAD_REQUEST))

    def _refuse(self, status: bytes) -> None:
        self._end_with(refused(status, _default_head.lines(self.server_state)))

    def _end_with(self, words: bytes) -> None:
        """Close the connection, with *words* for what can't be answered, when that has its turn."""
        running = self._running
        broken = self.cycle if self._in_body else None
        if self.pipeline and broken is self.pipeline[0][0]:
            self.pipeline.popleft()
        if (running is None or running is broken) and self._visit is None:
            self.transport.write(b"" if broken is not None and broken.response_started else words)  # not twice
            self.transport.close()
        else:
            self._last_words = words

    def on_response_complete(self) -> None:
        if self._last_words is not None and not self.pipeline and not self.transport.is_closing():
            self.transport.write(self._last_words)
            self.transport.close()
        super().on_response_complete()

    def eof_received(self) -> bool:  # type: ignore[override]
        """
        Whether the connection stays open for what is being answered.

        One that closes and one that only has nothing more to say look the same. So what is answered at once is (many
        scripts ask that way); a response that goes on, or is held until something happens, has been left.
        """
        running = self._running
        if running is None or self._in_body or self._request_bytes is not None or running.chunked_encoding:
            return False
        self._last_words = b""
        self._half_closed_timer = self.loop.call_later(_HALF_CLOSED_SECONDS, self.transport.close)
        return True

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._request_bytes = 0
        self._expect_request()

    def on_header(self, name: bytes, value: bytes) -> None:
        # A trailer is no header (RFC 9110, section 6.5.1): those are looked at by then, by proxies before us, too.
        if self._request_bytes is not None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._request_came()
        parser = self.parser
        version = parser.get_http_version()
        self._refusal = refusal(version, parser.get_method(), self.headers)
        if self._refusal is not None:
            raise httptools.HttpParserInvalidMethodError  # any error makes the parser stop, and uvicorn refuse
        if version == "1.0":
            self.expect_100_continue = False  # RFC 9110, section 10.1.1
        if parser.should_upgrade() and not self._should_upgrade():
            return  # it comes once more, without
        self._in_body = True
        if self._desk is not None and self._visits(self._desk):
            return
        self.url = origin_form(self.url)
        self._complete(self.scope)
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:  # it is an upgrade otherwise
            self._prepare(self.cycle)
            if version == "1.0":
                cast("Any", self.cycle).send = without_chunks(self.cycle)
            if getattr(self.server_state, "draining", False):
                self.finish()

    def on_message_complete(self) -> None:
        self._in_body = False
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _should_upgrade(self) -> bool:
        if self.parser.get_http_version() == "1.0" or self.parser.get_method() == b"HEAD":
            return False  # RFC 9110, sections 7.8, and 9.3.2: a refusal would have content
        return super()._should_upgrade()

    def _unsupported_upgrade_warning(self) -> None:
        # The parser has stopped, and reads no body. So it begins anew, with the request as it is without the wish.
        head = without_upgrade(self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers)
        self._unparsed += self._unread(), memoryview(head)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does

    def _unread(self) -> memoryview:
        """While the parser's news of an upgrade is handled: what comes behind that in the segment."""
        return self._segment[cast("httptools.HttpParserUpgrade", sys.exc_info()[1]).args[0] :]

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
            or len(self.url) > _URL_BYTES
            or b"#" in self.url
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
        self._complete(scope)
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

    def begin_stream(self, visit: DeskVisit, head: bytes, first: bytes, peer: Peer, limits: SocketLimits) -> None:
        """Answer a visit with a body that goes on."""

        def begin() -> None:
            self._beginning = None
            visit.response_complete, self._visit = True, None
            if self.transport.is_closing():
                return
            lines = _default_head.lines(self.server_state) + head
            self.transport.write(
                b"HTTP/1.1 200 OK\r\n%btransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (lines, len(first), first)
            )
            self._give_away(ResponseSocket(self.transport, peer, self.connections, limits, chunked=True))

        if self._segment:
            self._beginning = begin  # the parser would go on with what comes behind, and it is ours until then
        else:
            begin()

    def _shakes_hands(self, desk: FrontDesk, rest: bytes) -> bool:
        """Whether the desk takes a handshake; all that is to be explained about one is left to others."""
        if self.flow.write_paused or getattr(self.server_state, "draining", False):
            return False
        key = key_of(self.url, self.headers)
        return key is not None and desk.take_socket(HandshakeVisit(self, self.url.partition(b"?")[0], key, rest))

    def accept_socket(self, key: bytes, rest: bytes, head: bytes, peer: Peer, limits: SocketLimits) -> None:
        """Accept a handshake. *rest* came behind it."""
        self.transport.write(accepted(key, _default_head.lines(self.server_state) + head))
        socket = WebSocketSocket(self.transport, peer, self.connections, limits)
        self._give_away(socket)
        if rest:
            socket.data_received(rest)

    def handle_websocket_upgrade(self) -> None:
        # We are called while the parser's news of the upgrade is handled; it says how far the request went, and
        # uvicorn drops what comes behind.
        rest = bytes(self._unread())
        if self.cycle is not None and not self.cycle.response_complete:
            self._end_with(b"")  # two would write to one socket
            return
        if self.parser.get_method() == b"GET":
            if is_of_another_version(self.headers):
                self._end_with(UPGRADE_REQUIRED % _default_head.lines(self.server_state))
                return
            if self._desk is not None and self._shakes_hands(self._desk, rest):
                return
        self._watch_no_more()
        super().handle_websocket_upgrade()
        if rest and not self.transport.is_closing():
            cast("WebSocketProtocol", self.transport.get_protocol()).data_received(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        self._request_came()
        self._watch_no_more()
        if self._half_closed_timer is not None:
            self._half_closed_timer.cancel()
        running, self._running = self._running, None
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
        super().connection_lost(exc)
        if self._visit is not None:
            self._visit.disconnected = True
            self._visit.set()
        # The last request and we hold each other: let it go now, not when the garbage collector comes.
        self.cycle = cast("Any", None)

    def _hand_over(self, cycle: RequestResponseCycle, peer: Peer, limits: SocketLimits) -> None:
        """The response has begun; from now on its body is written by the peer, and we are no longer needed."""
        cycle.response_complete = True  # for the app's task, which returns now
        # These hold each other, the scope and the headers, through the extension: let them go now,
        # not when the garbage collector comes.
        cycle.scope["extensions"] = {}
        chunked = bool(cycle.chunked_encoding)
        self._give_away(ResponseSocket(self.transport, peer, self.connections, limits, chunked=chunked))

    def _give_away(self, socket: HandedOver) -> None:
        """The connection is the *socket*'s: nothing of ours may act on it, or be kept for it."""
        self._unset_keepalive_if_required()
        self._request_came()
        self._watch_no_more()
        self.pipeline.clear()  # what was asked behind an endless response is never answered
        self.flow.resume_reading()
        self.connections.discard(self)
        # They hold us, and we hold them, which only the garbage collector would notice.
        self._running = self.cycle = self.parser = cast("Any", None)
        socket.begin()
        if self._last_words is not None:  # half-closed, or broken behind it: there is nobody to stream to
            self.transport.close()
