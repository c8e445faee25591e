"""One connection that follows several feeds: told by one write, in order, and behind in all of them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cursors import Cursor
from gateway.feed.connection import Connection
from gateway.feed.follower import Follower, Phase
from gateway.feed.view import View
from gateway.feeds import FeedId
from gateway.transports.framings import LINES
from tests.doubles import RecordingSink
from tests.gateway.feed.memory import ENVIRONMENT
from tests.gateway.feed.room import EPOCH, Room, event, numbers

if TYPE_CHECKING:
    import pytest


class TwoFeeds:
    """One connection in two groups."""

    def __init__(self) -> None:
        self.rooms = [Room(View(FeedId.task("t"))), Room(View(FeedId.tags("a")))]
        self.audience = self.rooms[0].audience
        self.sink = RecordingSink()
        self.connection = self.sink.connection = Connection(self.audience, self.sink, LINES, ENVIRONMENT)
        self.followers = []
        for room in self.rooms:
            follower = Follower(self.connection, room.group, None)
            self.connection.add(follower, room.group.view)
            room.group.add(follower)
            room.group.admit([follower], 100)
            self.followers.append(follower)


def test_several_feeds_share_one_write_a_turn() -> None:
    """What all groups of a turn have for a connection is gathered, and goes out in their order."""
    two = TwoFeeds()

    two.rooms[0].hear(event(101))
    two.rooms[1].hear(event(102))
    assert two.sink.writes == []
    assert two.audience.reports == [("gathered", two.connection)]
    two.connection.flush()

    assert len(two.sink.writes) == 1
    assert numbers(two.sink) == [101, 102]


def test_a_change_that_is_skipped_is_caught_up_with() -> None:
    """Nobody is told a later one before: who was live waits for the state, with its place as it was."""
    room = Room()
    follower, sink = room.live(at=100)
    room.hear(event(101))
    room.channel.skip()
    room.hear(event(103))

    assert follower.phase is Phase.CATCHING_UP
    assert follower.at == 101
    assert room.channel.catch_ups["over_limit"] == 1
    assert numbers(sink) == [101]


def test_what_is_skipped_while_the_state_is_read_is_read_again() -> None:
    room = Room()
    room.group.listen()
    room.channel.skip()

    assert not room.group.can_admit(100, 0)


def test_a_message_of_its_own_goes_after_what_was_gathered() -> None:
    """Control messages never overtake data."""
    two = TwoFeeds()
    two.rooms[0].hear(event(101))
    message = View(FeedId.run("run_1")).snapshot([], Cursor(EPOCH, 101), replaces=False, complete=True, truncated=False)

    two.connection.tell(message)

    assert [told["type"] for told in two.sink.take()] == ["update", "snapshot"]


def test_leaving_one_feed_does_not_turn_the_order_around() -> None:
    """The last feed writes directly; what was gathered before goes before it."""
    two = TwoFeeds()
    two.rooms[0].hear(event(101))

    two.rooms[1].group.remove(two.followers[1])
    two.connection.remove(two.rooms[1].group.view)
    two.rooms[0].hear(event(102))
    two.connection.flush()

    assert numbers(two.sink) == [101, 102]


def test_a_full_sink_takes_the_connection_out_of_all_its_feeds() -> None:
    """Each keeps the place that it was told."""
    two = TwoFeeds()
    two.sink.limit = 10
    two.sink.stall()
    two.rooms[0].hear(event(101))
    two.rooms[1].hear(event(102))

    two.connection.flush()
    two.rooms[0].hear(event(103))

    assert [follower.phase for follower in two.followers] == [Phase.BEHIND, Phase.BEHIND]
    assert [follower.at for follower in two.followers] == [101, 102]
    two.sink.drain()
    assert [follower.phase for follower in two.followers] == [Phase.CATCHING_UP, Phase.CATCHING_UP]


def test_a_change_that_can_not_be_shown_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever can reach Redis can publish; what came in the same turn is told."""
    room = Room()
    _, sink = room.live()

    room.hear(event(101), event(102, columns={"updatedAt": "yesterday"}), event(103))

    assert numbers(sink) == [101, 103]
    assert "can't be told" in caplog.text
