"""The hot path, without any I/O: who is told what, in how many pieces, and who keeps which place."""

from __future__ import annotations

import pytest

from gateway.codec import Event, Transition
from gateway.feed.follower import Phase
from gateway.feed.group import MAX_HEARD
from gateway.feed.view import View
from gateway.feeds import ALL_RUNS, FeedId
from gateway.runs import METADATA
from gateway.transports.framings import EVENTS
from tests.doubles import RecordingSink
from tests.gateway.feed.memory import CREATED
from tests.gateway.feed.room import CountingFraming, Room, event, final, numbers

# Once per event, once per turn.


def test_one_frame_serves_all_viewers_of_a_view() -> None:
    """An event is encoded and framed once, and everybody's socket gets the very same bytes object."""
    room, framing = Room(), CountingFraming()
    sinks = [room.live(framing=framing)[1] for _ in range(50)]

    room.hear(event(101))

    assert framing.frames == 1
    assert len({id(sink.writes[0]) for sink in sinks}) == 1


def test_each_framing_spells_for_itself() -> None:
    """Viewers of other transports share the message, not the bytes."""
    room = Room()
    lines, events = room.live()[1], room.live(framing=EVENTS[False, False])[1]

    room.hear(event(101))

    assert lines.writes[0].endswith(b"}\n")
    assert events.writes[0].startswith(b"id: e1-101\nevent: update\ndata: ")


def test_a_turn_is_one_write_per_viewer() -> None:
    """However many events it brought, in their order."""
    room = Room()
    sinks = [room.live()[1] for _ in range(3)]

    room.hear(*(event(number) for number in range(101, 121)))

    assert [len(sink.writes) for sink in sinks] == [1, 1, 1]
    assert numbers(sinks[0]) == list(range(101, 121))
    assert room.group.deliveries == 60


def test_nothing_is_written_for_what_nobody_is_shown() -> None:
    """An empty write would end a chunked response."""
    room = Room(View(ALL_RUNS, frozenset({"number"})))
    _, sink = room.live()
    _, late = room.live(at=110)

    room.hear(event(101))
    room.hear(event(115))

    assert sink.writes == late.writes == []
    assert room.group.position == 115


# What belongs to the view.


def test_hidden_columns_move_the_place_all_the_same() -> None:
    """A change of which nothing is shown has been told: nobody reads it again."""
    room = Room(View(ALL_RUNS, frozenset({METADATA})))
    follower, sink = room.live()

    room.hear(event(101, columns={"updatedAt": 1}, metadata={"a": 1}))
    room.group.broke()

    assert sink.writes == []
    assert follower.at == 101


@pytest.mark.parametrize(
    ("view", "told"),
    [
        (View(ALL_RUNS), [101, 102, 103]),
        (View(ALL_RUNS, since=CREATED + 1), [103]),
        (View(FeedId.tags("a", "b")), [102, 103]),
    ],
)
def test_only_runs_of_the_view_are_told(view: View, told: list[int]) -> None:
    """Those created in time, and of several tags those that carry all."""
    room = Room(view)
    _, sink = room.live()

    room.hear(
        event(101, tags=("a",)), event(102, tags=("b", "a")), event(103, tags=("a", "b", "c"), created=CREATED + 1)
    )

    assert numbers(sink) == told


# While somebody reads.


def test_a_large_column_makes_all_read_it_once() -> None:
    """The event does not have it. A view that hides the column goes on."""
    room, hiding = Room(), Room(View(ALL_RUNS, frozenset({"output"})))
    follower, unmoved = room.live()[0], hiding.live()[0]
    large = event(101, left_out={"output": 5000})

    room.hear(large)
    hiding.hear(large)

    assert follower.phase is Phase.CATCHING_UP
    assert unmoved.phase is Phase.LIVE


@pytest.mark.parametrize(
    ("heard", "can"),
    [
        ([event(103)], True),
        ([event(102, left_out={"output": 5000})], False),
        ([event(103, epoch="e2")], False),
        ([event(100, epoch="e0")], False),
        ([event(100 + number) for number in range(MAX_HEARD)], True),
        ([event(100 + number) for number in range(MAX_HEARD + 1)], False),
    ],
    ids=["one", "left out", "next epoch", "last epoch", "as many as are kept", "more than are kept"],
)
def test_they_join_only_when_all_that_came_meanwhile_can_be_told(heard: list[Event], can: bool) -> None:
    """Otherwise one more read tells it."""
    room = Room()
    room.viewer()
    room.group.listen()

    room.hear(*heard)

    assert room.group.can_admit(101, base=0) is can


# The end of a run.


def run_room() -> Room:
    return Room(View(FeedId.run("run_1")))


def test_the_end_follows_the_final_status_in_the_same_write() -> None:
    """And the connection hears that this feed ended."""
    room = run_room()
    follower, sink = room.live()

    room.hear(final(101, attempt=2))

    assert len(sink.writes) == 1
    assert [message["type"] for message in sink.take()] == ["update", "end"]
    assert follower.ended == 2


def test_an_end_with_something_behind_it_is_an_end() -> None:
    """Metadata may still change in the turn that brought the final status."""
    room = run_room()
    follower, sink = room.live()

    room.hear(final(101), event(102, metadata={"a": 1}))

    assert [message["type"] for message in sink.take()] == ["update", "end", "update"]
    assert follower.ended == 1


def test_a_run_that_goes_on_is_not_over() -> None:
    """A new attempt, be it in the turn that told the end: whoever closes at the end must not."""
    room = run_room()
    follower, sink = room.live()

    room.hear(final(101))
    assert follower.ended == 1
    room.hear(event(102, transition=Transition(102, "EXECUTING", CREATED, 2)))
    assert follower.ended == 0
    room.hear(final(103, attempt=2), event(104, transition=Transition(104, "EXECUTING", CREATED, 3)))
    assert follower.ended == 0

    assert [message["type"] for message in sink.take()] == ["update", "end", "update", "update", "end", "update"]


def test_an_end_that_fills_the_sink_was_told() -> None:
    """Catching up later must not tell it again."""
    room = run_room()
    follower, sink = room.live(limit=10)
    sink.stall()

    room.hear(final(101))

    assert follower.phase is Phase.BEHIND
    assert follower.ended == 1


# Coming and going.


def test_one_who_left_is_told_nothing() -> None:
    """Leaving twice is harmless, and the group knows when it is empty."""
    room = Room()
    follower, sink = room.live()
    other, _ = room.live()
    assert room.group.size == 2

    room.group.remove(follower)
    room.group.remove(follower)
    room.hear(event(101))

    assert sink.writes == []
    assert room.group.size == 1
    room.group.remove(other)
    assert room.group.size == 0


def test_leaving_in_the_middle_of_a_turn_is_safe() -> None:
    """A socket that closes while it is written to takes its follower out from under the loop."""
    room = Room()
    followers = [room.live() for _ in range(3)]

    class Closing(RecordingSink):
        def write(self, data: bytes) -> None:
            room.group.remove(followers[1][0])

    followers[0][0].write = Closing().write
    room.hear(event(101))

    assert followers[1][1].writes == []
    assert numbers(followers[2][1]) == [101]
