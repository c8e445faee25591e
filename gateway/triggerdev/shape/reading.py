"""
One reading of a feed: a snapshot, or what changed since. It goes through the hub's catching up, so that everybody who
asks for the same at the same time shares one answer of Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.errors import Unavailable
from gateway.feed.connection import Connection
from gateway.triggerdev.shape.log import body_of
from gateway.triggerdev.shape.view import PAGE, ReadPage, read_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.cursors import Cursor
    from gateway.feed.follower import Follower
    from gateway.feed.hub import Hub
    from gateway.feeds import EnvironmentId
    from gateway.triggerdev.shape.view import ShapeView

#: An answer that would be larger goes out in parts.
MOST_BYTES: Final = 8 * 1024 * 1024
#: Redis has so long to answer; then the client is told to come back.
READ_SECONDS: Final = 5.0
#: Pages and answers that those who read at the same time share.
_SHARED_BYTES: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Read:
    """What a reading brought."""

    epoch: str
    #: Everything up to this number is in it.
    end: int
    #: Whoever has it knows each run that changed after this number; older ones only if this is 0.
    base: int
    #: Whether there is nothing else; if not, the next part begins at `end`.
    complete: bool
    #: Whether it is everything anew, because what the client had does not hold any more.
    replaces: bool
    #: How many rows it has.
    rows: int
    body: bytes


class Pages:
    """
    The pages that are being told, taken apart once for all who get the same, and the bodies made of them.

    The hub hands the same bytes object to everybody whom it serves with it, so that they are known by identity. When
    nobody reads any more, all is forgotten.
    """

    def __init__(self) -> None:
        self._readers = 0
        self._bytes = 0
        self._pages: dict[int, tuple[bytes, ReadPage]] = {}
        self._bodies: dict[tuple[int, ...], tuple[list[ReadPage], bytes]] = {}

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Somebody reads while the block lasts."""
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1
            if not self._readers:
                self.forget()

    def read(self, data: bytes) -> ReadPage:
        found = self._pages.get(id(data))
        if found is None:
            self._count(2 * len(data))
            # The bytes are kept with it: as long as they are, nothing else has their identity.
            found = self._pages[id(data)] = (data, read_page(data))
        return found[1]

    def body(self, pages: list[ReadPage]) -> bytes:
        """The body of an answer with these pages."""
        key = tuple(map(id, pages))
        found = self._bodies.get(key)
        if found is None:
            changes = b",".join([page.changes for page in pages if page.rows])
            self._count(len(changes))
            found = self._bodies[key] = (pages, body_of(changes, up_to_date=pages[-1].complete))
        return found[1]

    def _count(self, size: int) -> None:
        if self._bytes + size > _SHARED_BYTES:
            self.forget()
        self._bytes += size

    def forget(self) -> None:
        self._pages.clear()
        self._bodies.clear()
        self._bytes = 0


class Reader:
    """
    Somebody who catches up once (feed/connection.py: Sink). It leaves the hub as soon as it has what it came for.

    Args:
        base: How far a cut-off snapshot of its owner reached; 0 when he knows every run.
        done: Is told epoch and end of what was read before the reader leaves, so that who stays can begin there.
    """

    def __init__(
        self,
        hub: Hub,
        environment: EnvironmentId,
        view: ShapeView,
        cursor: Cursor | None,
        base: int,
        pages: Pages,
        done: Callable[[str, int], None],
    ) -> None:
        self._hub = hub
        self._cursor = cursor
        self._known_pages = pages
        self._done = done
        self._pages: list[ReadPage] = []
        self._bytes = 0
        self._base = base
        self._answer: asyncio.Future[Read] = asyncio.get_running_loop().create_future()
        connection = Connection(hub, self, PAGE, environment)
        self._follower: Follower = hub.follow(connection, view, cursor)
        if cursor is not None:
            self._follower.base = base

    async def read(self) -> Read:
        """
        Raises:
            Unavailable: When it took too long.
        """
        try:
            with self._known_pages.reading():
                async with asyncio.timeout(READ_SECONDS):
                    return await self._answer
        except TimeoutError:
            raise Unavailable from None
        finally:
            self._hub.leave(self._follower)

    def write(self, data: bytes) -> None:
        if self._answer.done() or not data:
            return
        page = self._known_pages.read(data)
        if page.replaces:
            # At the beginning, or once more: then what came before does not count.
            self._pages.clear()
            self._bytes = 0
            self._base = (self._follower.base or 0) if page.truncated else 0
        self._pages.append(page)
        self._bytes += len(page.changes)
        if page.complete or self._bytes > MOST_BYTES:
            self._finish(page)

    def _finish(self, page: ReadPage) -> None:
        self._answer.set_result(
            Read(
                epoch=page.epoch,
                end=page.end,
                base=self._base,
                complete=page.complete,
                replaces=self._pages[0].replaces,
                rows=sum(len(one.rows) for one in self._pages),
                body=self._known_pages.body(self._pages),
            )
        )
        self._done(page.epoch, page.end)
        self._hub.leave(self._follower)
