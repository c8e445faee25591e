"""
One feed in one view, for everybody who polls it: it is followed once, keeps a short log of what happened, and answers
from that; whatever is not in the log is read. Nothing is kept for a client but the request that it has open.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.codec import decode_json
from gateway.cursors import Cursor
from gateway.errors import Unavailable
from gateway.feed.connection import Connection
from gateway.feed.follower import Phase
from gateway.feeds import FeedId
from gateway.runs import METADATA
from gateway.triggerdev.shape.documents import Document
from gateway.triggerdev.shape.log import MAX_ENTRY_BYTES, Log, OutOfLog, Told
from gateway.triggerdev.shape.reading import Pages, Read, Reader
from gateway.triggerdev.shape.view import LOG, ReadChange, ReadPage, ShapeView, read_log

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.feed.follower import Follower
    from gateway.feed.hub import Hub
    from gateway.feeds import EnvironmentId
    from gateway.store.redis_store import RedisStore
    from gateway.triggerdev.shape.documents import Documents

_log = logging.getLogger("runcast.shapes")

#: Of each spell of time in which a shape missed nothing; documents that it knows hold for one of these.
_spells = itertools.count(1)
#: Changes that wait for a document, at most; then whoever lacks them reads.
_MOST_HELD: Final = 1000
#: Documents that are read in one go.
_READ_TOGETHER: Final = 100


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client stands: it has seen all up to `offset` of `epoch`, and each run that changed after `base`."""

    epoch: str
    offset: int
    base: int
    #: Whether a part of an answer ended there: some runs that it lacks may have changed since.
    partial: bool = False


class Shape:
    """
    A shape that somebody polls. `close` when nobody does any more.

    Args:
        documents: The metadata that all shapes of the process know.
        grew: Is told by how many bytes it has grown, and says whether it may keep them; it may close the shape, too.
    """

    def __init__(
        self,
        hub: Hub,
        store: RedisStore,
        environment: EnvironmentId,
        view: ShapeView,
        documents: Documents,
        grew: Callable[[int], bool],
    ) -> None:
        self.environment = environment
        self.view = view
        #: Whether nobody polls it any more.
        self.closed = False
        self._hub = hub
        self._store = store
        self._documents = documents
        self._grew = grew
        #: Bytes that it has told of.
        self._size = 0
        self._spell = next(_spells)
        self._pages = Pages()
        self._connection = Connection(hub, self, LOG, environment)
        self._follower: Follower | None = None
        #: Where that began; None for a snapshot.
        self._began: Cursor | None = None
        #: None until the follower was told the first time.
        self._log: Log | None = None
        #: Whether the rest of a snapshot comes: nobody stands before it who could use its rows.
        self._skips = False
        #: The highest number of the log's epoch that is known to exist.
        self._known = 0
        #: Changes that wait until the document before them is read, in order.
        self._held: deque[ReadChange | ReadPage] = deque()
        self._asking: asyncio.Task[None] | None = None
        #: Called when there may be news, once each.
        self._waiting: dict[Callable[[], None], None] = {}
        hub.open(self._connection)

    def close(self) -> None:
        """Follow it no more."""
        self.closed = True
        # Whoever still knows it (a pass of desk.py) must not keep what it has in memory.
        self._log = None
        self._count()
        self._held.clear()
        self._pages.forget()
        if self._asking is not None:
            self._asking.cancel()
        self._hub.close(self._connection)
        self._follower = None

    # What clients ask.

    @property
    def is_stale(self) -> bool:
        """Whether the gateway has lost sight of the data: nobody knows whether something happened."""
        return self._connection.told_stale

    def look(self, place: Place) -> Told | None:
        """
        What a client at *place* is told, as far as the log knows; None when there is nothing.

        Raises:
            OutOfLog: When it must be read.
        """
        log = self._log
        if log is None or place.partial or place.epoch != log.epoch or place.offset > self._furthest(log):
            raise OutOfLog
        return log.after(place.offset, place.base)

    async def read(self, place: Place | None) -> Read:
        """
        What a client at *place* lacks, or everything, from Redis.

        Raises:
            Unavailable: When that can't be read now.
        """
        cursor = None if place is None else Cursor(place.epoch, place.offset, place.partial)
        base = 0 if place is None else place.base
        if self._follower is None:
            # It begins where this client stands, with the same reading.
            self._began = cursor
            self._follower = self._hub.follow(self._connection, self.view, cursor)
        return await Reader(self._hub, self.environment, self.view, cursor, base, self._pages, self._was_read).read()

    def wait(self, call: Callable[[], None]) -> None:
        """Have *call* called when there may be news. To be said before `look`."""
        self._waiting[call] = None

    def forget(self, call: Callable[[], None]) -> None:
        self._waiting.pop(call, None)

    def wake(self) -> None:
        """There may be news for everybody."""
        waiting, self._waiting = self._waiting, {}
        for call in waiting:
            call()

    def _was_read(self, epoch: str, end: int) -> None:
        """Somebody has read everything up to *end*, so that there is something."""
        if self._log is not None and self._log.epoch == epoch:
            self._known = max(self._known, end)

    def _furthest(self, log: Log) -> int:
        """Up to where changes are known to exist."""
        follower = self._follower
        if follower is not None and follower.phase is Phase.LIVE and follower.group.epoch == log.epoch:
            self._known = max(self._known, follower.group.place(follower))
        return max(self._known, log.position)

    # What the hub says (feed/connection.py: Sink).

    def write(self, data: bytes) -> None:
        self._held.extend(read_log(data))
        before = self._version
        self._catch_up()
        if len(self._held) > _MOST_HELD:
            self._give_up()
        if self._version != before:
            self._count()
            self.wake()

    def _count(self) -> None:
        size = 0 if self._log is None else self._log.size
        grown, self._size = size - self._size, size
        if not self._grew(grown) and self._log is not None:
            # Too much is kept in all shapes together: whoever waits reads.
            self._log.cut(self._log.position)
            self._grew(-size)
            self._size = 0

    def _catch_up(self) -> None:
        """Put into the log what need not wait for a document."""
        while self._held and self._asking is None:
            line = self._held[0]
            if isinstance(line, ReadChange):
                if not self._completed(line):
                    self._ask()
                    return
                self._take_change(line)
            else:
                self._take_page(line)
            self._held.popleft()

    def _take_change(self, change: ReadChange) -> None:
        log, values = self._log, change.values
        if log is None or change.sequence <= log.position:
            return
        if change.silent:
            log.hush(change.sequence, change.run)
            return
        size = sum(len(text) for text in values.values() if text is not None)
        if size > MAX_ENTRY_BYTES:
            log.skip(change.sequence, change.run)
            return
        if change.whole:
            self._know(change.run, Document(change.sequence, text=values.get(METADATA)))
        log.append(
            change.sequence, change.run, values, whole=change.whole, transition=change.transition, size=size + 200
        )

    def _take_page(self, page: ReadPage) -> None:
        log = self._log
        if log is None:
            log = self._log = self._begin(page)
        elif page.replaces or page.epoch != log.epoch:
            # Whoever stands in what was before reads, and is told what became of it.
            self._spell = next(_spells)
            log.restart(page.epoch, page.end)
            self._known = page.end
            self._skips = not page.complete
            self._say_nothing()
        elif self._skips:
            log.cut(page.end)
            self._skips = not page.complete
        begins = 0
        for sequence, run, length in page.rows:
            if sequence <= log.position:
                log.learn(sequence, run)
            elif length > MAX_ENTRY_BYTES:
                self._documents.forget((self._spell, run))
                log.skip(sequence, run)
            else:
                values = _values_of(page.changes[begins : begins + length])
                self._know(run, Document(sequence, text=values.get(METADATA)))
                log.append(sequence, run, values, whole=True, transition=True, size=length)
            begins += length + 1  # and a comma
        log.advance(page.end)

    def _begin(self, page: ReadPage) -> Log:
        """The log, now that the follower was told the first time."""
        self._say_nothing()
        began = self._began
        if page.replaces or began is None or began.epoch != page.epoch:
            self._skips = not page.complete
            self._known = page.end
            return Log(page.epoch, page.end, paced=self.view.feed.kind == "run")
        self._known = began.sequence
        return Log(page.epoch, began.sequence, paced=self.view.feed.kind == "run")

    def _say_nothing(self) -> None:
        """Our follower claims to know every run: who may lack one is looked at when he is answered."""
        if self._follower is not None:
            self._follower.base = 0

    @property
    def _version(self) -> int:
        return -1 if self._log is None else self._log.version

    # Metadata.

    def _know(self, run: str, document: Document) -> None:
        if self.view.shows_metadata:
            self._documents.keep((self._spell, run), document)

    def _completed(self, change: ReadChange) -> bool:
        """Give the change its whole document; False when that must be read first."""
        if not (change.changed or change.deleted):
            return True
        document = self._documents.find((self._spell, change.run))
        if document is None:
            return False
        document.apply(change.sequence, change.changed, change.deleted)
        self._know(change.run, document)
        change.values[METADATA] = document.text
        return True

    def _ask(self) -> None:
        self._asking = asyncio.create_task(self._read_documents(self._lacking()), name="reading metadata")
        self._asking.add_done_callback(self._asked)

    def _lacking(self) -> list[str]:
        """The runs whose documents the next changes need, all together: one after the other would take too long."""
        runs: dict[str, None] = {}
        for line in self._held:
            if isinstance(line, ReadPage) or line.whole or len(runs) >= _READ_TOGETHER:
                break  # what follows a whole row may not be told before it
            if (line.changed or line.deleted) and self._documents.find((self._spell, line.run)) is None:
                runs[line.run] = None
        return [*runs]

    async def _read_documents(self, runs: list[str]) -> None:
        reading = [asyncio.ensure_future(self._read_document(run)) for run in runs]
        try:
            found = [*zip(runs, await asyncio.gather(*reading), strict=True)]
            for run, document in reversed(found):  # the first is needed first: should some be forgotten, it is not
                self._know(run, document)
        finally:
            for task in reading:
                task.cancel()

    async def _read_document(self, run: str) -> Document:
        feed = FeedId("run", (run,))
        page = await self._store.read_page(
            self.environment, feed, "", after=0, since=0, columns=("status",), metadata=True
        )
        if self._log is None or page.epoch != self._log.epoch:
            raise Unavailable("another history has begun")
        row = page.rows[0] if page.rows else None
        # Of a run that is gone there is nothing to read.
        return Document(page.end) if row is None else Document(row.sequence, parts=row.metadata)

    def _asked(self, task: asyncio.Task[None]) -> None:
        if self._asking is not task:
            return  # nobody waits for it any more
        self._asking = None
        before = self._version
        error = None if task.cancelled() else task.exception()
        if error is None and not task.cancelled():
            self._catch_up()
        else:
            if error is not None and not isinstance(error, Unavailable):
                _log.error("reading metadata failed", exc_info=error)
            self._give_up()
        if self._version != before:
            self._count()
            self.wake()

    def _give_up(self) -> None:
        """What is held can't be told by us: whoever lacks it reads it."""
        held, self._held = self._held, deque()
        self._spell = next(_spells)
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
        for line in held:
            if isinstance(line, ReadPage):
                self._take_page(line)
            elif self._log is not None:
                self._log.skip(line.sequence, line.run)


def _values_of(text: bytes) -> dict[str, str | None]:
    values: dict[str, str | None] = decode_json(text)["value"]
    return values
