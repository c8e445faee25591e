"""
Polls that come again: answered without a task (transports/desk.py).

Every request says anew who asks and for what, and the endpoint (triggerdev/feeds.py) judges it. When it has let a live
request in it leaves a pass here, by everything in the request that its judgement stood on. The next request that is the
same but for its place is then only asked what may have changed: whether the token holds. It is answered from the
shape's log, or held; whatever else there is to say (something must be read, the token ended), the endpoint
says it.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.errors import GatewayError
from gateway.triggerdev.shape import poll
from gateway.triggerdev.shape.answers import live_head, next_cursor
from gateway.triggerdev.shape.held import give_place_back, take_place
from gateway.triggerdev.shape.log import OutOfLog, body_of
from gateway.triggerdev.shape.shape import Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.revocations import Revocation
    from gateway.transports.admission import Admitted
    from gateway.transports.desk import Visit
    from gateway.transports.sinks import Scope
    from gateway.transports.viewing import Services
    from gateway.triggerdev.shape.handles import Handle
    from gateway.triggerdev.shape.log import Told
    from gateway.triggerdev.shape.shape import Shape
    from gateway.triggerdev.shape.shapes import Shapes

#: A live request as the official clients spell it: sorted by name, with nothing of its own but what a feed knows.
_LIVE: Final = re.compile(
    rb"((?:createdAt=[^&#]*&)?)cursor=([\w.~-]*)&(?:expired_handle=[^&#]*&)?handle=([\w.~-]+)&live=true&(?:log=full&)?"
    rb"offset=([0-9]{1,18})_0((?:&skipColumns=[^&#]*)?(?:&tags=[^&#]*)?)"
)
#: After so long the endpoint judges anew.
PASS_SECONDS: Final = 60.0
MOST_PASSES: Final = 20_000
#: The longest request that leaves one: what a client can make long (names of columns, say) must not be kept for each.
MOST_PASS_BYTES: Final = 4096
#: Polls that are answered in one turn of the loop; then others get theirs, and the answers leave.
_TURN: Final = 128
_IDLE: Final = body_of(b"")

#: With these an answer has other headers, or there is more to the request than its query.
_UNUSUAL: Final = frozenset([b"cookie", b"content-length", b"transfer-encoding"])

_Key = tuple[bytes, bytes, bytes, bytes, bytes | None, bytes | None]


class _Call(NamedTuple):
    """A live request, taken apart."""

    key: _Key
    cursor: bytes
    offset: int


def _read(path: bytes, query: bytes, headers: Sequence[tuple[bytes, bytes]]) -> _Call | None:
    """None when it is not of the usual kind."""
    match = _LIVE.fullmatch(query)
    if match is None:
        return None
    credential: bytes | None = None
    origin: bytes | None = None  # an empty one is one, too
    for name, value in headers:
        if name == b"authorization":
            if credential is not None:
                return None
            credential = value
        elif name == b"origin":
            if origin is not None:
                return None
            origin = value
        elif name in _UNUSUAL:
            return None
    created, cursor, handle, offset, own = match.groups()
    return _Call((path, created, own, handle, credential, origin), cursor, int(offset))


@dataclass(frozen=True, slots=True)
class _Pass:
    """What the endpoint decided about a request, for those that follow."""

    admitted: Admitted
    shape: Shape
    handle: Handle
    #: The lines of its answers that don't change.
    head: bytes
    #: How its route is counted.
    route: str
    #: Until when it may be used (unix seconds): not longer than the token and the key behind it hold.
    until: float


class ShapeDesk:
    """Takes the live requests that have a pass (transports/desk.py: Clerk)."""

    def __init__(self, services: Services, shapes: Shapes) -> None:
        self._services = services
        self._shapes = shapes
        self._passes: dict[_Key, _Pass] = {}
        self._held: dict[_HeldVisit, None] = {}
        self._woken: deque[_HeldVisit] = deque()

    async def leave_pass(self, scope: Scope, admitted: Admitted, shape: Shape, handle: Handle | None) -> None:
        """The live request of *scope* was let in, by the name of its feed alone, with a *handle* of its own."""
        call = _read(scope["raw_path"], scope["query_string"], scope["headers"])
        if call is None or handle is None or admitted.one_time:
            return
        if sum(len(part) for part in call.key if part is not None) > MOST_PASS_BYTES:
            return
        if len(self._passes) >= MOST_PASSES:
            self._passes.clear()  # cheaper than keeping an order, and no more than a judgement each
        origin = (call.key[-1] or b"").decode("latin-1")
        head = live_head(str(handle)) + await self._services.desk.lines_for(origin)
        until = min(time.time() + PASS_SECONDS, self._services.admission.end_of(admitted))
        self._passes[call.key] = _Pass(admitted, shape, handle, head, scope["route"].template, until)

    def forget(self) -> None:
        self._passes.clear()

    def take(self, visit: Visit) -> bool:
        call = _read(visit.path, visit.query, visit.headers)
        found = None if call is None else self._passes.get(call.key)
        if call is None or found is None or time.time() >= found.until:
            return False
        if found.shape.closed or found.shape.is_stale:
            return False
        held = _HeldVisit(self, found, visit, call)
        try:
            self._services.revocations.check(found.admitted)
            told = held.look()
        except (GatewayError, OutOfLog):
            return False
        if told is not None:
            self.answer(held, told)
        elif self._services.quotas.has_place(found.admitted.environment, found.admitted.token):
            self._hold(held)
        else:
            found.shape.forget(held.wake)
            return False
        return True

    # What is held.

    def _hold(self, held: _HeldVisit) -> None:
        self._held[held] = None
        self._shapes.enter(held.found.shape)
        take_place(self._services, held.found.admitted, held)
        self._services.lifecycle.wait(held.send_away)
        held.visit.gone = held.left
        held.timer = asyncio.get_running_loop().call_later(poll.hold_seconds(), held.time_is_up)

    def let_go(self, held: _HeldVisit) -> bool:
        """It is not held any more. Returns whether it was."""
        if held not in self._held:
            return False
        del self._held[held]
        if held.timer is not None:
            held.timer.cancel()
        give_place_back(self._services, held.found.admitted, held)
        self._services.lifecycle.forget(held.send_away)
        held.found.shape.forget(held.wake)
        self._shapes.leave(held.found.shape)
        return True

    def woken(self, held: _HeldVisit) -> None:
        """There may be news for it: it is looked at with all others, in turns."""
        if not self._woken:
            asyncio.get_running_loop().call_soon(self._look_at_some)
        self._woken.append(held)

    def _look_at_some(self) -> None:
        try:
            for _ in range(min(len(self._woken), _TURN)):
                held = self._woken.popleft()
                if held in self._held:
                    self._look_at(held)
        finally:  # nobody else would look at the others: a mistake with one must not hold them
            if self._woken:
                asyncio.get_running_loop().call_soon(self._look_at_some)

    def _look_at(self, held: _HeldVisit) -> None:
        try:
            told = held.look()
        except OutOfLog:
            self.pass_on(held)
            return
        if told is not None:
            self.let_go(held)
            self.answer(held, told)

    def answer(self, held: _HeldVisit, told: Told | None) -> None:
        """Tell it what happened; or that nothing did."""
        found, services = held.found, self._services
        offset, body = (held.place.offset, _IDLE) if told is None else (told.end, told.body)
        cursor = next_cursor(held.cursor.decode("ascii"))
        held.visit.answer(b"%belectric-offset: %d_0\r\nelectric-cursor: %b\r\n" % (found.head, offset, cursor), body)
        services.counters.requests["GET", found.route, "2xx"] += 1
        services.counters.request_took(found.route, time.monotonic() - held.began)

    def pass_on(self, held: _HeldVisit) -> None:
        """Whatever it is to be told, the endpoint tells it."""
        if self.let_go(held):
            held.visit.go_on()


class _HeldVisit:
    """
    A request at the desk that waits, as those know it who end what a token opened (transports/expirations.py).

    Its token may expire meanwhile: that is looked at when the client comes again.
    """

    __slots__ = ("_desk", "began", "cursor", "found", "place", "timer", "visit")

    def __init__(self, desk: ShapeDesk, found: _Pass, visit: Visit, call: _Call) -> None:
        self._desk = desk
        self.found = found
        self.visit = visit
        self.place = Place(found.handle.epoch, call.offset, found.handle.base)
        self.cursor = call.cursor
        self.began = time.monotonic()
        self.timer: asyncio.TimerHandle | None = None

    @property
    def admitted(self) -> Admitted | None:
        return self.found.admitted

    def look(self) -> Told | None:
        """
        What it is told; None when that is nothing, and it will hear of more.

        Raises:
            OutOfLog: When that must be read.
        """
        shape = self.found.shape
        told = shape.look(self.place)
        if told is None:
            shape.wait(self.wake)  # nothing comes in between: nobody else gets a turn
        return told

    def wake(self) -> None:
        """There may be news."""
        self._desk.woken(self)

    def left(self) -> None:
        """The client has gone."""
        self._desk.let_go(self)

    def send_away(self) -> None:
        """The server stops, and this is its turn: it is told that nothing happened, and comes again elsewhere."""
        if self._desk.let_go(self):
            self._desk.answer(self, None)

    def time_is_up(self) -> None:
        if self.found.shape.is_stale:
            self._desk.pass_on(self)  # nobody knows whether something happened, which the endpoint says
        else:
            self.send_away()

    def expired(self) -> None:
        """Its token's time is over, which is not asked while it waits."""

    def revoked(self, revocation: Revocation) -> None:
        """Its token was taken back."""
        self._desk.pass_on(self)

    def keys_changed(self) -> None:
        """Other secret keys count now: the endpoint looks whether its own is among them."""
        self._desk.pass_on(self)
