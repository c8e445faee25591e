"""
When viewers are told what was heard.

*Quiet.* A small group is told at the end of the loop turn in which something was heard: nothing waits.

*Large groups* are told in rounds: all that have news, the smaller ones first, some hundred writes in each loop turn. So
a feed that ten thousand follow holds nobody up: between two of its slices other changes are heard, and small groups are
told. After a round comes a pause as long as the work of the round was, but a few milliseconds at most. So telling takes
about half of the time, changes that come close together share a write, and what comes after a moment of silence is told
at once.

*Late.* When many changes come while a round takes longer than it should, they come faster than each of them can be told
to all. Then groups keep what each run comes to instead of every change (feed/coalescing.py), and pauses are longer. The
more is heard between two rounds, the less of it is told: so it costs less the more comes, viewers have the truth after
one pause and one round, and what is kept is bounded by the runs that changed in that time.

When many changes in a row are older than they should be already when they are heard, small groups are told in rounds,
too: a write for each change would be too much, and hearing goes first. For what is not heard piles up in Redis, which
cuts a connection for that; should even hearing be too slow that happens, and everybody catches up.

Does no I/O of its own; the loop and the clock are given, so that tests need neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from gateway.feed.group import Group

Call = Callable[[], object]

#: Groups of so many viewers are told at once: some tenths of a millisecond.
SMALL: Final = 64
#: Writes in one slice of a round: one to two milliseconds.
SLICE: Final = 256
#: The longest pause between two rounds. The short one is not felt by anybody; with the long one and its round viewers
#: have the truth well within half a second.
PAUSE_SECONDS: Final = 0.01
LATE_PAUSE_SECONDS: Final = 0.15
#: Changes come too fast when so many of them are older than this when they are heard, by the clock of who stored them,
#: or come in a round that takes longer than this. When it happens to fewer the machine has stood still for a moment.
LATE_SECONDS, LATE_CHANGES = 0.1, 256
#: For so long after that we take it that they still do: what we do about it makes them be heard in time at once.
STAYS_LATE_SECONDS: Final = 1.0


class Loop(Protocol):
    """What rounds need of an event loop."""

    def call_soon(self, callback: Callable[[], object]) -> Any: ...
    def call_later(self, delay: float, callback: Callable[[], object]) -> Any: ...


class Rounds:
    """
    The groups that have something to tell, and when each is told.

    Args:
        loop: Where slices of a round, and the next round, are put off to.
        sliced: Called after each slice of a round.
    """

    def __init__(self, loop: Callable[[], Loop], sliced: Call, clock: Callable[[], float] = time.monotonic) -> None:
        #: Whether changes come faster than each of them can be told.
        self.late = False
        self._loop = loop
        self._sliced = sliced
        self._clock = clock
        #: Those who are told in the next round, and those who are in this one, the next to be told last.
        self._waiting: dict[Group, None] = {}
        self._round: list[Group] = []
        #: What is called when those who were waiting, or in the round, when it came have been told.
        self._after_next: list[Call] = []
        self._after: list[Call] = []
        #: Who is being told.
        self._telling: Group | None = None
        self._worked = 0.0
        self._began = 0.0
        self._next_at = 0.0
        #: How many changes in a row were old, and how many came since the round began.
        self._old = self._came = 0
        self._late_until = 0.0
        #: Until when even small groups are told in rounds.
        self._all_until = 0.0
        #: Whether the loop will call.
        self._put_off = False

    def judge(self, changes: int, age_seconds: float) -> None:
        """So many changes were heard in a loop turn, the newest of which is so old."""
        self._came += changes
        self._old = self._old + changes if age_seconds > LATE_SECONDS else 0
        if self._old >= LATE_CHANGES:
            self._are_late()
            self._all_until = self._late_until
        elif self.late:
            self.late = self._clock() < self._late_until

    def _are_late(self) -> None:
        """Keep what runs come to, for a while."""
        self.late, self._late_until = True, self._clock() + STAYS_LATE_SECONDS

    def tell(self, groups: list[Group]) -> None:
        """These have heard something in the loop turn that ends now."""
        all_wait = self.late and self._clock() < self._all_until
        for group in groups:
            if all_wait or group.size > SMALL:
                self._waiting[group] = None
            else:
                group.flush()
        if self._waiting and not self._put_off:
            self._begin()

    def when_told(self, call: Call) -> None:
        """Have *call* called when all that was heard up to now is told."""
        if self._waiting:
            self._after_next.append(call)
        elif self._is_under_way:
            self._after.append(call)
        else:
            call()

    def _begin(self) -> None:
        """Begin the next round, or have it begun when its time has come."""
        pause = self._next_at - self._clock()
        if pause > 0:
            self._put_off = True
            self._loop().call_later(pause, self._resume)
            return
        self._round = sorted(self._waiting, key=_size, reverse=True)
        self._waiting.clear()
        self._after, self._after_next = self._after_next, []
        self._began, self._worked, self._came = self._clock(), 0.0, 0
        self._go_on()

    def _resume(self) -> None:
        self._put_off = False
        if self._is_under_way:
            self._go_on()
        elif self._waiting:
            self._begin()

    def _go_on(self) -> None:
        """One slice of the round."""
        began, left = self._clock(), SLICE
        while self._is_under_way and left > 0:
            left -= self._tell_next(left)
        self._sliced()
        self._worked += self._clock() - began
        if self._is_under_way:
            self._put_off = True
            self._loop().call_soon(self._resume)
        else:
            self._end()

    @property
    def _is_under_way(self) -> bool:
        return bool(self._round) or self._telling is not None

    def _tell_next(self, most: int) -> int:
        """Tell the next *most* viewers of the round, or all of one group. Returns how many writes that was, about."""
        group = self._telling
        if group is None:
            group = self._round.pop()
            if group.size <= SMALL:
                group.flush()
                return group.size + 1
            group.share()
        told = group.tell_some(most)
        self._telling = group if group.is_telling else None
        return told + 1

    def _end(self) -> None:
        if self._came >= LATE_CHANGES and self._clock() - self._began > LATE_SECONDS:
            self._are_late()
        pause = LATE_PAUSE_SECONDS if self.late else PAUSE_SECONDS
        self._next_at = self._clock() + min(self._worked, pause)
        after, self._after = self._after, []
        for call in after:
            call()
        if self._waiting:
            self._begin()


def _size(group: Group) -> int:
    return group.size
