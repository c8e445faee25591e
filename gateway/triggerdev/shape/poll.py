"""One request to a shape: what it is answered, at once or when something happens (shape protocol, sections 5 and 9)."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.errors import NotFound, NotFoundYet, Unavailable
from gateway.triggerdev.shape.answers import Answer, must_refetch, told, told_live
from gateway.triggerdev.shape.handles import Handle
from gateway.triggerdev.shape.held import HeldPoll
from gateway.triggerdev.shape.log import OutOfLog, body_of
from gateway.triggerdev.shape.requests import FROM_NOW
from gateway.triggerdev.shape.shape import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.feeds import FeedId
    from gateway.transports.admission import Admitted
    from gateway.transports.sinks import Receive
    from gateway.transports.viewing import Services
    from gateway.triggerdev.shape.reading import Read
    from gateway.triggerdev.shape.requests import ShapeRequest
    from gateway.triggerdev.shape.shape import Shape

#: A live request is held so long, each a little longer or shorter than the others.
HOLD_SECONDS: Final = 20.0
HOLD_SPREAD: Final = 0.15
#: A run that is not there may be on its way: whoever made its id tells viewers of it, and Redis, at the same time. The
#: clients give up on a 404 without a word.
ARRIVAL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was understood."""

    admitted: Admitted
    feed: FeedId
    request: ShapeRequest
    hidden: frozenset[str]
    #: Where the window of its feed begins (ms since 1970), should the feed begin now.
    since: int
    #: What names feed and columns in a handle (`handles.definition_of`).
    definition: str
    #: The handle that it came with, if it is one of this feed.
    handle: Handle | None
    #: Whether we made that for exactly this token.
    bound: bool

    def check_time(self) -> None:
        """
        Whether its token still holds; who has a handle of ours is not asked.

        Raises:
            TokenExpired: When the token's time is over.
        """
        if not self.bound:
            self.admitted.check_time(time.time())

    @property
    def place(self) -> Place | None:
        """Where the client stands; None when it has nothing yet."""
        if self.request.begins or self.handle is None:
            return None
        return Place(self.handle.epoch, self.request.offset, self.handle.base, self.request.partial)

    @property
    def has_lost_its_place(self) -> bool:
        """Whether it has an offset, but nothing that says of what."""
        return not self.request.begins and self.handle is None

    @property
    def window(self) -> int:
        """Where the window of its feed begins: what was fixed when it began."""
        return self.since if self.request.begins or self.handle is None else self.handle.since

    def refetch(self) -> Answer:
        """What it is told when what it has does not hold."""
        return must_refetch(str(Handle.issue(self.definition, self.admitted)))


class Poll:
    """One request to *shape*."""

    def __init__(self, services: Services, shape: Shape, asked: Asked) -> None:
        self._services = services
        self.shape = shape
        self._asked = asked

    async def read(self, place: Place | None) -> Answer:
        """
        Answer a request that is not to wait: everything, or what changed since *place*.

        Raises:
            NotFound: When there is no such run or batch.
            Unavailable: When the data can't be read now.
        """
        request, hidden = self._asked.request, self._asked.hidden
        read = await self.shape.read(place)
        if place is not None and read.replaces:
            return self._asked.refetch()
        if place is None and not read.rows and self._asked.feed.kind in ("run", "batch"):
            read = await self._read_arriving()
        if place is None and (request.offset == FROM_NOW or request.changes_only):
            # It has no rows, so every run that changes is told whole.
            end = Place(read.epoch, read.end, read.end)
            return told(self.handle_at(end), read.end, body_of(b""), hidden, up_to_date=True)
        end = Place(read.epoch, read.end, read.base)
        return told(self.handle_at(end), read.end, read.body, hidden, up_to_date=read.complete)

    async def _read_arriving(self) -> Read:
        """Once more, when something came, or soon."""
        came = asyncio.Event()
        self.shape.wait(came.set)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ARRIVAL_SECONDS):
                    await came.wait()
            read = await self.shape.read(None)
        finally:
            self.shape.forget(came.set)
        if not read.rows:
            # A batch is its runs, and they may be made one by one.
            raise (NotFound if self._asked.feed.kind == "run" else NotFoundYet)("Not found")
        return read

    async def follow(self, place: Place, receive: Receive) -> Answer | None:
        """
        Answer a request that waits for what comes after *place*; None when nobody waits for it any more.

        Raises:
            GatewayError: When it is refused after all: there is no place to wait, its token was taken back, or when its
                time is up nobody knows whether something happened.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + hold_seconds()
        with self.held(receive) as held:
            return await self._wait(place, held, until)

    @contextlib.contextmanager
    def held(self, receive: Receive) -> Iterator[HeldPoll]:
        """The request has an end for everybody who may bring it about, while the block lasts."""
        with HeldPoll(self._services, self._asked.admitted) as held, contextlib.ExitStack() as here:
            here.enter_context(self._services.lifecycle.telling(held.drain))
            here.callback(self.shape.forget, held.wake)
            leaving = asyncio.create_task(_tell_when_gone(receive, held), name="a poll's client leaves")
            here.callback(leaving.cancel)
            yield held

    async def _wait(self, place: Place, held: HeldPoll, until: float) -> Answer | None:
        cursor = self._asked.request.cursor
        has_time, has_read = True, False
        while True:
            self.shape.wait(held.wake)  # before looking: what comes in between must not be missed
            if held.gone:
                return None
            if held.error is not None:
                raise held.error
            try:
                found = self.shape.look(place)
            except OutOfLog:
                found = None
                if has_time and not has_read:
                    has_read = True
                    read = await self.shape.read(place)
                    if read.replaces:
                        return self._asked.refetch()
                    place = Place(read.epoch, read.end, place.base)
                    if read.rows or not read.complete:
                        handle = self.handle_at(place)
                        return told_live(handle, place.offset, read.body, cursor, up_to_date=read.complete)
                    continue
            if found is not None:
                place = Place(place.epoch, found.end, place.base)
                return told_live(self.handle_at(place), found.end, found.body, cursor)
            if not has_time and self.shape.is_stale:
                raise Unavailable  # it may not believe that it is up to date; it comes again, and is held again
            if not has_time or held.draining:
                return told_live(self.handle_at(place), place.offset, body_of(b""), cursor)
            has_time = await held.wait(until)
            has_read = False

    def handle_at(self, place: Place) -> str:
        """The handle to come back with: the one that it has, as long as that says the same."""
        asked = self._asked
        known = asked.handle if asked.bound and not asked.request.begins else None
        if known is not None and (known.epoch, known.base) == (place.epoch, place.base):
            return str(known)
        since = self.shape.view.since
        return str(Handle.issue(asked.definition, asked.admitted, epoch=place.epoch, since=since, base=place.base))


def hold_seconds() -> float:
    """How long a live request is held."""
    return HOLD_SECONDS * random.uniform(1 - HOLD_SPREAD, 1 + HOLD_SPREAD)


async def _tell_when_gone(receive: Receive, held: HeldPoll) -> None:
    await disconnected(receive)
    held.left()


async def disconnected(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
