"""
Bringing viewers up to date: first snapshot, reconnect, slow viewer, gateway restart, Redis restart.

All of these are one question, *which rows of this feed changed after my cursor?*, and everybody of a group who asks it
at the same time shares one answer. The group hears changes before the state is read, so nothing falls in between.
"""

from __future__ import annotations

import asyncio
import logging
import random
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from gateway.cursors import Cursor
from gateway.errors import Unavailable
from gateway.feed.follower import Phase
from gateway.runs import FINAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.codec import Row
    from gateway.feed.follower import Follower
    from gateway.feed.group import Group
    from gateway.feed.view import Framing, Message
    from gateway.feeds import EnvironmentId, FeedId
    from gateway.store.redis_store import Page, Place

_log = logging.getLogger("runcast.feed")

#: Pauses while the state can't be read, with full jitter.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 1.0
#: After so many writes others get their turn.
_WRITES_PER_TURN: Final = 256


class RowReader(Protocol):
    """What catching up needs of the store."""

    async def place(self, environment: EnvironmentId, feed: FeedId, *, limit: int, since: int) -> Place: ...

    async def read_page(
        self,
        environment: EnvironmentId,
        feed: FeedId,
        epoch: str,
        *,
        after: int,
        since: int,
        columns: Sequence[str],
        metadata: bool,
    ) -> Page: ...


async def catch_up(group: Group, store: RowReader) -> None:
    """Work until nobody of *group* waits. While the state can't be read, or the channel is not heard, they wait on."""
    pause = _FIRST_PAUSE_SECONDS
    while group.waiting:
        await group.channel.joined.wait()
        try:
            await _Wave(group, store).run()
            pause = _FIRST_PAUSE_SECONDS
            continue
        except Unavailable:
            pass
        except Exception:
            # A mistake of ours in one group must not end the gateway for all others; it is loud, and slow.
            _log.exception("catching up with %s failed", group.view.feed)
            pause = _LONGEST_PAUSE_SECONDS
        finally:
            group.heard = None
        await asyncio.sleep(random.uniform(0, pause))
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


@dataclass(slots=True)
class _Read:
    """What one page brought, encoded once for all who need some of it."""

    page: Page
    runs: list[bytes]
    messages: dict[tuple[Framing, bool, int], bytes] = field(default_factory=dict)


class _Wave:
    """One reading of the state for all who wait now. Who comes later waits for the next."""

    def __init__(self, group: Group, store: RowReader) -> None:
        self._group = group
        self._store = store
        self._batch: list[Follower] = []
        self._truncated = False
        self._numbers: dict[str, int] = {}  # run → number of the row that was read
        self._latest_start = 0  # the highest number that any follower of the batch came with
        self._end: Message | None = None

    async def run(self) -> None:
        group, view = self._group, self._group.view
        self._listen()
        breaks = group.channel.breaks
        place = await self._store.place(group.channel.environment, view.feed, limit=view.limit, since=view.since)
        epoch = place.history.epoch
        group.begin(epoch)
        self._batch = list(group.waiting)
        for follower in self._batch:
            self._start(follower, place)
        # A run feed is one row, which is read even by those who have it: they must learn that it ended.
        after = 0 if view.feed.kind == "run" else min((f.at for f in self._batch), default=0)
        while self._batch:
            page = await self._read(epoch, after)
            if page.epoch != epoch:
                return
            await self._send(page)
            if page.complete:
                if group.channel.breaks != breaks:
                    return  # something may have been missed; the next wave starts where this one came to
                if self._can_join(page.end):
                    self._join(page.end)
                    return
                self._listen()
            after = page.end

    def _listen(self) -> None:
        self._group.heard, self._group.heard_all = [], True

    def _start(self, follower: Follower, place: Place) -> None:
        """Decide whether a follower's cursor still holds; if not, it gets everything anew, and is told so."""
        cursor = Cursor(follower.epoch, follower.at)
        if follower.replaces or not place.history.keeps(cursor) or cursor.sequence < place.start:
            follower.replaces = True
            follower.at = place.start
        follower.epoch = place.history.epoch
        self._truncated = self._truncated or place.truncated
        self._latest_start = max(self._latest_start, follower.at)

    async def _read(self, epoch: str, after: int) -> Page:
        view = self._group.view
        return await self._store.read_page(
            self._group.channel.environment,
            view.feed,
            epoch,
            after=after,
            since=view.since,
            columns=view.columns,
            metadata=view.shows_metadata,
        )

    async def _send(self, page: Page) -> None:
        """Give each follower the rows it does not have, until its sink is full."""
        view = self._group.view
        read = _Read(page, [view.run(row) for row in page.rows])
        self._note(page.rows)
        for count, follower in enumerate(self._still_here(), start=1):
            if count % _WRITES_PER_TURN == 0:
                await asyncio.sleep(0)
                if follower not in self._group.waiting:
                    continue
            if page.complete or follower.at < page.end:
                self._send_to(follower, read)
        self._batch = self._still_here()

    def _note(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._numbers[row.run] = row.sequence
        if self._group.view.feed.kind == "run":
            cursor = str(Cursor(self._group.epoch, rows[0].sequence)) if rows else ""
            self._end = self._group.view.end(rows[0].status, cursor) if rows and rows[0].status in FINAL else None

    def _still_here(self) -> list[Follower]:
        return [follower for follower in self._batch if follower in self._group.waiting]

    def _send_to(self, follower: Follower, read: _Read) -> None:
        index = bisect_right(read.page.rows, follower.at, key=lambda row: row.sequence)
        framing = follower.connection.framing
        key = (framing, follower.replaces, index)
        if key not in read.messages:
            read.messages[key] = self._spell(framing, read, replaces=follower.replaces, index=index)
        # First its place, then the write: if that fills its sink it falls behind, with this page in it.
        follower.at, follower.replaces = max(follower.at, read.page.end), False
        follower.connection.flush()
        follower.connection.sink.write(read.messages[key])

    def _spell(self, framing: Framing, read: _Read, *, replaces: bool, index: int) -> bytes:
        cursor = Cursor(read.page.epoch, read.page.end)
        message = self._group.view.snapshot(
            read.runs[index:], cursor, replaces=replaces, complete=read.page.complete, truncated=self._truncated
        )
        return framing.wrap(framing.frame(message.kind, message.body, message.cursor))

    def _known(self) -> set[str] | None:
        """The runs that everybody of the batch has; None when that is all there are."""
        if not self._truncated:
            return None
        return {run for run, number in self._numbers.items() if number > self._latest_start}

    def _can_join(self, at: int) -> bool:
        """Whether what was heard meanwhile can be told as it was heard; if not, one more read tells it."""
        group = self._group
        if not group.heard_all:
            return False
        known = self._known()
        if known is None:
            return True
        later = [event for event in group.heard or () if event.sequence > at]
        return all(event.whole or event.run in known for event in later)

    def _join(self, at: int) -> None:
        self._group.admit(self._batch, at, self._known())
        for follower in self._batch:
            if follower.phase is not Phase.LIVE:
                continue
            if self._end is not None and not follower.ended:
                follower.ended = True
                follower.connection.tell(self._end)
                follower.connection.ended(self._group.view.feed)
            follower.connection.caught_up()
