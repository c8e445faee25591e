"""What a change carries from one form to the next."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from gateway.changes import Change, Limits, Operation, Operator, change, status_change
from gateway.errors import BadChange

LIMITS = Limits()


def test_a_change_that_is_aged_loses_nothing() -> None:
    """Whatever fields a change has, now or later."""
    values = {
        "run": "r",
        "create": True,
        "attempt": 2,
        "status": "EXECUTING",
        "columns": {"output": b"1"},
        "initial": {"payload": b"2"},
        "initial_metadata": {"k": b"3"},
        "tags": ("a",),
        "operations": (Operation(Operator.SET, "k", 1),),
        "age_ms": 4,
        "lease_ms": 5,
        "ttl_ms": 6,
        "max_duration_ms": 7,
        "overdue": True,
        "stream": "s",
    }
    assert set(values) == {field.name for field in fields(Change)}
    whole = Change(**values)  # type: ignore[arg-type]
    assert whole.aged(9) == replace(whole, age_ms=9)
    assert whole.age_ms == 4


def test_a_status_says_the_origin_of_its_run_again() -> None:
    """As if all of it had been said at once."""
    origin = change("r", create=True, initial={"taskIdentifier": "t"}, tags=["a"])
    said = status_change(
        origin,
        "EXECUTING",
        attempt=2,
        columns={"error": None},
        initial={"ttl": "10m", "maxDuration": 1.5},
        metadata={"k": 1},
        tags=["b", "a"],
        lease_seconds=3,
        limits=LIMITS,
    )
    assert said == change(
        "r",
        create=True,
        status="EXECUTING",
        attempt=2,
        columns={"error": None},
        initial={"taskIdentifier": "t", "ttl": "10m", "maxDuration": 1.5},
        metadata={"k": 1},
        tags=["a", "b"],
        lease_seconds=3,
    )
    assert (origin.tags, origin.initial) == (("a",), {"taskIdentifier": b'"t"'})


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempt": 0},
        {"attempt": True},
        {"lease_seconds": -1},
        {"tags": [f"t{number}" for number in range(11)]},
        {"columns": {"taskIdentifier": "other"}},
        {"columns": {"nonsense": 1}},
        {"initial": {"ttl": "soon"}},
    ],
)
def test_what_can_t_be_right_is_told_as_ever(wrong: dict[str, object]) -> None:
    with pytest.raises(BadChange):
        status_change(change("r"), "EXECUTING", limits=LIMITS, **wrong)  # type: ignore[arg-type]


def test_an_unknown_status_is_told() -> None:
    with pytest.raises(BadChange):
        status_change(change("r"), "NONSENSE", limits=LIMITS)
