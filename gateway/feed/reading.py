"""
What was read of a feed, encoded once for all who need some of it, and kept for a moment.

A reading begins after its group began to hear. So it and what was heard since are the truth for as long as nothing was
missed: who comes a second later needs no other one, and ten thousand who come within some seconds cost a few.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gateway.feed.follower import Follower
    from gateway.feed.group import Group
    from gateway.feed.view import Framing, Message, Shown
    from gateway.store.pages import Page, Place

#: A run that has expired meanwhile is in a reading still: nobody is told of that.
KEPT_SECONDS: Final = 5.0
#: How often we look whether the time of one is over.
_LOOK_SECONDS: Final = 1.0
#: Of one reading, and of all that are kept. What is larger is read again by those who come next.
MOST_BYTES, ALL_BYTES = 8 * 1024 * 1024, 64 * 1024 * 1024
#: What an entry takes beside its text: its number, its name, its places in lists.
_ENTRY_BYTES: Final = 200
#: Who comes is told what was read and what was heard since. When that is more than this part of what was read, and
#: more than a few changes, it is cheaper to read again.
_HEARD_PART, _HEARD_FEW = 10, 20


@dataclass(slots=True)
class ReadPage:
    """What one page brought."""

    page: Page
    #: The numbers of its entries, in order, and what is told of each.
    numbers: list[int]
    shown: list[Any]
    #: The run of each entry; none of a stream's.
    runs: list[str]
    #: What is told, by how it is told: framing, whether it replaces, the first entry, the end.
    spelled: dict[tuple[Framing, bool, int, Message | None], bytes] = field(default_factory=dict)


class Reading:
    """
    Pages that follow each other, from some number on.

    Args:
        place: Where viewers of the feed start, read before all pages.
        after: Every entry above this number is on the pages, up to `end`.
        breaks: The channel's (feed/channel.py) when the group began to hear.
    """

    __slots__ = ("_until", "after", "breaks", "ends", "pages", "place", "size")

    def __init__(self, place: Place, after: int, breaks: int) -> None:
        self.place = place
        self.after = after
        self.breaks = breaks
        self.pages: list[ReadPage] = []
        #: Of a run feed that has ended: the message that says so.
        self.ends: Message | None = None
        #: Bytes, about.
        self.size = 0
        self._until = time.monotonic() + KEPT_SECONDS

    @property
    def epoch(self) -> str:
        return self.place.history.epoch

    @property
    def end(self) -> int:
        """Everything up to this number is in it, when it is complete."""
        return self.pages[-1].page.end

    @property
    def is_complete(self) -> bool:
        return bool(self.pages) and self.pages[-1].page.complete

    def add(self, page: Page, view: Shown) -> ReadPage:
        """The next page came."""
        entries = view.entries(page)
        if page.complete:
            self.ends = view.end_at(page)
            # Whoever has been told all of it has seen nothing that is not part of this history.
            history = self.place.history
            known = replace(history, sequence=max(history.sequence, page.end))
            self.place = replace(self.place, history=known)
        shown = [view.show(entry) for entry in entries]
        read = ReadPage(
            replace(page, rows=[]),  # as they are stored they are twice as large, and not needed any more
            [entry.sequence for entry in entries],
            shown,
            [row.run for row in page.rows],
        )
        self.pages.append(read)
        self.size += sum(len(row) + _ENTRY_BYTES for row in shown if isinstance(row, bytes))
        return read

    def begin_after(self, number: int) -> None:
        """What follows begins there, and nobody needs what came before."""
        self.pages.clear()
        self.after = number

    def suits(self, follower: Follower) -> bool:
        """Whether all that *follower* lacks is in it, or was heard since."""
        if follower.replaces:
            return self.after <= self.place.start
        # Whoever has seen more than was there then (at another gateway) would be taken back by it.
        return follower.epoch == self.epoch and self.after <= follower.at <= self.place.history.sequence

    def holds(self, group: Group) -> bool:
        """Whether it and what *group* heard since are still the truth, and not too much."""
        settled = group.channel.last_settled
        return (
            self.breaks == group.channel.breaks
            and (settled is None or settled.epoch == self.epoch)  # else data was lost, perhaps while nobody wrote
            and group.channel.joined.is_set()
            and group.heard is not None
            and group.heard_all
            and len(group.heard) <= max(_HEARD_FEW, sum(len(read.numbers) for read in self.pages) // _HEARD_PART)
            and time.monotonic() < self._until
        )


class Shelf:
    """The readings that are kept, of all groups: until their time is over; the oldest until there is need of room."""

    def __init__(self) -> None:
        self._kept: dict[Group, Reading] = {}
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None

    def take(self, group: Group) -> Reading | None:
        """The reading of *group*, if it still holds. Whoever takes it puts it back, or has the group stop listening."""
        reading = self._remove(group)
        if reading is not None and not reading.holds(group):
            group.stop_listening()
            return None
        return reading

    def put(self, group: Group, reading: Reading) -> None:
        """Keep it for those who come next. *group* goes on keeping what it hears."""
        if group.size < 2 or reading.size > MOST_BYTES or not reading.holds(group):
            group.stop_listening()  # nobody comes to most feeds but their one viewer
            return
        self._kept[group] = reading
        self._size += reading.size
        while self._size > ALL_BYTES:
            self.drop(next(iter(self._kept)))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)

    def drop(self, group: Group) -> None:
        """Nobody comes any more, or it does not hold."""
        if self._remove(group) is not None:
            group.stop_listening()

    def _remove(self, group: Group) -> Reading | None:
        reading = self._kept.pop(group, None)
        if reading is not None:
            self._size -= reading.size
        return reading

    def _look(self) -> None:
        self._timer = None
        for group, reading in list(self._kept.items()):
            if not reading.holds(group):
                self.drop(group)
        if self._kept:
            self._timer = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)
