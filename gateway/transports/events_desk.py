"""
Requests for Server-Sent Events that are let in without a task (transports/desk.py).

Most of them ask for nothing that has to be looked up: the token says what it allows, and the feed's name whether it is
that. They are let in by the same functions by which the endpoint (sse.py) lets in, and whatever these object to, it
explains. Only what a page of another origin may read of the answer is not known here: that is learnt when the endpoint
has let in the first page of that origin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.errors import GatewayError
from gateway.transports.framings import EVENTS
from gateway.transports.sse import HEAD, PATH, EventsViewer, asked, first_words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.transports.admission import Admitted
    from gateway.transports.desk import Visit
    from gateway.transports.requests import Wish
    from gateway.transports.viewing import Services

#: Origins whose lines are kept. With a wildcard in the list of those that are allowed there may be any number.
_ORIGINS: Final = 1_000
#: With these an answer has other headers, or there is more to the request than its query.
_UNUSUAL: Final = frozenset([b"cookie", b"content-length", b"transfer-encoding"])
_RAW_PATH: Final = PATH.encode()
_ROUTE: Final = ("GET", PATH, "2xx")


class EventsDesk:
    """Takes what can be let in at once (transports/desk.py: Clerk)."""

    def __init__(self, services: Services) -> None:
        self._services = services
        #: The lines that an answer gets for a page of an origin, or of none.
        self._lines: dict[bytes | None, bytes] = {}

    async def learn(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """A request with these was let in."""
        origins = [value for name, value in headers if name == b"origin"]
        if len(origins) > 1:
            return
        origin = origins[0] if origins else None
        if origin not in self._lines:
            if len(self._lines) >= _ORIGINS:
                self._lines.clear()
            self._lines[origin] = await self._services.desk.lines_for((origin or b"").decode("latin-1"))

    def forget(self) -> None:
        self._lines.clear()

    def take(self, visit: Visit) -> bool:
        if visit.path != _RAW_PATH:
            return False
        origin: bytes | None = None
        for name, value in visit.headers:
            if name == b"origin":
                if origin is not None:
                    return False
                origin = value
            elif name in _UNUSUAL:
                return False
        lines = self._lines.get(origin)
        if lines is None:
            return False
        services = self._services
        try:
            wishes, admitted = asked(services, {"headers": visit.headers, "query_string": visit.query})
        except GatewayError:
            return False
        if not self._may_begin(wishes, admitted):
            return False
        services.counters.requests[_ROUTE] += 1
        viewer = EventsViewer(services, wishes, admitted, EVENTS[len(wishes) > 1, True])
        visit.begin(HEAD + lines, first_words(wishes), viewer, services.settings.socket_limits)
        return True

    def _may_begin(self, wishes: list[Wish], admitted: Admitted) -> bool:
        """Whether there is nothing to be looked up: who it is for, what a run carries, whether it has ended."""
        services = self._services
        return (
            not admitted.one_time
            and services.quotas.has_place(admitted.environment, admitted.token)
            and all(
                services.admission.covers(admitted, wish.feed) and (wish.cursor is None or wish.feed.run_id is None)
                for wish in wishes
            )
        )
