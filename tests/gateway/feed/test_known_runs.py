"""Of a cut-off snapshot not every run is known: a part of one that is not is nonsense, and is read instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.feed import group as group_module
from gateway.feed.follower import Phase
from gateway.feed.view import View
from gateway.feeds import ALL_RUNS
from tests.gateway.feed.room import Room, event, numbers

if TYPE_CHECKING:
    import pytest


def test_a_part_of_an_unknown_run_is_not_told() -> None:
    """Who began at the newest few does not have the others; when one of them changes, its row is read."""
    room = Room(View(ALL_RUNS, limit=1))
    room.group.learn("run_1", 100, base=90)
    follower, sink = room.live(base=90)

    room.hear(event(101, "run_1"))
    assert numbers(sink) == [101]

    room.hear(event(102, "run_2"))
    assert sink.writes[1:] == []
    assert follower.phase is Phase.CATCHING_UP


def test_a_run_that_came_whole_is_known() -> None:
    """From then on its parts can be told, also within one turn."""
    room = Room(View(ALL_RUNS, limit=1))
    _, sink = room.live(base=90)

    room.hear(event(101, "run_2", whole=True), event(102, "run_2"))

    assert numbers(sink) == [101, 102]


def test_a_run_that_was_read_once_is_known_for_good() -> None:
    """Catching up with one run does not make all others unknown: each costs one read, not one read per change."""
    room = Room(View(ALL_RUNS, limit=2))
    for run, number in (("run_1", 95), ("run_2", 100)):
        room.group.learn(run, number, base=90)
    follower, sink = room.live(base=90)

    room.hear(event(101, "run_3"))  # unknown: somebody reads its row
    room.group.learn("run_3", 101, base=90)
    room.group.admit([follower], 101)
    room.hear(event(102, "run_1"), event(103, "run_2"), event(104, "run_3"))

    assert numbers(sink) == [102, 103, 104]


def test_a_row_that_was_read_ahead_is_not_yet_known_to_those_who_are_late() -> None:
    """A newcomer read a row whose change the others have not heard: they never had that run."""
    room = Room(View(ALL_RUNS, limit=1))
    before, sink = room.live(at=100, base=90)
    room.group.learn("run_9", 105, base=90)
    room.live(at=105, base=90)

    room.hear(event(105, "run_9"))

    assert sink.writes == []
    assert before.phase is Phase.CATCHING_UP


def test_who_knows_less_decides_for_all() -> None:
    """One group tells all its viewers the same, so what one of them may lack is read."""
    room = Room(View(ALL_RUNS, limit=1))
    room.group.learn("run_1", 95, base=90)
    first, sink = room.live(at=100, base=90)
    room.live(at=100, base=98)

    room.hear(event(101, "run_1"))

    assert sink.writes == []
    assert first.phase is Phase.CATCHING_UP


def test_numbers_of_runs_do_not_outlive_their_epoch() -> None:
    """A change that was lost made nobody know its run."""
    room = Room(View(ALL_RUNS, limit=1))
    room.group.learn("run_1", 100, base=90)
    room.group.begin("e2")
    follower, _ = room.live(base=90)

    room.hear(event(101, "run_1", epoch="e2"))

    assert follower.phase is Phase.CATCHING_UP


def test_what_is_kept_of_runs_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it we start over, which costs reads and no truth."""
    monkeypatch.setattr(group_module, "MAX_SEEN", 3)
    room = Room(View(ALL_RUNS, limit=1))
    follower, sink = room.live(base=90)
    for number in range(101, 106):
        room.hear(event(number, f"run_{number}", whole=True))
    assert numbers(sink) == list(range(101, 106))

    room.hear(event(106, "run_101"))

    assert follower.phase is Phase.CATCHING_UP
