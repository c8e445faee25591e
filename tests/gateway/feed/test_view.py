"""What a view shows of a change: which runs, which columns, and the messages of docs/protocol.md."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.codec import Event, Row, Transition
from gateway.cursors import Cursor
from gateway.feed.view import MAX_LIMIT, View
from gateway.feeds import ALL_RUNS, FeedId, RunId
from gateway.runs import ALWAYS_SHOWN, COLUMNS, METADATA, Kind, Status

if TYPE_CHECKING:
    from gateway.feed.view import Message

RUN = FeedId.run("run_1")


def event(**fields: Any) -> Event:
    standard: dict[str, Any] = {
        "sequence": 7,
        "epoch": "e1",
        "run": RunId("run_1"),
        "created": 1000,
        "tags": (),
        "columns": {},
        "whole": False,
        "metadata": {},
        "deleted": (),
        "left_out": {},
        "transition": None,
        "added": frozenset(),
    }
    return Event(**{**standard, **fields})


def said(message: Message | None) -> Any:
    assert message is not None
    return json.loads(message.body)


# Which runs.


def test_a_view_admits_only_runs_that_are_young_enough() -> None:
    """`since` is a moment of creation, and that moment itself counts."""
    view = View(ALL_RUNS, since=1000)

    assert view.admits(event(created=1000))
    assert not view.admits(event(created=999))


@pytest.mark.parametrize(
    ("tags", "admitted"), [(("a", "b"), True), (("b", "x", "a"), True), (("a",), False), ((), False)]
)
def test_a_view_of_several_tags_sifts(tags: tuple[str, ...], admitted: bool) -> None:
    """The channel is that of one tag; a run must carry the others too."""
    assert View(FeedId.tags("b", "a")).admits(event(tags=tags)) is admitted


def test_views_are_the_same_when_they_show_the_same() -> None:
    """Viewers who asked for the same share one group, in whatever order they named tags and columns."""
    one = View(FeedId.tags("a", "b"), frozenset({"output", "payload"}))
    other = View(FeedId.tags("b", "a"), frozenset({"payload", "output"}))

    assert one == other
    assert hash(one) == hash(other)
    assert View(ALL_RUNS, limit=1) != View(ALL_RUNS)
    assert View(ALL_RUNS).limit == MAX_LIMIT


# Which columns.


def test_a_view_needs_what_it_shows_and_nothing_else() -> None:
    """Hidden and internal columns are never read; the ones that are always shown are always read."""
    needed = set(View(RUN, frozenset({"payload", METADATA})).columns)

    assert needed >= ALWAYS_SHOWN
    assert "payload" not in needed
    assert not {name for name in needed if COLUMNS[name].kind is Kind.INTERNAL}


def test_a_hidden_column_that_was_left_out_is_not_missed() -> None:
    """Only what this view shows makes it read the row."""
    change = event(left_out={"output": 5000})

    assert View(RUN).lacks(change)
    assert not View(RUN, frozenset({"output"})).lacks(change)
    assert not View(RUN).lacks(event())


# Messages.


def test_an_update_tells_what_changed() -> None:
    """The changed fields under their public names, what was emptied as null, and the cursor."""
    change = event(columns={"status": "EXECUTING", "output": None, "startedAt": 0, "updatedAt": 1})

    message = View(RUN).update(change, "e1-7")

    assert message is not None
    assert (message.kind, message.cursor, message.ends) == ("update", "e1-7", None)
    told = said(message)
    assert (told["type"], told["feed"], told["cursor"]) == ("update", "run:run_1", "e1-7")
    assert told["run"]["id"] == "run_1"
    assert (told["run"]["status"], told["run"]["isExecuting"], told["run"]["output"]) == ("EXECUTING", True, None)
    assert told["run"]["startedAt"] == "1970-01-01T00:00:00.000Z"
    assert "whole" not in told
    assert "metadata" not in told


def test_metadata_changes_stand_beside_the_run() -> None:
    """Changed keys and the names of deleted ones, not the whole document."""
    told = said(View(RUN).update(event(metadata={"a": [1]}, deleted=("b",)), "e1-7"))

    assert told["metadata"] == {"changed": {"a": [1]}, "deleted": ["b"]}
    assert told["run"] == {"id": "run_1"}


def test_a_run_that_enters_comes_whole() -> None:
    """With its metadata inside, as in a snapshot."""
    told = said(View(RUN).update(event(whole=True, columns={"status": "PENDING"}, metadata={"a": 1}), "e1-7"))

    assert told["whole"] is True
    assert told["run"]["metadata"] == {"a": 1}
    assert "metadata" not in told


def test_a_transition_is_told_with_its_status() -> None:
    """Unless the viewer does not want transitions."""
    change = event(columns={"status": "PAUSED"}, transition=Transition(7, "PAUSED", 0, 2))

    message = View(RUN).update(change, "e1-7")
    assert message is not None
    assert message.ends == 0  # the run goes on
    told = said(message)
    assert told["transition"] == {"status": "WAITING", "at": "1970-01-01T00:00:00.000Z", "attempt": 2, "sequence": 7}
    assert "transition" not in said(View(RUN, frozenset({"transitions"})).update(change, "e1-7"))


@pytest.mark.parametrize(
    "change",
    [
        event(columns={"output": 1, "updatedAt": 5}),
        event(columns={"updatedAt": 5}, metadata={"secret": 1}),
        event(columns={"updatedAt": 5}, deleted=("secret",)),
        event(columns={"updatedAt": 5, "outputType": "application/json"}),
    ],
)
def test_a_change_of_hidden_columns_is_not_told(change: Event) -> None:
    """Not even that something changed, or when."""
    assert View(RUN, frozenset({"output", METADATA})).update(change, "e1-7") is None


@pytest.mark.parametrize("whole", [True, False])
def test_hidden_columns_are_in_no_message(whole: bool) -> None:
    """Neither by their stored nor by their public name, in no kind of message."""
    hidden = frozenset({"output", METADATA, "completedAt"})
    change = event(
        whole=whole,
        columns={"status": "COMPLETED_SUCCESSFULLY", "output": "secret", "completedAt": 5},
        metadata={"key": "secret"},
        deleted=("secret",),
    )
    row = Row(
        RunId("run_1"), 7, {"status": b'"PENDING"', "output": b'"secret"', "completedAt": b"5"}, {b"k": b'"secret"'}
    )
    view = View(RUN, hidden)

    update = view.update(change, "e1-7")
    assert update is not None
    for text in (update.body, view.show(row)):
        assert b"secret" not in text
        assert b"finishedAt" not in text
        assert b"metadata" not in text


def test_a_snapshot_carries_runs_as_they_are() -> None:
    """Already encoded runs are put in as they stand; the rest says what to do with them."""
    view = View(ALL_RUNS)

    message = view.snapshot(
        [b'{"id":"a"}', b'{"id":"b"}'], Cursor("e1", 9), replaces=True, complete=False, truncated=True
    )

    assert (message.kind, message.cursor) == ("snapshot", "e1-9")
    assert said(message) == {
        "type": "snapshot",
        "feed": "all",
        "replaces": True,
        "complete": False,
        "truncated": True,
        "cursor": "e1-9",
        "runs": [{"id": "a"}, {"id": "b"}],
    }
    assert said(view.snapshot([], Cursor("e1", 9), replaces=False, complete=True, truncated=False))["runs"] == []


# The end.


def test_the_end_of_a_run_feed_is_a_message() -> None:
    """It says which status, and for us which attempt, so that nobody hears of one end twice."""
    change = event(transition=Transition(7, "CRASHED", 0, 3))

    message = View(RUN).end_of(change, "e1-7")

    assert message is not None
    assert (message.kind, message.cursor, message.ends) == ("end", "e1-7", 3)
    assert said(message) == {"type": "end", "feed": "run:run_1", "status": "CRASHED", "cursor": "e1-7"}


@pytest.mark.parametrize("raw", ["PENDING", "EXECUTING", "RETRYING_AFTER_FAILURE", "PAUSED", "something new"])
def test_a_status_that_is_not_final_ends_nothing(raw: str) -> None:
    """Nor does one that we don't know."""
    assert View(RUN).end_of(event(transition=Transition(7, raw, 0, 1)), "e1-7") is None


@pytest.mark.parametrize("feed", [ALL_RUNS, FeedId.tags("a"), FeedId.batch("b"), FeedId.task("t")])
def test_other_feeds_never_end(feed: FeedId) -> None:
    """Another run may enter them at any time."""
    assert View(feed).end_of(event(transition=Transition(7, "CRASHED", 0, 1)), "e1-7") is None
    assert View(feed).end(Status.COMPLETED, 1, "e1-7") is None
