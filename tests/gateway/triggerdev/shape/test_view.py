"""How a shape sees a feed: what concerns it, what it needs, and that what the hub hands over is read back."""

from __future__ import annotations

import json
from typing import Any

from gateway.codec import AppendEvent, Chunk, Event, Row, Transition
from gateway.feeds import FeedId, RunId
from gateway.store.pages import Page
from gateway.triggerdev.shape.view import LOG, PAGE, ReadChange, ReadPage, ShapeView, read_log, read_page

MOMENT = 1_769_853_600_123
COLUMNS: dict[str, Any] = {"taskIdentifier": "t", "status": "PENDING", "attempt": 1, "createdAt": 1, "updatedAt": 2}


def event(**said: Any) -> Event:
    usual: dict[str, Any] = {
        "sequence": 7,
        "epoch": "e",
        "run": RunId("run_1"),
        "created": MOMENT,
        "tags": ("a",),
        "columns": {},
        "whole": False,
        "metadata": {},
        "deleted": (),
        "left_out": {},
        "transition": None,
        "added": frozenset(),
    }
    return Event(**{**usual, **said})


def row(run: str, sequence: int, **columns: Any) -> Row:
    return Row(RunId(run), sequence, {name: json.dumps(value).encode() for name, value in (COLUMNS | columns).items()})


def test_it_admits_what_belongs_to_it() -> None:
    """Runs with all its tags, created in its window; chunks of streams never."""
    tags = ShapeView(FeedId.tags("a", "b"), since=MOMENT)

    assert tags.admits(event(tags=("b", "c", "a")))
    assert not tags.admits(event())
    assert not tags.admits(event(tags=("a", "b"), created=MOMENT - 1))
    assert not ShapeView(FeedId.run("run_1")).admits(
        AppendEvent(1, "e", RunId("run_1"), "out", (Chunk(1, 0, b"1"),), False, MOMENT)
    )


def test_it_reads_what_it_shows_and_the_types_of_that() -> None:
    """Without its type a payload can't be read."""
    assert "context" not in ShapeView(FeedId("all")).columns
    assert "payload" not in ShapeView(FeedId("all"), frozenset({"payload"})).columns
    assert "payloadType" in ShapeView(FeedId("all"), frozenset({"payloadType"})).columns
    assert "payloadType" not in ShapeView(FeedId("all"), frozenset({"payload", "payloadType"})).columns
    assert not ShapeView(FeedId("all"), frozenset({"metadata"})).shows_metadata


def test_it_lacks_what_was_left_out_and_is_shown() -> None:
    """What is hidden is not missed."""
    left_out = event(left_out={"output": 10_000})

    assert ShapeView(FeedId("all")).lacks(left_out)
    assert not ShapeView(FeedId("all"), frozenset({"output"})).lacks(left_out)
    assert not ShapeView(FeedId("all")).lacks(event(left_out={"context": 10_000}))


def test_changes_are_read_back_from_the_log() -> None:
    """Several in one piece; what is for others is not in it."""
    view = ShapeView(FeedId.tags("a"))
    changes = [
        event(columns={"status": "EXECUTING", "updatedAt": MOMENT}, transition=Transition(7, "EXECUTING", 1, 1)),
        event(sequence=8, metadata={"x": [1, "\n\t"]}, deleted=("y",), columns={"updatedAt": MOMENT}),
        event(sequence=9, whole=True, columns=COLUMNS, metadata={"x": 1}),
    ]
    messages = [message for change in changes for message in view.messages(change, "")]
    data = LOG.wrap(b"".join(LOG.frame(message.kind, message.body, "") for message in messages))
    first, second, third = read_log(data + LOG.frame("heartbeat", b"{}", ""))

    at = "2026-01-31T10:00:00.123"
    assert first == ReadChange(7, "run_1", False, True, {}, [], {"id": "run_1", "status": "EXECUTING", "updatedAt": at})
    assert second == ReadChange(8, "run_1", False, False, {"x": [1, "\n\t"]}, ["y"], {"id": "run_1", "updatedAt": at})
    assert isinstance(third, ReadChange)
    assert third.whole
    assert third.values["metadata"] == '{"x":1}'


def test_a_change_of_which_nothing_is_shown_is_none() -> None:
    """Nobody is woken for it."""
    view = ShapeView(FeedId.run("run_1"), frozenset({"output", "metadata"}))
    hidden = event(columns={"output": 1, "attempt": 2, "updatedAt": MOMENT}, metadata={"x": 1})

    assert view.messages(hidden, "") == []


def test_a_change_of_which_nothing_is_shown_is_told_to_the_log_of_many_runs() -> None:
    """Somebody may lack the run."""
    hidden = event(columns={"output": 1, "attempt": 2, "updatedAt": MOMENT}, metadata={"x": 1})
    (message,) = ShapeView(FeedId("all"), frozenset({"output", "metadata"})).messages(hidden, "")

    assert read_log(LOG.frame(message.kind, message.body, "")) == [
        ReadChange(7, "run_1", False, False, {}, [], {}, silent=True)
    ]


def test_pages_are_read_back_by_both() -> None:
    """Rows spelled once; the log finds each of them, however they are told apart."""
    view = ShapeView(FeedId("all"))
    page = Page("e", 9, True, [row("run_1", 3, payload="a,b"), row("run_2", 5)])
    shown = [view.show(entry) for entry in view.entries(page)]
    (message,) = view.page(page, shown, replaces=True, truncated=False)
    read = read_page(PAGE.wrap(PAGE.frame(message.kind, message.body, message.cursor)))
    (logged,) = read_log(LOG.frame(message.kind, message.body, message.cursor))

    assert read == logged == ReadPage("e", 9, True, True, False, read.rows, read.changes)
    assert [(number, run) for number, run, _ in read.rows] == [(3, "run_1"), (5, "run_2")]
    first, second = json.loads(b"[%s]" % read.changes)
    assert [len(shown[0].text), len(shown[1].text)] == [length for _, _, length in read.rows]
    assert first["headers"] == second["headers"] == {"operation": "insert"}
    assert first["key"] == '"public"."TaskRun"/"run_1"'
    assert PAGE.frame("change", b"x", "") == b""
