"""
What an app may have beside ASGI for requests that need no task: a desk.

A long poll asks the same question a thousand times, and nearly always there is nothing to decide about it: who asks was
let in a moment ago, and the answer is at hand, or has to be waited for. Ten thousand viewers who come back together ask
for what follows from their tokens and their queries alone. Our own server (gateway/server) shows each request, and each
good handshake of a WebSocket, to the app's desk before it makes a task for it. What the desk takes it answers by one
write, at once or later, and holds without a task; whatever is not of the usual kind goes on to the app, also after it
was held. So the desk decides nothing that the app would not have decided in the same way, and with any other server the
app does it all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.transports.sinks import Peer, SocketLimits

#: How an app offers a desk: an attribute of that name.
DESK = "desk"


class Visit(Protocol):
    """
    A GET request without a body, at a desk.

    Whoever takes it calls `answer`, `begin` or `go_on`, once, unless it is told that its client has gone.
    """

    #: As they came.
    path: bytes
    query: bytes
    #: Names in small letters.
    headers: list[tuple[bytes, bytes]]
    #: Called when the client has gone before it was answered.
    gone: Callable[[], None] | None

    @property
    def port(self) -> int | None:
        """The port of ours that it came to."""

    def answer(self, head: bytes, body: bytes) -> None:
        """
        Answer it with 200 and *body*.

        Args:
            head: The lines of the headers, each with its end; without those that the server writes (length, date).
        """

    def begin(self, head: bytes, first: bytes, peer: Peer, limits: SocketLimits) -> None:
        """
        Answer it with 200 and a body that goes on: *first*, and then whatever *peer* writes, in chunks.

        The peer is `connected` soon; never when the client has gone meanwhile.

        Args:
            head: As of `answer`.
        """

    def go_on(self) -> None:
        """Let the app answer it, as if it had come just now."""


class SocketVisit(Protocol):
    """A WebSocket's handshake at a desk: one in which there is nothing to object to."""

    #: As they came.
    path: bytes
    #: Names in small letters.
    headers: list[tuple[bytes, bytes]]

    @property
    def port(self) -> int | None:
        """The port of ours that it came to."""

    def accept(self, head: bytes, peer: Peer, limits: SocketLimits) -> None:
        """
        Accept it; the socket is the *peer*'s from now on, who is `connected` before this returns.

        Args:
            head: The line of the subprotocol, with its end; empty without one.
        """


class Clerk(Protocol):
    """Who takes requests of some kind."""

    def take(self, visit: Visit) -> bool:
        """Whether it is taken. May be answered at once. Never raises."""

    def forget(self) -> None:
        """What was decided about who may ask does not count any more: other keys, other origins."""


class SocketClerk(Protocol):
    """Who takes handshakes."""

    def take(self, visit: SocketVisit) -> bool:
        """Whether it is taken; then it is accepted. Never raises."""


class FrontDesk:
    """The desk of an app: shows a request to its clerks."""

    def __init__(self) -> None:
        self._clerks: list[Clerk] = []
        self._socket_clerks: list[SocketClerk] = []
        #: The port where other things are asked for than here (gateway/monitoring).
        self.private_port: int | None = None
        #: The header lines that answers get for a page of an origin, or for no page (""); by who adds them (app.py).
        self.lines_for: Callable[[str], Awaitable[bytes]] = _nothing

    def add(self, clerk: Clerk) -> None:
        """*clerk* is shown requests that none of those before takes."""
        self._clerks.append(clerk)

    def add_for_sockets(self, clerk: SocketClerk) -> None:
        """The same, for handshakes."""
        self._socket_clerks.append(clerk)

    def take(self, visit: Visit) -> bool:
        """Whether somebody takes it; else the app answers. Never raises."""
        if self.private_port is not None and visit.port == self.private_port:
            return False
        for clerk in self._clerks:  # noqa: SIM110 - a generator for each request would be felt
            if clerk.take(visit):
                return True
        return False

    def take_socket(self, visit: SocketVisit) -> bool:
        """The same, for a handshake."""
        if self.private_port is not None and visit.port == self.private_port:
            return False
        return any(clerk.take(visit) for clerk in self._socket_clerks)

    def forget(self) -> None:
        """Keys or origins have changed."""
        for clerk in self._clerks:
            clerk.forget()


async def _nothing(origin: str) -> bytes:
    return b""
