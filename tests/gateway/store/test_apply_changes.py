"""What `apply_changes.lua` promises, on every kind of server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.runs import FINAL, Status
from gateway.store.writing import Answer

if TYPE_CHECKING:
    from tests.gateway.store.changing import Changing


# Outcomes


def test_a_change_to_no_run_is_missing_and_leaves_nothing(changing: Changing) -> None:
    """A change that may not create its run says so, and stores no row."""
    assert changing.apply(status="EXECUTING").outcome is Answer.MISSING
    assert changing.stored() == {}


def test_a_first_change_creates_the_run_whole(changing: Changing) -> None:
    """The columns that every reader relies on are there from the first change on."""
    applied = changing.create(tags=["a", "b"], initial={"payload": {"x": 1}, "batchId": "b1"})

    row = changing.row()
    assert (applied.outcome, applied.status, applied.attempt) == (Answer.APPLIED, "PENDING", 1)
    assert row["taskIdentifier"] == "resize"
    assert (row["status"], row["attempt"], row["runTags"]) == ("PENDING", 1, ["a", "b"])
    assert (row["payload"], row["batchId"]) == ({"x": 1}, "b1")
    assert row["createdAt"] == row["queuedAt"] <= row["updatedAt"]
    assert row["transitions"] == [[applied.sequence, "PENDING", row["createdAt"], 1]]


def test_a_run_that_is_created_without_a_status_is_queued(changing: Changing) -> None:
    changing.apply(create=True, initial={"taskIdentifier": "t"})
    assert changing.row()["status"] == "PENDING"


def test_the_same_change_again_is_unchanged_and_costs_no_number(changing: Changing) -> None:
    """Repeating what is so already publishes nothing."""
    first = changing.create()
    again = changing.create()
    assert again.outcome is Answer.UNCHANGED
    assert again.sequence == first.sequence


def test_times_follow_the_status(changing: Changing) -> None:
    """startedAt, completedAt and the duration come with the statuses that mean them."""
    changing.create()
    changing.apply(status="EXECUTING")
    assert "completedAt" not in changing.row()
    changing.apply(status="COMPLETED", columns={"output": 1})
    row = changing.row()
    assert row["completedAt"] >= row["startedAt"]
    assert row["usageDurationMs"] == row["completedAt"] - row["startedAt"]


@pytest.mark.parametrize("status", sorted(FINAL))
def test_every_final_status_sets_its_end(changing: Changing, status: Status) -> None:
    """The official client knows the end by completedAt, whatever the status."""
    changing.create()
    changing.apply(status=status)
    row = changing.row()
    assert row["completedAt"]
    assert ("expiredAt" in row) == (status is Status.EXPIRED)


def test_a_change_that_was_kept_for_a_while_says_when_it_happened(changing: Changing) -> None:
    changing.create()
    changing.apply(status="EXECUTING", age=60_000)
    row = changing.row()
    assert 59_000 < row["updatedAt"] - row["startedAt"] < 61_000
    assert row["transitions"][-1][2] == row["startedAt"]
