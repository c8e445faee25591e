"""A viewer's phases are a table; here is the same table, drawn by hand, with every step that must not be."""

from __future__ import annotations

import pytest

from gateway.cursors import Cursor
from gateway.feed.channel import Channel
from gateway.feed.connection import Connection
from gateway.feed.follower import Follower, Phase, Signal
from gateway.feed.group import Group
from gateway.feed.view import View
from gateway.feeds import ALL_RUNS
from gateway.transports.framings import LINES
from tests.doubles import RecordingSink
from tests.gateway.feed.memory import ENVIRONMENT, NoAudience

STEPS = {
    (Phase.CATCHING_UP, Signal.CAUGHT_UP): Phase.LIVE,
    (Phase.CATCHING_UP, Signal.FEED_BROKEN): Phase.CATCHING_UP,
    (Phase.CATCHING_UP, Signal.SINK_FULL): Phase.BEHIND,
    (Phase.CATCHING_UP, Signal.SINK_DRAINED): None,
    (Phase.CATCHING_UP, Signal.VIEWER_LEFT): Phase.LEFT,
    (Phase.LIVE, Signal.CAUGHT_UP): None,
    (Phase.LIVE, Signal.FEED_BROKEN): Phase.CATCHING_UP,
    (Phase.LIVE, Signal.SINK_FULL): Phase.BEHIND,
    (Phase.LIVE, Signal.SINK_DRAINED): None,
    (Phase.LIVE, Signal.VIEWER_LEFT): Phase.LEFT,
    (Phase.BEHIND, Signal.CAUGHT_UP): None,
    (Phase.BEHIND, Signal.FEED_BROKEN): Phase.BEHIND,
    (Phase.BEHIND, Signal.SINK_FULL): Phase.BEHIND,
    (Phase.BEHIND, Signal.SINK_DRAINED): Phase.CATCHING_UP,
    (Phase.BEHIND, Signal.VIEWER_LEFT): Phase.LEFT,
    (Phase.LEFT, Signal.CAUGHT_UP): None,
    (Phase.LEFT, Signal.FEED_BROKEN): None,
    (Phase.LEFT, Signal.SINK_FULL): None,
    (Phase.LEFT, Signal.SINK_DRAINED): None,
    (Phase.LEFT, Signal.VIEWER_LEFT): Phase.LEFT,
}


def follower(cursor: Cursor | None = None) -> Follower:
    channel = Channel(b"changes", ENVIRONMENT, lambda group: None)
    group = Group(channel, View(ALL_RUNS), lambda group: None)
    return Follower(Connection(NoAudience(), RecordingSink(), LINES, ENVIRONMENT), group, cursor)


def test_no_step_is_forgotten() -> None:
    """The tests below look at every phase with every signal."""
    assert set(STEPS) == {(phase, signal) for phase in Phase for signal in Signal}


@pytest.mark.parametrize(("phase", "signal"), STEPS)
def test_a_follower_moves_only_along_the_table(phase: Phase, signal: Signal) -> None:
    """A legal signal leads where the table says; any other is a mistake of ours that names both, and moves nobody."""
    moved, expected = follower(), STEPS[phase, signal]
    moved.phase = phase

    if expected is not None:
        assert moved.move(signal) is expected
        assert moved.phase is expected
    else:
        with pytest.raises(RuntimeError, match=f"{phase.name} can't be told {signal.name}"):
            moved.move(signal)
        assert moved.phase is phase


def test_one_without_a_cursor_begins_with_everything() -> None:
    """Its first snapshot replaces what it has, which is nothing that we know of."""
    new = follower()

    assert (new.phase, new.replaces, new.at) == (Phase.CATCHING_UP, True, 0)


def test_one_with_a_cursor_begins_there() -> None:
    """Until the cursor is looked at, it is believed."""
    resumed = follower(Cursor("e1", 42))

    assert (resumed.phase, resumed.replaces, resumed.epoch, resumed.at) == (Phase.CATCHING_UP, False, "e1", 42)
