"""
Bringing viewers up to date: first snapshot, reconnect, slow viewer, gateway restart, Redis restart.

All of these are one question, *which rows of this feed changed after my cursor?*, and everybody of a group who asks it
at the same time shares one answer. The group hears changes before the state is read, so nothing falls in between.

The answer is kept for a moment (reading.py): with what was heard since, it is as good for those who come next.
"""

from __future__ import annotations

import asyncio
import logging
import random
from bisect import bisect_right
from typing import TYPE_CHECKING, Final, Protocol

from gateway.cursors import Cursor
from gateway.errors import Unavailable
from gateway.feed.follower import Phase
from gateway.feed.group import highest_base
from gateway.feed.reading import Reading, Shelf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.feed.follower import Follower
    from gateway.feed.group import Group
    from gateway.feed.reading import ReadPage
    from gateway.feed.view import Framing, Message
    from gateway.feeds import EnvironmentId, FeedId
    from gateway.store.pages import Page, Place

_log = logging.getLogger("runcast.feed")

#: Pauses while the state can't be read, with full jitter.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 1.0
#: After so many writes, so many bytes, or one page that had to be spelled for them, others get their turn.
_WRITES_PER_TURN: Final = 256
_BYTES_PER_TURN: Final = 4 * 1024 * 1024


class RowReader(Protocol):
    """What catching up needs of the store."""

    async def place(self, environment: EnvironmentId, feed: FeedId, *, limit: int, since: int) -> Place:
        """
        Where viewers of *feed* start, if they see runs created since *since* (ms since 1970), *limit* at most.

        Raises:
            Unavailable: When the state can't be read now.
        """

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
    ) -> Page:
        """
        The next page of what changed in *feed* after the number *after*, the oldest first. Of another epoch, nothing.

        A run that changes while pages are read leaves its place and comes again at the end, so none is missed.

        Raises:
            Unavailable: When the state can't be read now.
        """


class CatchingUp:
    """Brings viewers up to date: all groups of a hub."""

    def __init__(self, store: RowReader) -> None:
        self._store = store
        self._shelf = Shelf()

    def forget(self, group: Group) -> None:
        """Nobody follows it any more."""
        self._shelf.drop(group)

    async def run(self, group: Group) -> None:
        """
        Work until nobody of *group* waits.

        While the state can't be read, or the channel is not heard, they wait on.
        """
        pause = _FIRST_PAUSE_SECONDS
        while group.waiting:
            while not group.channel.joined.is_set():  # it may break again before whoever waits for it is woken
                await group.channel.joined.wait()
            await _wait_for_turn(group)
            try:
                await self._wave(group)
                pause = _FIRST_PAUSE_SECONDS
                continue
            except Unavailable:
                pass
            except Exception:
                # A mistake of ours in one group must not end the gateway for all others; it is loud, and slow.
                _log.exception("catching up with %s failed", group.view.feed)
                pause = _LONGEST_PAUSE_SECONDS
            await asyncio.sleep(random.uniform(0, pause))
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _wave(self, group: Group) -> None:
        """Bring those up to date who wait now."""
        kept = self._shelf.take(group)
        wave = _Wave(group, self._store)
        done: Reading | None = None
        try:
            done = await (wave.read() if kept is None else wave.use(kept))
        finally:
            # Whoever still waits waits for the next reading if this one can't be gone on from.
            if done is None:
                group.stop_listening()
            else:
                self._shelf.put(group, done)


async def _wait_for_turn(group: Group) -> None:
    """An environment whose changes come faster than they may must not be felt by others."""
    seconds = group.channel.hearing.turn()
    if seconds:
        await asyncio.sleep(seconds)


class _Wave:
    """One telling of the state to all who wait now. Who comes later waits for the next."""

    def __init__(self, group: Group, store: RowReader) -> None:
        self._group = group
        self._store = store
        self._batch: list[Follower] = []
        self._base = 0
        #: Bytes that were written in this turn of the loop.
        self._bytes = 0

    async def read(self) -> Reading | None:
        """Read what they lack. Returns what was read, if it holds for others, too."""
        group, view = self._group, self._group.view
        group.listen()
        breaks = group.channel.breaks
        place = await self._store.place(group.channel.environment, view.feed, limit=view.limit, since=view.since)
        epoch = place.history.epoch
        group.begin(epoch)
        self._begin(list(group.waiting), place)
        # A run feed is one row, which is read even by those who have it: they must learn that it ended.
        after = 0 if view.feed.kind == "run" else min((f.at for f in self._batch), default=0)
        reading = Reading(place, after, breaks)
        while self._batch:
            page = await self._read(epoch, after)
            if page.epoch != epoch:
                return None
            read = reading.add(page, view)
            self._learn(read)
            await self._send(reading, read)
            if page.complete:
                # If something may have been missed, or can't be told as it was heard, the next wave reads it. It
                # starts where this one came to, with those who came meanwhile.
                return reading if self._join(reading) else None
            # Those who needed this page may have had enough with it: what none of the others lacks is not read.
            after = min((f.at for f in self._batch), default=page.end)
            if after > page.end:
                reading.begin_after(after)
        return None

    async def use(self, reading: Reading) -> Reading | None:
        """Tell them what was read already. Returns it if it holds on."""
        suited = [follower for follower in self._group.waiting if reading.suits(follower)]
        if not suited:
            return None
        self._begin(suited, reading.place)
        for read in reading.pages:
            self._learn(read)
        anew = [follower for follower in suited if follower.replaces]
        self._batch = [follower for follower in suited if not follower.replaces]
        await self._tell_all(reading, anew)
        for read in reading.pages:
            await self._send(reading, read)
        self._batch += [follower for follower in anew if follower in self._group.waiting and follower.at == reading.end]
        return reading if self._join(reading) else None

    async def _tell_all(self, reading: Reading, followers: list[Follower]) -> None:
        """Give each of those who begin anew all pages at once: what they are told is the same for all alike."""
        spelled: dict[Framing, list[tuple[ReadPage, bytes]]] = {}
        for follower in followers:
            framing = follower.connection.framing
            if framing not in spelled:
                spelled[framing] = self._pages_anew(reading, framing)
            follower.connection.flush()
            for read, data in spelled[framing]:
                if follower not in self._group.waiting:
                    break  # it left, or its sink is full: it goes on from where it came to
                follower.at, follower.replaces, follower.partial = read.page.end, False, not read.page.complete
                if read.page.complete and reading.ends is not None:
                    follower.ended = reading.ends.ends or 0
                self._bytes += len(data)
                if data:  # an empty chunk would end a response
                    follower.connection.sink.write(data)
            if self._bytes > _BYTES_PER_TURN:
                await self._let_others()

    def _pages_anew(self, reading: Reading, framing: Framing) -> list[tuple[ReadPage, bytes]]:
        """What somebody is told who has nothing, page by page."""
        told: list[tuple[ReadPage, bytes]] = []
        place = reading.place.start
        for read in reading.pages:
            replaces = not told or place < read.page.start
            end = reading.ends if read.page.complete and reading.ends is not None and reading.ends.ends else None
            index = bisect_right(read.numbers, place)
            told.append((read, self._spelled(reading, read, framing, replaces, index, end)))
            place = read.page.end
        return told

    async def _let_others(self) -> None:
        self._bytes = 0
        await asyncio.sleep(0)

    def _begin(self, batch: list[Follower], place: Place) -> None:
        self._batch = batch
        for follower in batch:
            self._start(follower, place)
        self._base = highest_base(batch)

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

    async def _send(self, reading: Reading, read: ReadPage) -> None:
        """Give each follower the rows of a page that it does not have, until its sink is full."""
        waiting, page = self._group.waiting, read.page
        told, spelled = [], len(read.spelled)
        for count, follower in enumerate(self._batch, start=1):
            if count % _WRITES_PER_TURN == 0 or len(read.spelled) > spelled or self._bytes > _BYTES_PER_TURN:
                spelled = len(read.spelled)
                await self._let_others()
            # Whoever left or fell behind is not of this wave any more, even if it waits again: it lacks this page.
            if follower in waiting:
                if page.complete or follower.at < page.end:
                    self._send_to(follower, reading, read)
                told.append(follower)
        self._batch = [follower for follower in told if follower in waiting]

    def _learn(self, read: ReadPage) -> None:
        if not self._group.is_cut_off(self._base):
            return
        for run, number in zip(read.runs, read.numbers, strict=False):  # a stream's entries have no run
            self._group.learn(run, number, self._base)

    def _send_to(self, follower: Follower, reading: Reading, read: ReadPage) -> None:
        follower.connection.flush()
        if follower not in self._group.waiting:
            return  # that filled its sink
        page = read.page
        if follower.at < page.start:
            follower.replaces, follower.ended = True, 0
        index = bisect_right(read.numbers, follower.at)
        end = None
        if page.complete:
            if reading.ends is None:
                follower.ended = 0
            elif follower.ended != reading.ends.ends:
                end = reading.ends
        spelled = self._spelled(reading, read, follower.connection.framing, follower.replaces, index, end)
        # First its place, then the write: if that fills its sink it falls behind, with this page in it.
        follower.at, follower.replaces = max(follower.at, page.end), False
        follower.partial = not page.complete
        if end is not None:
            follower.ended = end.ends or 0
        self._bytes += len(spelled)
        if spelled:  # an empty chunk would end a response
            follower.connection.sink.write(spelled)

    def _spelled(
        self, reading: Reading, read: ReadPage, framing: Framing, replaces: bool, index: int, end: Message | None
    ) -> bytes:
        """What is told of a page, spelled once for all who are told the same."""
        key = (framing, replaces, index, end)
        spelled = read.spelled.get(key)
        if spelled is None:
            spelled = read.spelled[key] = self._spell(reading, read, *key)
        return spelled

    def _spell(
        self, reading: Reading, read: ReadPage, framing: Framing, replaces: bool, index: int, end: Message | None
    ) -> bytes:
        view = self._group.view
        truncated = reading.place.truncated
        messages = view.page(read.page, read.shown[index:], replaces=replaces, truncated=truncated)
        if end is not None:
            messages.append(end)  # before anything else is told: what comes next may reopen the run
        if not messages:
            return b""
        spelled = framing.wrap(b"".join([framing.frame(m.kind, m.body, m.cursor) for m in messages]))
        reading.size += len(spelled)
        return spelled

    def _join(self, reading: Reading) -> bool:
        """Let those who have everything hear what comes. Returns whether they could."""
        group = self._group
        if not (group.channel.breaks == reading.breaks and group.can_admit(reading.end, self._base)):
            return False
        missed = group.missed(reading.end)
        over = reading.ends is not None and all(event.transition is None for event in missed)
        group.admit(self._batch, reading.end)
        for follower in self._batch:
            if follower.phase is Phase.LIVE:
                follower.connection.caught_up()
                if over:
                    follower.connection.ended(group.view.feed)
        return True
