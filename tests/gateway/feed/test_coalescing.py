"""What several changes of a run come to, and what is never left out of that."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.codec import AppendEvent, Chunk, Event, Transition
from gateway.feed.coalescing import Coalesced, merge
from gateway.feeds import RunId

EPOCH = "e1"


def event(sequence: int, run: str = "run_1", **fields: Any) -> Event:
    standard: dict[str, Any] = {
        "epoch": EPOCH,
        "created": 1,
        "tags": (),
        "columns": {"updatedAt": sequence},
        "whole": False,
        "metadata": {},
        "deleted": (),
        "left_out": {},
        "transition": None,
        "added": frozenset(),
    }
    return Event(sequence=sequence, run=RunId(run), **{**standard, **fields})


def status(sequence: int, name: str, run: str = "run_1") -> Event:
    return event(
        sequence,
        run,
        columns={"status": name, "updatedAt": sequence},
        transition=Transition(sequence, name, sequence, 1),
    )


def test_progress_of_a_run_becomes_one_change() -> None:
    """The newest wins, key by key; what only an earlier one said still counts."""
    pending = Coalesced(
        [
            event(1, columns={"number": 1, "updatedAt": 1}, metadata={"a": 1, "b": 1}),
            event(2, columns={"updatedAt": 2}, metadata={"a": 2}, deleted=("b",)),
            event(3, metadata={"c": 3}),
        ]
    )

    (told,) = pending

    assert isinstance(told, Event)
    assert (told.sequence, told.columns) == (3, {"number": 1, "updatedAt": 3})
    assert (told.metadata, told.deleted) == ({"a": 2, "c": 3}, ("b",))


def test_a_key_that_came_back_is_not_deleted() -> None:
    """Else a viewer would delete what it was just told."""
    told = merge(event(1, deleted=("a", "b")), event(2, metadata={"a": 2}))

    assert (told.metadata, told.deleted) == ({"a": 2}, ("b",))


def test_every_status_is_told() -> None:
    """A status is never merged into what was before it; what comes after it may be merged with it."""
    pending = Coalesced([event(1), status(2, "EXECUTING"), event(3), event(4), status(5, "COMPLETED_SUCCESSFULLY")])

    told = [(e.sequence, e.transition.status if e.transition else None) for e in pending]

    assert told == [(1, None), (4, "EXECUTING"), (5, "COMPLETED_SUCCESSFULLY")]


def test_what_is_told_stays_in_the_order_of_numbers() -> None:
    """A cursor says that everything up to it was told, or comes later under a higher number."""
    pending = Coalesced([event(1, "run_1"), event(2, "run_2"), event(3, "run_1"), event(4, "run_3")])

    assert [(e.sequence, e.run) for e in pending] == [(2, "run_2"), (3, "run_1"), (4, "run_3")]


def test_a_whole_run_stays_whole() -> None:
    """Who has never seen the run needs all of it, also when it changed since."""
    whole = event(1, whole=True, columns={"taskIdentifier": "t", "number": 1}, metadata={"a": 1, "b": 2})

    told = merge(whole, event(2, columns={"number": 2}, metadata={"a": 2}, deleted=("b",)))

    assert (told.whole, told.columns) == (True, {"taskIdentifier": "t", "number": 2})
    assert (told.metadata, told.deleted) == ({"a": 2}, ())


def test_a_whole_run_replaces_what_was_told_of_it_in_parts() -> None:
    """All of it is in it; what is not in it is gone."""
    whole = event(2, whole=True, columns={"taskIdentifier": "t"}, metadata={"a": 1}, added=frozenset({"x"}))

    told = merge(event(1, columns={"number": 1}, metadata={"b": 1}, deleted=("c",)), whole)

    assert (told.whole, told.columns, told.metadata, told.deleted) == (True, {"taskIdentifier": "t"}, {"a": 1}, ())
    assert told.added == {"x"}


def test_chunks_are_never_merged() -> None:
    """A stream is a log: all of it is told."""
    appends: list[Event | AppendEvent] = [
        AppendEvent(number, EPOCH, RunId("run_1"), "out", (Chunk(number, number, b"1"),), False, 1)
        for number in range(1, 4)
    ]

    assert list(Coalesced(appends)) == appends


_columns = st.dictionaries(st.sampled_from(["number", "ttl", "context"]), st.integers(0, 3), max_size=2)
_metadata = st.dictionaries(st.sampled_from("abc"), st.integers(0, 3), max_size=2)
_deleted = st.frozensets(st.sampled_from("abc"), max_size=2)
_steps = st.tuples(st.sampled_from(["run_1", "run_2"]), _columns, _metadata, _deleted, st.booleans(), st.booleans())


def _apply(known: dict[str, tuple[dict[str, Any], dict[str, Any]]], told: Event) -> None:
    """What a viewer makes of an update."""
    columns, metadata = ({}, {}) if told.whole else known.get(told.run, ({}, {}))
    kept = {key: value for key, value in metadata.items() if key not in told.deleted}
    known[told.run] = {**columns, **told.columns}, {**kept, **told.metadata}


def _statuses(events: list[Event], run: str) -> list[str]:
    return [e.transition.status for e in events if e.run == run and e.transition is not None]


@given(st.lists(_steps, max_size=20))
def test_a_viewer_ends_with_the_same_and_saw_every_status(steps: list[Any]) -> None:
    """However much was merged; and each run is told under its last number, which is what a cursor counts on."""
    events = [
        event(
            number,
            run,
            columns={**columns, "updatedAt": number},
            metadata=metadata,
            deleted=tuple(sorted(deleted - metadata.keys())),
            whole=whole,
            transition=Transition(number, f"S{number}", 1, 1) if changes else None,
        )
        for number, (run, columns, metadata, deleted, whole, changes) in enumerate(steps, start=1)
    ]
    one_by_one: dict[str, Any] = {}
    together: dict[str, Any] = {}
    for each in events:
        _apply(one_by_one, each)
    told = [each for each in Coalesced(events) if isinstance(each, Event)]
    for each in told:
        _apply(together, each)

    assert together == one_by_one
    for run in one_by_one:
        assert _statuses(told, run) == _statuses(events, run)
    assert [e.sequence for e in told] == sorted({e.sequence for e in told})
    last = {e.run: e.sequence for e in events}
    assert {e.run: e.sequence for e in told} == last
