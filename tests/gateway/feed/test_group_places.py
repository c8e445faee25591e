"""Which place each viewer of a group has: what moves it, and what must not."""

from __future__ import annotations

from gateway.cursors import Cursor
from gateway.feed.follower import Phase
from tests.gateway.feed.room import EPOCH, Room, event, numbers


def test_an_event_that_was_read_before_is_not_told() -> None:
    """What the state had when it was read comes again over the subscription, later."""
    room = Room()
    _, sink = room.live(at=105)

    room.hear(event(103), event(105), event(106))

    assert numbers(sink) == [106]


def test_late_events_go_only_to_those_who_lack_them() -> None:
    """One who joined has read further than the others have heard."""
    room = Room()
    _, before = room.live(at=100)
    _, newcomer = room.live(at=105)

    room.hear(event(101), event(104), event(105), event(106))

    assert numbers(before) == [101, 104, 105, 106]
    assert numbers(newcomer) == [106]


def test_what_came_meanwhile_is_told_first_to_those_who_join() -> None:
    """Heard after the state was read: once, in order, and before anything else."""
    room = Room()
    _, before = room.live(at=100)
    joining, sink = room.viewer()
    room.group.listen()
    room.hear(event(101), event(102), event(103))

    room.group.admit([joining], 102)
    room.hear(event(104))

    assert numbers(sink) == [103, 104]
    assert numbers(before) == [101, 102, 103, 104]


def test_one_who_falls_behind_keeps_the_place_it_was_told() -> None:
    """A write that fills the sink was told; what would have come after it was not."""
    room = Room()
    follower, sink = room.live(limit=10)
    _, other = room.live()
    sink.stall()

    room.hear(event(101), event(102))
    room.hear(event(103))

    assert follower.phase is Phase.BEHIND
    assert (follower.epoch, follower.at) == (EPOCH, 102)
    assert len(sink.writes) == 1
    assert numbers(other) == [101, 102, 103]


def test_one_who_drained_waits_for_what_it_missed() -> None:
    """It is not fed before it has caught up."""
    room = Room()
    follower, sink = room.live(limit=10)
    sink.stall()
    room.hear(event(101))
    wanted = room.wanted

    sink.drain()
    room.hear(event(102))

    assert follower.phase is Phase.CATCHING_UP
    assert follower in room.group.waiting
    assert room.wanted == wanted + 1
    assert numbers(sink) == [101]


def test_a_canary_moves_the_place_of_quiet_feeds() -> None:
    """Whoever is live has everything up to the last canary, though nothing of it was of this feed."""
    room = Room()
    follower, _ = room.live()
    room.channel.last_settled = Cursor(EPOCH, 500)

    room.group.fell_behind(follower)

    assert follower.at == 500


def test_a_break_does_not_count_what_only_a_canary_said() -> None:
    """Should the server have lost the newest changes, only those who were told one of them begin anew."""
    room = Room()
    follower, _ = room.live()
    room.channel.last_settled = Cursor(EPOCH, 500)

    room.channel.broke()

    assert follower.at == 100


def test_a_canary_of_another_epoch_says_nothing() -> None:
    """Its numbers are of other changes."""
    room = Room()
    follower, _ = room.live()
    room.channel.last_settled = Cursor("e2", 500)

    room.group.broke()

    assert follower.at == 100


def test_what_was_gathered_is_told_before_a_break() -> None:
    """Events of this turn count, although a later one of it can't be told."""
    room = Room()
    follower, sink = room.live()

    room.hear(event(101), event(102, left_out={"output": 5000}), event(103))

    assert numbers(sink) == [101]
    assert (follower.phase, follower.at) == (Phase.CATCHING_UP, 101)


def test_another_epoch_makes_everybody_catch_up() -> None:
    """Its numbers can't be compared with ours; the rows can."""
    room = Room()
    follower, sink = room.live()

    room.hear(event(101, epoch="e2"))

    assert sink.writes == []
    assert (follower.phase, follower.epoch, follower.at) == (Phase.CATCHING_UP, EPOCH, 100)


def test_an_epoch_that_a_newcomer_found_is_looked_at_by_all() -> None:
    """Whether what the others were told is still part of it, only reading tells."""
    room = Room()
    follower, _ = room.live()

    room.group.begin("e2")

    assert (follower.phase, follower.epoch, follower.at) == (Phase.CATCHING_UP, EPOCH, 100)
    assert follower in room.group.waiting
