"""What waits to be sent: how it is collected, kept in order, bounded and counted. No server and no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.changes import Change, Operation, Operator, Outcome, change
from gateway.publisher.breaker import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Breaker
from gateway.publisher.outbox import MANY_OPERATIONS, MANY_RUNS, Outbox

if TYPE_CHECKING:
    from gateway.publisher.unsent import Unsent


def said(run: str, status: str, **more: object) -> Change:
    return change(run, status=status, **more)  # type: ignore[arg-type]


def set_to(key: str, value: object) -> Operation:
    return Operation(Operator.SET, key, value)


def progress(current: int) -> Operation:
    return set_to("progress", {"current": current})


def increment(key: str = "n") -> Operation:
    return Operation(Operator.INCREMENT, key, 1)


def taken(outbox: Outbox, run: str, now: float) -> Unsent:
    unsent = outbox.take(run, now)
    assert unsent is not None
    return unsent


def away(outbox: Outbox, now: float = 0.0) -> None:
    """Redis did not answer once."""
    outbox.put(said("probe", "EXECUTING"), now)
    outbox.failed(taken(outbox, "probe", now), now)


# Collecting


def test_the_first_operation_is_due_at_once_and_the_rest_when_the_interval_is_over() -> None:
    outbox = Outbox()
    assert outbox.operate("r", progress(1), None, 10.0) is None
    assert taken(outbox, "r", 10.0).operations == [progress(1)]
    outbox.sent()

    for current in range(2, 50):
        assert outbox.operate("r", progress(current), None, 10.05) is Outcome.DEFERRED
    assert outbox.next_due() == pytest.approx(10.1)
    assert outbox.due_runs(10.09) == []
    assert outbox.due_runs(10.11) == ["r"]
    assert taken(outbox, "r", 10.11).operations == [progress(49)]
    assert outbox.next_due() is None


def test_where_many_runs_speak_they_leave_together() -> None:
    """A round trip for each would hold the job up; as soon as there are few again nobody waits for others."""
    outbox = Outbox()
    for number in range(MANY_RUNS):
        assert outbox.operate(f"r{number}", progress(1), None, 10.0) is None
        taken(outbox, f"r{number}", 10.0)
        outbox.sent()

    assert outbox.operate("one", progress(1), None, 10.01) is Outcome.DEFERRED
    assert outbox.operate("other", progress(1), None, 10.02) is Outcome.DEFERRED
    assert outbox.operate("r0", progress(1), None, 10.02) is Outcome.DEFERRED
    assert outbox.due_runs(10.041) == ["one", "other"]
    assert outbox.due_runs(10.11) == ["one", "other", "r0"]
    assert outbox.operate("later", progress(1), None, 10.11) is None


def test_operations_travel_with_the_next_status() -> None:
    """What waits goes into the same change as the status, before it is due by itself."""
    outbox = Outbox()
    outbox.operate("r", progress(1), None, 10.0)
    outbox.take("r", 10.0)
    outbox.operate("r", progress(2), None, 10.01)
    outbox.put(said("r", "COMPLETED"), 10.02)
    unsent = taken(outbox, "r", 10.02)
    assert (unsent.change.status, unsent.operations) == ("COMPLETED_SUCCESSFULLY", [progress(2)])
    assert outbox.take("r", 10.02) is None


def test_runs_do_not_wait_for_each_other() -> None:
    outbox = Outbox()
    assert outbox.operate("a", progress(1), None, 10.0) is None
    assert outbox.operate("b", progress(1), None, 10.0) is None


def test_many_operations_do_not_wait() -> None:
    """A loop that appends is not collected for ever: it sends for itself."""
    outbox = Outbox()
    outbox.operate("r", increment(), None, 10.0)
    outbox.take("r", 10.0)
    outcomes = [
        outbox.operate("r", Operation(Operator.APPEND, "log", number), None, 10.0) for number in range(MANY_OPERATIONS)
    ]
    assert outcomes[-1] is None
    assert set(outcomes[:-1]) == {Outcome.DEFERRED}


# Redis is away


def test_progress_is_dropped_and_counted() -> None:
    outbox = Outbox()
    away(outbox)
    assert outbox.operate("r", progress(1), None, 1.0) is Outcome.DROPPED
    assert outbox.statistics.dropped == {"progress": 1}


def test_the_newest_status_of_each_run_is_kept_with_what_came_before_it() -> None:
    """One change per run, which says where it comes from and how it ended, and how long ago."""
    outbox = Outbox()
    away(outbox)
    outbox.put(said("r", "QUEUED", create=True, initial={"taskIdentifier": "t"}, tags=["a"]), 1.0)
    outbox.put(said("r", "EXECUTING", columns={"context": {}}), 2.0)
    outbox.put(said("r", "COMPLETED", columns={"output": 1}, tags=["b"]), 3.0)
    outbox.put(said("r", "EXECUTING"), 4.0)
    unsent = outbox.take("r", 13.0)
    assert unsent is not None
    kept = unsent.stamped(13.0)
    assert (kept.create, kept.status, kept.age_ms) == (True, "COMPLETED_SUCCESSFULLY", 10_000)
    assert (kept.initial, kept.columns) == ({"taskIdentifier": b'"t"'}, {"context": b"{}", "output": b"1"})
    assert kept.tags == ("a", "b")


@pytest.mark.parametrize("first", [None, 1])
def test_a_new_attempt_does_not_inherit_how_the_last_one_ended(first: int | None) -> None:
    outbox = Outbox()
    away(outbox)
    outbox.put(said("r", "FAILED", attempt=first, columns={"error": {}}), 1.0)
    outbox.put(said("r", "EXECUTING", attempt=2), 2.0)
    kept = taken(outbox, "r", 9.0).change
    assert (kept.status, kept.attempt, kept.columns) == ("EXECUTING", 2, {})


def test_an_earlier_attempt_does_not_replace_a_kept_one() -> None:
    outbox = Outbox()
    away(outbox)
    outbox.put(said("r", "EXECUTING", attempt=2), 1.0)
    outbox.put(said("r", "FAILED", attempt=1), 2.0)
    assert taken(outbox, "r", 9.0).change.status == "EXECUTING"


def test_what_failed_stands_before_what_was_said_since() -> None:
    outbox = Outbox()
    outbox.put(said("r", "EXECUTING", operations=[set_to("a", 1), set_to("b", 1)]), 0.0)
    unsent = taken(outbox, "r", 0.0)
    outbox.operate("r", set_to("a", 2), None, 0.1)
    outbox.failed(unsent, 0.5)
    again = taken(outbox, "r", 1.0)
    assert again.change.status == "EXECUTING"
    assert again.operations == [set_to("a", 2), set_to("b", 1)]


def test_counting_operations_that_may_have_arrived_are_not_mixed_with_later_ones() -> None:
    """They keep their name and go alone, so that the store can tell whether it knows them."""
    outbox = Outbox()
    outbox.operate("r", increment(), None, 0.0)
    unsent = taken(outbox, "r", 0.0)
    outbox.operate("r", increment(), None, 0.1)
    outbox.failed(unsent, 0.5)
    outbox.operate("r", increment(), None, 0.6)
    first = taken(outbox, "r", 1.0)
    outbox.sent()
    second = taken(outbox, "r", 1.0)
    assert (first.once, first.operations) == (unsent.once, [increment()])
    assert second.operations == [Operation(Operator.INCREMENT, "n", 2)]
    assert second.once not in ("", first.once)


def test_the_number_of_kept_runs_is_bounded() -> None:
    """The runs that wait longest go first, and are counted."""
    outbox = Outbox(max_runs=3)
    away(outbox)
    for number in range(5):
        outbox.put(said(f"r{number}", "COMPLETED"), 1.0)
    assert outbox.unsent_runs() == ["r2", "r3", "r4"]
    assert outbox.statistics.dropped == {"too_many_runs": 3}
    assert outbox.statistics.unsent == 3


def test_the_number_of_kept_operations_is_bounded() -> None:
    outbox = Outbox(max_operations=3)
    away(outbox)
    outcomes = [outbox.operate(f"r{number}", set_to("a", 1), None, 1.0) for number in range(5)]
    assert outcomes.count(Outcome.DROPPED) == 2
    assert outbox.statistics.dropped == {"too_many_operations": 2}


def test_kept_outputs_are_bounded() -> None:
    """Beyond so many bytes a kept change goes without its output; its status stays."""
    outbox = Outbox(max_kept_bytes=1000)
    away(outbox)
    for number in range(5):
        outbox.put(said(f"r{number}", "COMPLETED", columns={"output": "x" * 400}), 1.0)
    kept = [taken(outbox, "r0", 9.0).change, *(outbox.take(f"r{n}", 9.0, insist=True) for n in (1, 2, 3, 4))]
    assert len(kept) == 5
    assert outbox.statistics.dropped["large_columns"] == 3
    assert outbox.statistics.unsent == 1  # the probe


def test_everything_taken_leaves_nothing() -> None:
    """The bounds are kept by counting, and the counts come back to zero."""
    outbox = Outbox()
    away(outbox)
    for number in range(20):
        outbox.put(said(f"r{number % 7}", "EXECUTING", columns={"output": "x"}, operations=[set_to("a", number)]), 1.0)
        outbox.operate(f"r{number % 5}", increment(), None, 1.0)
    for run in outbox.unsent_runs():
        while (unsent := outbox.take(run, 9.0, insist=True)) is not None:
            outbox.failed(unsent, 9.0)
            again = outbox.take(run, 9.0, insist=True)
            assert again is not None
            outbox.sent()
    assert outbox.statistics.unsent == 0
    assert (outbox._operations, outbox._kept_bytes) == (0, 0)
    assert outbox.next_due() is None


# The breaker


def test_one_attempt_per_pause_and_pauses_grow() -> None:
    breaker = Breaker()
    now, pauses = 0.0, []
    breaker.failed(now)
    for _ in range(9):
        assert breaker.retry_at is not None
        assert not breaker.allows(breaker.retry_at - 0.001)
        pauses.append(breaker.retry_at - now)
        now = breaker.retry_at
        assert breaker.allows(now)
        assert not breaker.allows(now), "a second caller was let through in the same pause"
        breaker.failed(now)
    assert pauses[0] == pytest.approx(FIRST_PAUSE_SECONDS)
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE_SECONDS)
    breaker.succeeded()
    assert breaker.allows(now)
    assert not breaker.open


def test_failures_that_happen_together_are_one() -> None:
    breaker = Breaker()
    for _ in range(50):
        breaker.failed(1.0)
    assert breaker.retry_at == pytest.approx(1.0 + FIRST_PAUSE_SECONDS)
