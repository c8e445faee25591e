"""
What an app may have beside ASGI for requests that come again and again: a desk.

A long poll asks the same question a thousand times, and nearly always there is nothing to decide about it: who asks was
let in a moment ago, and the answer is at hand, or has to be waited for. Our own server (gateway/server) shows each
request to the app's desk before it makes a task for it. What the desk takes it answers later by one write, and holds
without a task; whatever is not of the usual kind goes on to the app, also after it was held. So the desk decides
nothing that the app would not have decided in the same way, and with any other server the app does it all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: How an app offers a desk: an attribute of that name.
DESK = "desk"


class Visit(Protocol):
    """
    A GET request without a body, at a desk.

    Whoever takes it calls either `answer` or `go_on`, once, unless it is told that its client has gone.
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

    def go_on(self) -> None:
        """Let the app answer it, as if it had come just now."""


class Clerk(Protocol):
    """Who takes requests of some kind."""

    def take(self, visit: Visit) -> bool:
        """Whether it is taken. May be answered at once. Never raises."""

    def forget(self) -> None:
        """What was decided about who may ask does not count any more: other keys, other origins."""


class FrontDesk:
    """The desk of an app: shows a request to its clerks."""

    def __init__(self) -> None:
        self._clerks: list[Clerk] = []
        #: The port where other things are asked for than here (gateway/monitoring).
        self.private_port: int | None = None
        #: The header lines that answers get for a page of an origin, or for no page (""); by who adds them (app.py).
        self.lines_for: Callable[[str], Awaitable[bytes]] = _nothing

    def add(self, clerk: Clerk) -> None:
        self._clerks.append(clerk)

    def take(self, visit: Visit) -> bool:
        if self.private_port is not None and visit.port == self.private_port:
            return False
        for clerk in self._clerks:  # noqa: SIM110 - a generator for each request would be felt
            if clerk.take(visit):
                return True
        return False

    def forget(self) -> None:
        """Keys or origins have changed."""
        for clerk in self._clerks:
            clerk.forget()


async def _nothing(origin: str) -> bytes:
    return b""
