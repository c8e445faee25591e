"""A request, or a handshake, at the app's desk (transports/desk.py): held without a task, answered by one write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from uvicorn.server import ServerState

    from gateway.server.protocols import HttpProtocol
    from gateway.transports.sinks import Peer, SocketLimits

_Headers = list[tuple[bytes, bytes]]


class DeskVisit:
    """
    One visit (transports/desk.py: Visit).

    While it lasts it stands where uvicorn has the cycle of request and response, and has what is looked at there.
    """

    __slots__ = (
        *("_protocol", "body", "disconnected", "gone", "headers", "keep_alive", "more_body", "path", "query"),
        *("response_complete", "scope"),
    )

    def __init__(self, protocol: HttpProtocol, path: bytes, query: bytes, scope: Any) -> None:
        self._protocol = protocol
        self.path = path
        self.query = query
        self.scope = scope
        self.headers: _Headers = scope["headers"]
        self.gone: Callable[[], None] | None = None
        self.disconnected = self.response_complete = False
        self.keep_alive = self.more_body = True
        self.body = b""

    @property
    def port(self) -> int | None:
        return self._protocol.port

    @property
    def message_event(self) -> DeskVisit:
        """uvicorn sets an event when the cycle has news; here it says so to the visit."""
        return self

    def set(self) -> None:
        """There is news of the connection."""
        if self.disconnected and not self.response_complete:
            gone = self.gone
            self._over()
            if gone is not None:
                gone()

    def _over(self) -> None:
        self.response_complete = True
        # Who holds a visit is called by it, and so they would hold each other until the collector looks.
        self.gone = None

    def answer(self, head: bytes, body: bytes) -> None:
        if self.response_complete:
            return
        self._over()
        self._protocol.answer_visit(self, head, body)

    def begin(self, head: bytes, first: bytes, peer: Peer, limits: SocketLimits) -> None:
        if not self.response_complete:
            self._protocol.begin_stream(self, head, first, peer, limits)

    def go_on(self) -> None:
        if self.response_complete:
            return
        self._over()
        self._protocol.go_on(self)


class HandshakeVisit:
    """One handshake (transports/desk.py: SocketVisit)."""

    __slots__ = ("_key", "_protocol", "_rest", "headers", "path")

    def __init__(self, protocol: HttpProtocol, path: bytes, key: bytes, rest: bytes) -> None:
        self._protocol = protocol
        self._key = key
        #: What the client said behind it without waiting for an answer.
        self._rest = rest
        self.path = path
        self.headers: _Headers = protocol.headers

    @property
    def port(self) -> int | None:
        return self._protocol.port

    def accept(self, head: bytes, peer: Peer, limits: SocketLimits) -> None:
        self._protocol.accept_socket(self._key, self._rest, head, peer, limits)


class DefaultHead:
    """The headers that a server adds to each answer, as they are written; it makes them anew each second."""

    __slots__ = ("_headers", "_lines")

    def __init__(self) -> None:
        self._headers: _Headers | None = None
        self._lines = b""

    def lines(self, state: ServerState) -> bytes:
        if state.default_headers is not self._headers:
            self._headers = state.default_headers
            self._lines = b"".join([b"%b: %b\r\n" % header for header in self._headers])
        return self._lines
