"""What a viewer knows is what the gateway told, however it was told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadMessage
from gateway.viewer.mirror import CaughtUp, Ended, Freshness, Mirror, OutOfStep, RunChanged, RunsGone
from tests.gateway.viewer.model import FEED, FINAL, ModelGateway

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.viewer.mirror import Change, MirroredFeed


@dataclass
class Viewer:
    """A mirror at the end of a model gateway's words, and what came out of it."""

    gateway: ModelGateway = field(default_factory=ModelGateway)
    mirror: Mirror = field(default_factory=lambda: Mirror([FEED]))
    changes: list[Change] = field(default_factory=list)

    @property
    def feed(self) -> MirroredFeed:
        return self.mirror.feeds[FEED]

    def hear(self, count: int | None = None) -> None:
        """The next *count* messages arrive, or all."""
        said = self.gateway.said
        for _ in range(len(said) if count is None else min(count, len(said))):
            self.changes += self.mirror.apply(said.popleft())

    def connect(self, page: int = 100) -> None:
        self.gateway.join(self.mirror.cursor(FEED), page=page)

    def lose_connection(self) -> None:
        """What was on its way is lost with it."""
        self.gateway.leave()
        self.gateway.said.clear()
        self.mirror.disconnected()

    def drain(self, page: int) -> None:
        """It fell behind, and took everything that had been written: the gateway goes on from there."""
        self.hear()
        self.gateway.join(self.mirror.cursor(FEED), page=page)

    def statuses(self, run: str) -> list[str]:
        """Every status that was told as news, in that order."""
        told = (change for change in self.changes if isinstance(change, RunChanged) and change.run.id == run)
        return [entry.status for change in told for entry in change.new]


# Any history, cut anywhere.

_RUNS = st.sampled_from(["run_1", "run_2", "run_3"])
_VALUES: st.SearchStrategy[Any] = st.sampled_from([None, 1, "x", [], {"a": [1]}])
_KEYS = st.sampled_from(["progress", "rows", "note"])
Step = tuple["Callable[..., None]", tuple[Any, ...]]


def _step(action: Callable[..., None], *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(action), st.tuples(*arguments))


def _changes(viewer: Viewer, run: str, name: str, value: object) -> None:
    viewer.gateway.set(run, **{name: value})


def _gets_status(viewer: Viewer, run: str, status: str) -> None:
    viewer.gateway.status(run, status)


def _tells_metadata(viewer: Viewer, run: str, key: str, value: object) -> None:
    viewer.gateway.metadata(run, {key: value})


def _deletes_metadata(viewer: Viewer, run: str, key: str) -> None:
    viewer.gateway.metadata(run, {}, (key,))


def _is_tagged(viewer: Viewer, run: str) -> None:
    viewer.gateway.tag(run, "t")


def _hears(viewer: Viewer, count: int) -> None:
    viewer.hear(count)


def _heartbeat(viewer: Viewer, state: str) -> None:
    viewer.gateway.heartbeat(state)


def _reconnects(viewer: Viewer, page: int) -> None:
    viewer.lose_connection()
    viewer.connect(page)


def _goes_away(viewer: Viewer) -> None:
    viewer.lose_connection()


def _falls_behind(viewer: Viewer) -> None:
    viewer.gateway.leave()


def _comes_back(viewer: Viewer, page: int) -> None:
    if not viewer.gateway.live:
        viewer.drain(page)


def _starts_over(viewer: Viewer, page: int) -> None:
    viewer.hear()
    viewer.gateway.join(None, page=page)


_PAGES = st.integers(1, 3)
_GOING_ON = (
    _step(_changes, _RUNS, st.sampled_from(["output", "error"]), _VALUES),
    _step(_gets_status, _RUNS, st.sampled_from(["QUEUED", "EXECUTING", "COMPLETED"])),
    _step(_tells_metadata, _RUNS, _KEYS, _VALUES),
    _step(_deletes_metadata, _RUNS, _KEYS),
    _step(_is_tagged, _RUNS),
    _step(_hears, st.integers(1, 3)),
    _step(_heartbeat, st.sampled_from(["live", "stale"])),
    _step(_reconnects, _PAGES),
    _step(_goes_away),
    _step(_falls_behind),
    _step(_comes_back, _PAGES),
)
_STEPS = st.lists(st.one_of(*_GOING_ON, _step(_starts_over, _PAGES)), max_size=40)


@given(_STEPS)
def test_any_way_to_tell_a_history_ends_in_the_same_runs_and_statuses(steps: list[Step]) -> None:
    """Updates, pages, reconnects amid either: the state is the gateway's, no status is missed, none told twice."""
    viewer = Viewer()
    viewer.connect()
    for action, arguments in steps:
        action(viewer, *arguments)
    if viewer.gateway.live:
        viewer.hear()
    else:
        viewer.drain(page=2)
        viewer.hear()

    rows = viewer.gateway.rows
    assert {
        run: dict(known.fields) | {"transitions": known.fields.get("transitions", [])}
        for run, known in viewer.feed.runs.items()
    } == {run: viewer.gateway.whole(run) for run in rows}
    for run, row in rows.items():
        assert viewer.statuses(run) == [entry["status"] for entry in row["transitions"]]
    assert viewer.feed.complete
    assert viewer.feed.caught_up


@given(_STEPS)
def test_a_cursor_never_moves_past_what_was_not_told(steps: list[Step]) -> None:
    """Cut off at any moment, a viewer whose cursor covers a change has that change."""
    viewer = Viewer()
    viewer.connect()
    for action, arguments in steps:
        action(viewer, *arguments)
        cursor = viewer.feed.cursor
        for run, number in viewer.gateway.numbers.items():
            if cursor is not None and number <= cursor.sequence:
                assert viewer.feed.runs[run].fields["updatedAt"] == f"at {number}"


@given(st.lists(st.one_of(*_GOING_ON), max_size=40))
def test_a_cursor_never_moves_backwards(steps: list[Step]) -> None:
    """But where everything is replaced: whoever knows nothing any more begins at the beginning."""
    viewer, highest = Viewer(), 0
    viewer.connect()
    for action, arguments in steps:
        action(viewer, *arguments)
        at = viewer.feed.cursor.sequence if viewer.feed.cursor is not None else 0
        assert at >= highest
        highest = at


# What is special.


@pytest.fixture
def viewer() -> Viewer:
    """Has caught up with a feed that has nothing in it yet."""
    viewer = Viewer()
    viewer.connect()
    viewer.hear()
    return viewer


def test_a_viewer_that_was_away_hears_every_status_in_order(viewer: Viewer) -> None:
    viewer.gateway.status("run_1", "QUEUED")
    viewer.hear()
    viewer.lose_connection()
    for status in ("EXECUTING", "WAITING", "EXECUTING", "COMPLETED"):
        viewer.gateway.status("run_1", status)
    viewer.changes.clear()
    viewer.connect()
    viewer.hear()

    assert viewer.statuses("run_1") == ["EXECUTING", "WAITING", "EXECUTING", "COMPLETED"]
    assert viewer.feed.runs["run_1"].transitions[0].status == "QUEUED"


def test_statuses_that_the_gateway_has_forgotten_are_kept(viewer: Viewer) -> None:
    """A row keeps its last hundred transitions; a viewer who heard of the others still knows them."""
    for status in ("QUEUED", "EXECUTING", "COMPLETED"):
        viewer.gateway.status("run_1", status)
    viewer.hear()
    viewer.lose_connection()
    del viewer.gateway.rows["run_1"]["transitions"][0]
    viewer.gateway.set("run_1", output=1)
    viewer.connect()
    viewer.hear()

    assert [entry.status for entry in viewer.feed.runs["run_1"].transitions] == ["QUEUED", "EXECUTING", "COMPLETED"]


def test_a_run_that_was_created_again_begins_anew(viewer: Viewer) -> None:
    """Redis forgot it and somebody used the id once more: what its namesake went through is not its own."""
    viewer.gateway.status("run_1", "COMPLETED")
    viewer.hear()
    viewer.gateway.forget("run_1")
    viewer.gateway.status("run_1", "QUEUED")
    viewer.hear()

    assert [entry.status for entry in viewer.feed.runs["run_1"].transitions] == ["QUEUED"]


def test_a_part_of_an_unknown_run_asks_for_a_fresh_subscription(viewer: Viewer) -> None:
    """The feed is forgotten, and takes nothing before a snapshot that replaces it."""
    viewer.gateway.set("run_1", output=1)
    viewer.gateway.said.clear()  # never arrived
    viewer.gateway.set("run_1", output=2)
    with pytest.raises(OutOfStep) as raised:
        viewer.hear()
    assert (raised.value.feed, raised.value.run) == (FEED, "run_1")
    assert viewer.mirror.cursor(FEED) is None
    assert not viewer.feed.caught_up

    viewer.gateway.set("run_2", output=3)
    viewer.gateway.join("a-0")
    viewer.hear()
    assert viewer.feed.runs == {}

    viewer.connect()
    viewer.hear()
    assert viewer.feed.runs["run_1"].fields["output"] == 2


def test_a_replacing_snapshot_says_what_is_gone_and_tells_nothing_twice(viewer: Viewer) -> None:
    viewer.gateway.status("run_1", "COMPLETED")
    viewer.gateway.status("run_2", "EXECUTING")
    viewer.gateway.status("run_3", "EXECUTING")
    viewer.hear()
    viewer.gateway.forget("run_1")
    viewer.gateway.leave()
    viewer.gateway.status("run_3", "COMPLETED")
    viewer.changes.clear()
    viewer.gateway.join(None, page=1)
    viewer.hear(1)
    assert not viewer.feed.complete
    viewer.hear()

    told = [change.run.id for change in viewer.changes if isinstance(change, RunChanged)]
    assert told == ["run_3"]
    gone = [change for change in viewer.changes if isinstance(change, RunsGone)]
    assert gone == [RunsGone(FEED, ("run_1",), lost=True)]
    assert viewer.changes[-1] == CaughtUp(FEED, truncated=False)

    viewer.changes.clear()
    viewer.lose_connection()
    viewer.connect()
    viewer.hear()
    assert viewer.changes == [CaughtUp(FEED, truncated=False)]


def test_another_epoch_may_begin_at_a_lower_number(viewer: Viewer) -> None:
    """Redis lost data: the snapshot that says so replaces everything, the cursor included."""
    for _ in range(5):
        viewer.gateway.set("run_1", output=1)
    viewer.hear()
    viewer.lose_connection()
    viewer.gateway.epoch, viewer.gateway.sequence = "b", 1
    viewer.gateway.join(None)
    viewer.hear()

    assert viewer.mirror.cursor(FEED) == "b-1"


def test_what_is_known_already_changes_nothing(viewer: Viewer) -> None:
    """A change that comes again, or late, would show what is not true any more."""
    viewer.gateway.status("run_1", "EXECUTING")
    late = dict(viewer.gateway.said[0])
    viewer.gateway.status("run_1", "COMPLETED")
    viewer.hear()

    assert viewer.mirror.apply(late) == []
    assert viewer.feed.runs["run_1"].status == "COMPLETED"


def test_a_heartbeat_that_is_behind_moves_nothing_back(viewer: Viewer) -> None:
    viewer.gateway.set("run_1", output=1)
    viewer.hear()
    viewer.mirror.apply({"type": "heartbeat", "state": "live", "cursor": viewer.gateway.cursor(0)})

    assert viewer.mirror.cursor(FEED) == viewer.gateway.cursor()


def test_null_removes_a_field(viewer: Viewer) -> None:
    viewer.gateway.set("run_1", output=1)
    viewer.gateway.set("run_1", output=None)
    viewer.hear()

    assert "output" not in viewer.feed.runs["run_1"].fields


def test_a_null_within_metadata_stays(viewer: Viewer) -> None:
    """There it is a value that somebody set; keys that are gone are named."""
    viewer.gateway.metadata("run_1", {"a": None, "b": 1})
    viewer.gateway.metadata("run_1", {}, ("b",))
    viewer.hear()

    assert viewer.feed.runs["run_1"].metadata == {"a": None}


def test_runs_that_were_handed_out_never_change(viewer: Viewer) -> None:
    viewer.gateway.metadata("run_1", {"a": 1})
    viewer.hear()
    before = viewer.feed.runs["run_1"]
    viewer.gateway.metadata("run_1", {"a": 2})
    viewer.hear()

    assert before.metadata == {"a": 1}


def test_heartbeats_say_how_fresh_it_is(viewer: Viewer) -> None:
    liveness = [viewer.mirror.live]
    for state in ("stale", "live"):
        viewer.gateway.heartbeat(state)
        viewer.hear()
        liveness.append(viewer.mirror.live)

    assert liveness == [True, False, True]
    assert viewer.changes[-2:] == [Freshness(stale=True, as_of="at 0"), Freshness(stale=False, as_of="at 0")]


def test_a_heartbeat_does_not_speak_for_a_feed_that_is_on_its_way(viewer: Viewer) -> None:
    """It may have left before our subscription came there: with its cursor, what we missed would never come."""
    viewer.lose_connection()
    viewer.gateway.set("run_1", output=1)
    viewer.mirror.apply({"type": "heartbeat", "state": "live", "cursor": viewer.gateway.cursor()})
    viewer.connect()
    viewer.hear()

    assert "run_1" in viewer.feed.runs


def test_after_a_connection_was_lost_nothing_is_live_until_it_has_caught_up(viewer: Viewer) -> None:
    viewer.lose_connection()
    before = viewer.mirror.live, viewer.feed.complete
    viewer.connect()
    viewer.hear()

    assert before == (False, True)
    assert viewer.mirror.live


@pytest.mark.parametrize("final", FINAL)
def test_the_end_of_a_run_is_told_once_and_undone_by_a_new_attempt(final: str) -> None:
    gateway, mirror = ModelGateway("run:run_1"), Mirror(["run:run_1"])
    feed = mirror.feeds["run:run_1"]
    gateway.join(None)
    gateway.status("run_1", final)
    end = {"type": "end", "feed": "run:run_1", "status": final, "cursor": gateway.cursor()}
    for message in gateway.said:
        mirror.apply(message)

    assert mirror.apply(end) == [Ended("run:run_1", final)]
    assert mirror.apply(end) == []
    assert feed.ended == final
    gateway.said.clear()
    gateway.status("run_1", "EXECUTING")
    mirror.apply(gateway.said.popleft())
    assert feed.ended is None


def test_with_no_more_room_the_run_goes_that_ended_and_changed_the_longest_ago() -> None:
    viewer = Viewer(mirror=Mirror([FEED], max_runs=2))
    viewer.connect()
    for run, status in (("run_1", "EXECUTING"), ("run_2", "COMPLETED"), ("run_3", "COMPLETED"), ("run_4", "QUEUED")):
        viewer.gateway.status(run, status)
    viewer.hear()

    assert list(viewer.feed.runs) == ["run_1", "run_4"]
    gone = [change.runs for change in viewer.changes if isinstance(change, RunsGone)]
    assert gone == [("run_2",), ("run_3",)]


def test_other_feeds_and_messages_that_are_not_for_feeds_change_nothing(viewer: Viewer) -> None:
    others = ModelGateway("tag:other")
    others.join(None)
    others.set("run_9", output=1)
    for message in (*others.said, {"type": "welcome"}, {"type": "something new"}):
        assert viewer.mirror.apply(message) == []


@pytest.mark.parametrize(
    "message",
    [
        {"type": "snapshot", "feed": FEED},
        {"type": "update", "feed": FEED, "run": {"id": "run_1"}, "cursor": "what?"},
        {"type": "update", "feed": FEED, "run": [], "whole": True, "cursor": "a-9"},
        {"type": "update", "feed": FEED, "run": {"id": "r"}, "whole": True, "cursor": "a-9", "transition": {}},
        {"type": "heartbeat"},
    ],
)
def test_what_is_not_of_the_protocol_is_an_error(viewer: Viewer, message: dict[str, Any]) -> None:
    with pytest.raises(BadMessage):
        viewer.mirror.apply(message)
