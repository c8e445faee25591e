"""The hot path, without any I/O: who is told what, in how many pieces, and who keeps which place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.codec import Event, Transition
from gateway.cursors import Cursor
from gateway.feed import group as group_module
from gateway.feed.channel import Channel
from gateway.feed.connection import Connection
from gateway.feed.follower import Follower, Phase
from gateway.feed.group import MAX_HEARD, Group
from gateway.feed.view import View
from gateway.feeds import ALL_RUNS, FeedId, RunId
from gateway.runs import METADATA
from gateway.transports.framings import EVENTS, LINES
from tests.doubles import RecordingSink
from tests.gateway.feed.memory import CREATED, ENVIRONMENT, NoAudience

if TYPE_CHECKING:
    from gateway.feed.view import Framing

EPOCH = "e1"


def event(sequence: int, run: str = "run_1", **fields: Any) -> Event:
    standard: dict[str, Any] = {
        "epoch": EPOCH,
        "created": CREATED,
        "tags": (),
        "columns": {"number": sequence, "updatedAt": CREATED + sequence},
        "whole": False,
        "metadata": {},
        "deleted": (),
        "left_out": {},
        "transition": None,
        "added": frozenset(),
    }
    return Event(sequence=sequence, run=RunId(run), **{**standard, **fields})


def final(sequence: int, attempt: int = 1, **fields: Any) -> Event:
    status = "COMPLETED_SUCCESSFULLY"
    return event(
        sequence, columns={"status": status}, transition=Transition(sequence, status, CREATED, attempt), **fields
    )


class CountingFraming:
    """Spells as LINES does, and counts."""

    def __init__(self) -> None:
        self.frames = 0

    def frame(self, kind: str, body: bytes, cursor: str) -> bytes:
        self.frames += 1
        return LINES.frame(kind, body, cursor)

    def wrap(self, frames: bytes) -> bytes:
        return LINES.wrap(frames)


class Room:
    """One group on one channel, and the viewers in it."""

    def __init__(self, view: View | None = None) -> None:
        self.audience = NoAudience()
        self.dirty: list[Group] = []
        self.wanted = 0
        self.channel = Channel(b"changes", ENVIRONMENT, self.dirty.append)
        self.group = Group(self.channel, view or View(ALL_RUNS), self._wants_wave)
        self.channel.groups[self.group.view] = self.group
        self.group.begin(EPOCH)

    def _wants_wave(self, group: Group) -> None:
        self.wanted += 1

    def viewer(self, framing: Framing = LINES, *, limit: int = 1000) -> tuple[Follower, RecordingSink]:
        sink = RecordingSink(limit)
        sink.connection = Connection(self.audience, sink, framing, ENVIRONMENT)
        follower = Follower(sink.connection, self.group, None)
        sink.connection.add(follower, self.group.view)
        self.group.add(follower)
        return follower, sink

    def live(self, at: int = 100, *, base: int = 0, **words: Any) -> tuple[Follower, RecordingSink]:
        """A viewer who has read everything up to *at*."""
        follower, sink = self.viewer(**words)
        follower.base, follower.epoch, follower.replaces = base, EPOCH, False
        self.group.admit([follower], at)
        return follower, sink

    def hear(self, *events: Event) -> None:
        """One loop turn of the subscription."""
        for heard in events:
            self.channel.hear(heard)
        for group in self.dirty:
            group.flush()
        self.dirty.clear()


def numbers(sink: RecordingSink) -> list[int]:
    return [Cursor.parse(message["cursor"]).sequence for message in sink.take()]


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


# Places.


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


# Cut-off snapshots.


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


# Connections with several feeds.


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
