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
from typing import TYPE_CHECKING, Any, Final, Protocol

from gateway.cursors import Cursor
from gateway.errors import Unavailable
from gateway.feed.follower import Phase
from gateway.feed.group import highest_base

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.feed.follower import Follower
    from gateway.feed.group import Group
    from gateway.feed.view import Framing, Message
    from gateway.feeds import EnvironmentId, FeedId
    from gateway.store.redis_store import Page, Place

_log = logging.getLogger("runcast.feed")

#: Pauses while the state can't be read, with full jitter.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 1.0
#: After so many writes, or one page that had to be spelled for them, others get their turn.
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
        while not group.channel.joined.is_set():  # it may break again before whoever waits for it is woken
            await group.channel.joined.wait()
        await _wait_for_turn(group)
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


async def _wait_for_turn(group: Group) -> None:
    """An environment whose changes come faster than they may must not be felt by others."""
    seconds = group.channel.hearing.turn()
    if seconds:
        await asyncio.sleep(seconds)


@dataclass(slots=True)
class _Read:
    """What one page brought, encoded once for all who need some of it."""

    page: Page
    entries: list[Any]
    shown: list[Any]
    #: What is told, by how it is told: framing, whether it replaces, the first run, the end.
    spelled: dict[tuple[Framing, bool, int, Message | None], bytes] = field(default_factory=dict)


class _Wave:
    """One reading of the state for all who wait now. Who comes later waits for the next."""

    def __init__(self, group: Group, store: RowReader) -> None:
        self._group = group
        self._store = store
        self._batch: list[Follower] = []
        self._truncated = False
        self._base = 0
        self._end: Message | None = None

    async def run(self) -> None:
        group, view = self._group, self._group.view
        group.listen()
        breaks = group.channel.breaks
        place = await self._store.place(group.channel.environment, view.feed, limit=view.limit, since=view.since)
        epoch = place.history.epoch
        group.begin(epoch)
        self._batch = list(group.waiting)
        for follower in self._batch:
            self._start(follower, place)
        self._truncated, self._base = place.truncated, highest_base(self._batch)
        # A run feed is one row, which is read even by those who have it: they must learn that it ended.
        after = 0 if view.feed.kind == "run" else min((f.at for f in self._batch), default=0)
        while self._batch:
            page = await self._read(epoch, after)
            if page.epoch != epoch:
                return
            await self._send(page)
            if page.complete:
                # If something may have been missed, or can't be told as it was heard, the next wave reads it. It
                # starts where this one came to, with those who came meanwhile.
                if group.channel.breaks == breaks and group.can_admit(page.end, self._base):
                    self._join(page.end)
                return
            # Those who needed this page may have had enough with it: what none of the others lacks is not read.
            after = min((f.at for f in self._batch), default=page.end)

    def _start(self, follower: Follower, place: Place) -> None:
        """Decide whether a follower's cursor still holds; if not, it gets everything anew, and is told so."""
        cursor = Cursor(follower.epoch, follower.at, follower.partial)
        if follower.replaces or not place.history.keeps(cursor) or cursor.sequence < place.start:
            follower.replaces, follower.partial = True, False
            follower.at = follower.base = place.start
            follower.ended = 0  # what it was told of an end may never have happened
        elif follower.base is None:
            # Where it once started is not in its cursor, so of a cut-off feed it may lack any run.
            follower.base = follower.at if place.truncated else 0
        follower.epoch = place.history.epoch

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
        view, waiting = self._group.view, self._group.waiting
        entries = view.entries(page)
        read = _Read(page, entries, [view.show(entry) for entry in entries])
        self._note(read)
        told, spelled = [], 0
        for count, follower in enumerate(self._batch, start=1):
            if count % _WRITES_PER_TURN == 0 or len(read.spelled) > spelled:
                spelled = len(read.spelled)
                await asyncio.sleep(0)
            # Whoever left or fell behind is not of this wave any more, even if it waits again: it lacks this page.
            if follower in waiting:
                if page.complete or follower.at < page.end:
                    self._send_to(follower, read)
                told.append(follower)
        self._batch = [follower for follower in told if follower in waiting]

    def _note(self, read: _Read) -> None:
        for row in read.page.rows:
            self._group.learn(row.run, row.sequence, self._base)
        if read.page.complete:
            self._end = self._group.view.end_at(read.page)

    def _send_to(self, follower: Follower, read: _Read) -> None:
        follower.connection.flush()
        if follower not in self._group.waiting:
            return  # that filled its sink
        if follower.at < read.page.start:
            follower.replaces, follower.ended = True, 0
        index = bisect_right(read.entries, follower.at, key=lambda entry: entry.sequence)
        end = self._end if self._end is not None and follower.ended != self._end.ends else None
        if read.page.complete and self._end is None:
            follower.ended = 0
        key = (follower.connection.framing, follower.replaces, index, end)
        if key not in read.spelled:
            read.spelled[key] = self._spell(read, *key)
        # First its place, then the write: if that fills its sink it falls behind, with this page in it.
        follower.at, follower.replaces = max(follower.at, read.page.end), False
        follower.partial = not read.page.complete
        if end is not None:
            follower.ended = end.ends or 0
        if read.spelled[key]:  # an empty chunk would end a response
            follower.connection.sink.write(read.spelled[key])

    def _spell(self, read: _Read, framing: Framing, replaces: bool, index: int, end: Message | None) -> bytes:
        view = self._group.view
        messages = view.page(read.page, read.shown[index:], replaces=replaces, truncated=self._truncated)
        if end is not None:
            messages.append(end)  # before anything else is told: what comes next may reopen the run
        if not messages:
            return b""
        return framing.wrap(b"".join([framing.frame(m.kind, m.body, m.cursor) for m in messages]))

    def _join(self, at: int) -> None:
        group = self._group
        over = self._end is not None and all(event.transition is None for event in group.missed(at))
        group.admit(self._batch, at)
        for follower in self._batch:
            if follower.phase is Phase.LIVE:
                follower.connection.caught_up()
                if over:
                    follower.connection.ended(group.view.feed)
