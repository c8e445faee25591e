"""When each group is told: small ones at once, large ones in slices with pauses; in rounds when changes are late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.feed.follower import Phase
from gateway.feed.rounds import (
    LATE_CHANGES,
    LATE_PAUSE_SECONDS,
    LATE_SECONDS,
    PAUSE_SECONDS,
    SLICE,
    SMALL,
    STAYS_LATE_SECONDS,
    Rounds,
)
from gateway.feed.view import View
from gateway.feeds import FeedId
from tests.gateway.feed.room import Room, event, final, numbers

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.feed.group import Group
    from tests.doubles import RecordingSink

LARGE = SMALL + 1


class StillLoop:
    """An event loop and a clock that move when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.soon: list[Callable[[], object]] = []
        self.later: list[tuple[float, Callable[[], object]]] = []

    def call_soon(self, callback: Callable[[], object]) -> None:
        self.soon.append(callback)

    def call_later(self, delay: float, callback: Callable[[], object]) -> None:
        self.later.append((self.now + delay, callback))

    def turn(self) -> None:
        """One loop turn."""
        soon, self.soon = self.soon, []
        for callback in soon:
            callback()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        due = [callback for at, callback in self.later if at <= self.now]
        self.later = [entry for entry in self.later if entry[0] > self.now]
        for callback in due:
            callback()


class Theatre:
    """Rooms whose groups are told in rounds."""

    def __init__(self) -> None:
        self.loop = StillLoop()
        self.slices = 0
        self.rounds = Rounds(lambda: self.loop, self._sliced, lambda: self.loop.now)
        #: How long each slice takes.
        self.slice_seconds = 0.0
        self._numbers = 100

    def _sliced(self) -> None:
        self.slices += 1
        self.loop.now += self.slice_seconds

    def room(self, viewers: int, view: View | None = None) -> tuple[Room, list[RecordingSink]]:
        room = Room(view)
        return room, [room.live()[1] for _ in range(viewers)]

    def hear(self, *rooms: Room, **words: Any) -> int:
        """One change that each of these groups hears, in one loop turn."""
        self._numbers += 1
        for room in rooms:
            room.channel.hear(event(self._numbers, **words), late=self.rounds.late)
        self._tell(*rooms)
        return self._numbers

    def hear_end(self, room: Room) -> None:
        """A run reaches its final status."""
        self._numbers += 1
        room.channel.hear(final(self._numbers))
        self._tell(room)

    def _tell(self, *rooms: Room) -> None:
        dirty: list[Group] = []
        for room in rooms:
            dirty += room.dirty
            room.dirty.clear()
        self.rounds.tell(dirty)


@pytest.fixture
def theatre() -> Theatre:
    return Theatre()


def told(sinks: list[RecordingSink]) -> int:
    """How many were told anything since the last call."""
    return sum(bool(numbers(sink)) for sink in sinks)


# In time.


@pytest.mark.parametrize("viewers", [1, SMALL, LARGE, SLICE])
def test_what_comes_in_silence_is_told_in_the_same_turn(theatre: Theatre, viewers: int) -> None:
    """Nothing waits for anything that is not there."""
    room, sinks = theatre.room(viewers)

    theatre.hear(room)

    assert told(sinks) == viewers
    assert not theatre.loop.soon
    assert not theatre.loop.later


def test_a_large_group_is_told_in_slices(theatre: Theatre) -> None:
    """Each loop turn has some hundred writes, and everybody is told the change once."""
    room, sinks = theatre.room(2 * SLICE + 10)

    number = theatre.hear(room)
    counts = [sum(len(sink.writes) for sink in sinks)]
    while theatre.loop.soon:
        theatre.loop.turn()
        counts.append(sum(len(sink.writes) for sink in sinks))

    assert counts == [SLICE, 2 * SLICE, 2 * SLICE + 10]
    assert [numbers(sink) for sink in sinks] == [[number]] * len(sinks)


def test_small_groups_do_not_wait_for_a_large_one(theatre: Theatre) -> None:
    """One huge feed must not starve the others: they are told while it still has viewers to tell."""
    huge, crowd = theatre.room(4 * SLICE)
    small, few = theatre.room(2)

    theatre.hear(huge)
    for _ in range(3):
        assert theatre.loop.soon, "the huge one is told already"
        theatre.hear(small)
        assert told(few) == 2
        theatre.loop.turn()

    assert told(crowd) == 4 * SLICE


def test_of_several_large_groups_the_smaller_are_told_first(theatre: Theatre) -> None:
    """Then the many wait a little longer, and the few not much."""
    (huge, crowd), (large, some) = theatre.room(2 * SLICE), theatre.room(LARGE)

    theatre.hear(huge, large)

    assert told(some) == LARGE
    assert told(crowd) < 2 * SLICE


def test_after_a_round_comes_a_pause_as_long_as_it(theatre: Theatre) -> None:
    """What is heard meanwhile shares its writes, and telling takes half of the time at most."""
    theatre.slice_seconds = 0.004
    room, sinks = theatre.room(LARGE)
    theatre.hear(room)

    second, third = theatre.hear(room), theatre.hear(room)
    writes = [len(sink.writes) for sink in sinks]
    theatre.loop.wait(0.004)

    assert writes == [1] * LARGE
    assert [len(sink.writes) for sink in sinks] == [2] * LARGE
    assert all(numbers(sink)[-2:] == [second, third] for sink in sinks)


def test_a_pause_is_short(theatre: Theatre) -> None:
    """However long a round was."""
    theatre.slice_seconds = 5.0
    room, sinks = theatre.room(LARGE)
    theatre.hear(room)
    theatre.hear(room)

    theatre.loop.wait(PAUSE_SECONDS)

    assert [len(sink.writes) for sink in sinks] == [2] * LARGE


def test_a_pause_that_is_over_is_not_waited_for(theatre: Theatre) -> None:
    """The next change after a while is told at once."""
    theatre.slice_seconds = 0.004
    room, sinks = theatre.room(LARGE)
    theatre.hear(room)
    theatre.loop.wait(0.004)

    theatre.hear(room)

    assert [len(sink.writes) for sink in sinks] == [2] * LARGE


def test_what_was_heard_is_settled_when_it_was_told_to_all(theatre: Theatre) -> None:
    """A heartbeat's cursor says that everything up to it was told: so not before the last slice, nor in a pause."""
    theatre.slice_seconds = 0.004
    room, _ = theatre.room(2 * SLICE)
    settled: list[str] = []

    theatre.hear(room)
    theatre.rounds.when_told(lambda: settled.append("in slices"))
    assert settled == []
    theatre.hear(room)
    theatre.rounds.when_told(lambda: settled.append("in the next round"))
    theatre.loop.turn()
    assert settled == ["in slices"]
    theatre.loop.wait(1.0)
    assert settled == ["in slices"]
    theatre.loop.turn()
    assert settled == ["in slices", "in the next round"]
    theatre.rounds.when_told(lambda: settled.append("nothing to wait for"))
    assert settled[-1] == "nothing to wait for"


# A group whose viewers are being told.


def half_told(theatre: Theatre) -> tuple[Room, list[RecordingSink], list[RecordingSink]]:
    """A group in the middle of a round: who was told, who was not."""
    room, sinks = theatre.room(2 * SLICE)
    theatre.hear(room)
    return room, [sink for sink in sinks if sink.writes], [sink for sink in sinks if not sink.writes]


def test_a_viewer_knows_its_place_while_others_are_told(theatre: Theatre) -> None:
    """Who was not told yet and is cut off now comes back for it."""
    room, done, open_ = half_told(theatre)
    follower = {sink: next(iter(sink.connection.followers.values())) for sink in (done[0], open_[0]) if sink.connection}

    assert room.group.place(follower[done[0]]) == 101
    assert room.group.place(follower[open_[0]]) == 100
    room.group.fell_behind(follower[open_[0]])
    theatre.loop.turn()

    assert follower[open_[0]].at == 100
    assert not open_[0].writes


def test_who_left_is_told_no_more(theatre: Theatre) -> None:
    """Its share is not written to a socket that another feed may use."""
    room, _, open_ = half_told(theatre)
    assert open_[0].connection is not None

    room.group.remove(next(iter(open_[0].connection.followers.values())))
    theatre.loop.turn()

    assert not open_[0].writes
    assert all(sink.writes for sink in open_[1:])


def test_who_comes_meanwhile_is_not_told_what_was_before(theatre: Theatre) -> None:
    """It has read that; and what comes then everybody is told, in order."""
    room, done, open_ = half_told(theatre)
    room.channel.hear(event(102))
    _, late = room.live(at=102)
    room.channel.hear(event(103))
    room.group.flush()

    assert numbers(late) == [103]
    assert [numbers(sink) for sink in (done[0], open_[0])] == [[101, 102, 103]] * 2


def test_places_are_right_while_two_shares_are_told(theatre: Theatre) -> None:
    """Each viewer's place is what it has, also when somebody came between two changes that are not told to all."""
    room, done, open_ = half_told(theatre)
    room.channel.hear(event(102))
    room.live(at=102)
    places = {
        sink: room.group.place(next(iter(sink.connection.followers.values())))
        for sink in (done[0], open_[0])
        if sink.connection is not None
    }

    assert places == {done[0]: 101, open_[0]: 100}


def test_a_break_lets_nobody_miss_what_was_heard(theatre: Theatre) -> None:
    """All are told everything before they catch up, so their places are the same."""
    room, done, open_ = half_told(theatre)
    room.channel.hear(event(102))

    room.channel.broke()

    assert {tuple(numbers(sink)) for sink in (*done, *open_)} == {(101, 102)}
    assert {follower.at for follower in room.group.waiting} == {102}


def test_the_end_of_a_run_is_told_to_all_its_viewers_at_once(theatre: Theatre) -> None:
    """It may close who hears it; a run ends once."""
    room, sinks = theatre.room(2 * SLICE, View(FeedId.run("run_1")))

    theatre.hear(room)
    theatre.hear_end(room)
    theatre.loop.turn()
    theatre.loop.turn()

    assert {len(sink.writes) for sink in sinks} == {2}
    assert not theatre.loop.soon


def test_a_status_on_a_feed_of_many_runs_is_told_in_slices(theatre: Theatre) -> None:
    """Runs end there all the time."""
    room, sinks = theatre.room(2 * SLICE)

    theatre.hear_end(room)

    assert told(sinks) == SLICE


# Late.


def test_many_old_changes_mean_that_too_many_come(theatre: Theatre) -> None:
    """And that holds for a while: what is done about it lets changes be heard in time at once."""
    rounds = theatre.rounds
    late = []
    for age in (LATE_SECONDS, LATE_SECONDS * 1.1, 0.0):
        rounds.judge(LATE_CHANGES, age)
        late.append(rounds.late)

    assert late == [False, True, True]
    theatre.loop.now += STAYS_LATE_SECONDS
    rounds.judge(1, 0.0)
    assert not rounds.late


def test_a_few_old_changes_mean_nothing(theatre: Theatre) -> None:
    """The machine has stood still for a moment; what is heard after that is told one by one."""
    rounds = theatre.rounds

    rounds.judge(LATE_CHANGES - 1, 60.0)
    rounds.judge(1, 0.0)
    rounds.judge(LATE_CHANGES - 1, 60.0)

    assert not rounds.late


@pytest.mark.parametrize("changes", [LATE_CHANGES - 1, LATE_CHANGES])
def test_a_long_round_in_which_many_changes_come_means_the_same(theatre: Theatre, changes: int) -> None:
    """They are heard in time, and told late: one feed can be more than enough."""
    theatre.slice_seconds = LATE_SECONDS
    room, _ = theatre.room(2 * SLICE)
    theatre.hear(room)
    theatre.rounds.judge(changes, 0.0)
    theatre.loop.turn()

    assert theatre.rounds.late == (changes == LATE_CHANGES)


def test_then_of_each_run_the_newest_is_told_and_every_status(theatre: Theatre) -> None:
    """Whatever came between two rounds: what is told is bounded by the runs, not by the changes."""
    theatre.rounds.judge(LATE_CHANGES, age_seconds=1.0)
    theatre.slice_seconds = 0.05
    room, sinks = theatre.room(1)
    first = theatre.hear(room)
    for number in range(100):
        last = theatre.hear(room, run=f"run_{number % 2}")
    theatre.loop.wait(0.05)

    assert len(sinks[0].writes) == 2
    assert numbers(sinks[0]) == [first, last - 1, last]


def test_then_small_groups_wait_for_a_round_too(theatre: Theatre) -> None:
    """Else each change would cost a write again. The pause is longer, and not for ever."""
    theatre.rounds.judge(LATE_CHANGES, age_seconds=1.0)
    theatre.slice_seconds = 5.0
    room, sinks = theatre.room(1)
    theatre.hear(room)
    theatre.rounds.judge(LATE_CHANGES, age_seconds=1.0)
    theatre.hear(room)
    before = len(sinks[0].writes)

    theatre.loop.wait(LATE_PAUSE_SECONDS)

    assert (before, len(sinks[0].writes)) == (1, 2)


def test_who_is_told_late_and_leaves_is_not_kept(theatre: Theatre) -> None:
    """A group that nobody follows any more is told nothing, and forgotten with the round."""
    theatre.rounds.judge(LATE_CHANGES, age_seconds=1.0)
    theatre.slice_seconds = 0.05
    room, sinks = theatre.room(1)
    theatre.hear(room)
    theatre.hear(room)
    assert sinks[0].connection is not None
    (follower,) = sinks[0].connection.followers.values()

    room.group.remove(follower)
    theatre.loop.wait(1.0)

    assert follower.phase is Phase.LEFT
    assert len(sinks[0].writes) == 1
