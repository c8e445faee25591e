"""Changes that come late, twice, or in any order: a run only moves forward, and ends in the same place."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.runs import FINAL, PUBLIC_STATUS
from gateway.store.writing import Answer
from tests.gateway.store.test_documents import set_to

if TYPE_CHECKING:
    from tests.gateway.store.changing import Changing

_numbers = itertools.count(1)


# Order

_RANKED = [
    {"DELAYED"},
    {"PENDING_VERSION", "WAITING_FOR_DEPLOY"},
    {"PENDING"},
    {"DEQUEUED"},
    {"EXECUTING", "PAUSED", "WAITING_TO_RESUME"},
    {"RETRYING_AFTER_FAILURE"},
    {raw for raw, public in PUBLIC_STATUS.items() if public in FINAL},
]
_RANK = {raw: rank for rank, raws in enumerate(_RANKED) for raw in raws}


def test_every_status_has_a_rank_here() -> None:
    assert _RANK.keys() == PUBLIC_STATUS.keys()


@pytest.mark.parametrize("before", sorted(_RANK))
def test_within_an_attempt_a_status_only_rises(changing: Changing, before: str) -> None:
    """Of any two statuses the higher one holds; a final one holds against every other."""
    last = max(_RANK.values())
    for after in sorted(_RANK):
        run = f"run_{next(_numbers)}"
        changing.create(run, status=before)
        outcome = changing.apply(run, status=after).outcome
        if after == before:
            expected = Answer.UNCHANGED
        elif _RANK[before] == last or _RANK[after] < _RANK[before]:
            expected = Answer.STALE
        else:
            expected = Answer.APPLIED
        assert (after, outcome) == (after, expected)
        assert changing.row(run)["status"] == (after if expected is Answer.APPLIED else before)


def test_a_late_status_changes_nothing_of_its_columns(changing: Changing) -> None:
    """What comes with a status that is refused (an error, an output) is refused with it."""
    changing.create()
    changing.apply(status="COMPLETED", columns={"output": 1})
    late = changing.apply(status="FAILED", columns={"error": {"type": "STRING_ERROR", "raw": "x"}})
    assert late.outcome is Answer.STALE
    assert late.status == "COMPLETED_SUCCESSFULLY"
    assert "error" not in changing.row()
    again = changing.apply(status="COMPLETED", columns={"output": 2})
    assert again.outcome is Answer.UNCHANGED
    assert changing.row()["output"] == 1


def test_an_earlier_attempt_is_stale(changing: Changing) -> None:
    changing.create()
    changing.apply(status="EXECUTING", attempt=2)
    late = changing.apply(status="FAILED", attempt=1, operations=[set_to("a", 1)])
    assert (late.outcome, late.attempt) == (Answer.STALE, 2)
    assert changing.row()["status"] == "EXECUTING"
    assert changing.metadata() == {}


def test_a_new_attempt_reopens_a_run_and_clears_its_end(changing: Changing) -> None:
    """Nothing of how the last attempt ended is left, and the columns are told as emptied."""
    changing.create()
    changing.apply(status="EXECUTING")
    changing.apply(status="FAILED", columns={"error": {"type": "STRING_ERROR", "raw": "x"}, "output": 1})
    with changing.listen() as listening:
        assert changing.apply(status="QUEUED", attempt=2).outcome is Answer.APPLIED
        event = listening.heard()[0][1]
    row = changing.row()
    assert (row["status"], row["attempt"]) == ("PENDING", 2)
    assert not row.keys() & {"completedAt", "error", "output", "usageDurationMs"}
    assert {name for name, value in event.columns.items() if value is None} == {
        "completedAt",
        "error",
        "output",
        "usageDurationMs",
    }


def test_the_transitions_are_every_status_in_order(changing: Changing) -> None:
    changing.create()
    for attempt, status in [(1, "EXECUTING"), (1, "WAITING"), (1, "EXECUTING"), (1, "FAILED"), (2, "EXECUTING")]:
        changing.apply(status=status, attempt=attempt)
    changing.apply(status="COMPLETED")
    transitions = changing.row()["transitions"]
    assert [(status, attempt) for _, status, _, attempt in transitions] == [
        ("PENDING", 1),
        ("EXECUTING", 1),
        ("WAITING_TO_RESUME", 1),
        ("EXECUTING", 1),
        ("COMPLETED_WITH_ERRORS", 1),
        ("EXECUTING", 2),
        ("COMPLETED_SUCCESSFULLY", 2),
    ]
    assert transitions == sorted(transitions)


def test_transitions_are_bounded(changing: Changing) -> None:
    """A run that waits a thousand times keeps the last hundred."""
    changing.create()
    for _ in range(60):
        changing.apply(status="EXECUTING")
        applied = changing.apply(status="WAITING")
    transitions = changing.row()["transitions"]
    assert len(transitions) == 100
    assert transitions[-1][0] == applied.sequence


def test_sequence_numbers_strictly_rise_across_runs(changing: Changing) -> None:
    numbers = [changing.create(f"run_{number}").sequence for number in range(5)]
    numbers += [changing.apply(f"run_{number}", status="EXECUTING").sequence for number in range(5)]
    assert numbers == sorted(set(numbers))
    assert changing.history()["sequence"] == str(numbers[-1])


# A worker that is faster than whoever created the run


def test_creation_fills_the_gaps_when_the_worker_was_faster(changing: Changing) -> None:
    """What only the creator knows arrives late, and takes nothing back."""
    changing.create(status="EXECUTING", operations=[set_to("both", "worker")])
    late = changing.create(
        tags=["t"],
        initial={"payload": 1, "batchId": "b", "taskIdentifier": "other"},
        metadata={"both": "creator", "mine": []},
    )
    row = changing.row()
    assert late.outcome is Answer.STALE
    assert (row["status"], row["taskIdentifier"], row["payload"], row["batchId"]) == ("EXECUTING", "resize", 1, "b")
    assert row["runTags"] == ["t"]
    assert changing.metadata() == {"both": "worker", "mine": []}


def test_gaps_are_filled_even_when_the_run_has_ended(changing: Changing) -> None:
    changing.create(status="COMPLETED")
    with changing.listen() as listening:
        changing.create(tags=["t"], initial={"payload": 1})
        feeds = [feed for feed, _ in listening.heard()]
    assert changing.row()["payload"] == 1
    assert feeds == ["run:run_1", "all", "task:resize", "tag:t"]


def test_operations_do_not_depend_on_the_status_they_came_with(changing: Changing) -> None:
    """Whether a publisher sent them a moment before a late status or together with it makes no difference."""
    changing.create(status="CANCELED")
    late = changing.apply(status="COMPLETED", operations=[set_to("a", 1)])
    assert late.outcome is Answer.STALE
    assert changing.metadata() == {"a": 1}


# Any order


_SAID = st.sampled_from(
    [
        (attempt, status)
        for attempt in (None, 1, 2, 3)
        for status in ("QUEUED", "DEQUEUED", "EXECUTING", "WAITING", "RETRYING_AFTER_FAILURE", "FAILED", "COMPLETED")
    ]
)


@given(said=st.lists(_SAID, min_size=1, max_size=12))
@settings(max_examples=60)
def test_a_row_only_moves_forward(changing: Changing, said: list[tuple[int | None, str]]) -> None:
    """Whatever is said in whatever order, attempt and rank never fall, and every number is greater than the last."""
    run = f"run_{next(_numbers)}"
    last, ended, sequence = (0, 0), False, 0
    for attempt, status in said:
        applied = changing.create(run, status=status, attempt=attempt)
        now = (applied.attempt, _RANK[applied.status])
        assert now >= last
        if ended and applied.attempt == last[0]:
            assert applied.outcome is not Answer.APPLIED
        if applied.outcome is Answer.APPLIED:
            assert applied.sequence > sequence
            sequence = applied.sequence
        last, ended = now, PUBLIC_STATUS[applied.status] in FINAL
    attempts = [attempt for *_, attempt in changing.row(run)["transitions"]]
    assert attempts == sorted(attempts)


_LIFE = [
    ("create", None, "QUEUED"),
    ("apply", 1, "EXECUTING"),
    ("apply", 1, "RETRYING_AFTER_FAILURE"),
    ("create", 2, "QUEUED"),
    ("apply", 2, "EXECUTING"),
    ("apply", 2, "COMPLETED"),
]


@given(order=st.permutations(range(len(_LIFE))), again=st.lists(st.integers(0, len(_LIFE) - 1), max_size=4))
@settings(max_examples=80)
def test_any_order_and_repetition_ends_in_the_same_place(
    changing: Changing, order: list[int], again: list[int]
) -> None:
    """Every change of a life, shuffled and some of them twice: the run ends as it would have in order."""
    run = f"run_{next(_numbers)}"
    for index in [*order, *again]:
        _, attempt, status = _LIFE[index]
        columns = {"output": attempt} if status == "COMPLETED" else {}
        changing.create(run, status=status, attempt=attempt, columns=columns, initial={"payload": 7}, tags=["t"])
    row = changing.row(run)
    assert (row["status"], row["attempt"], row["output"]) == ("COMPLETED_SUCCESSFULLY", 2, 2)
    assert (row["payload"], row["runTags"], row["taskIdentifier"]) == (7, ["t"], "resize")
