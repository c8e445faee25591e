"""How long a run may take, and how long it may wait to be begun."""

from __future__ import annotations

import time

from gateway.store.redis_keys import deadlines_key
from gateway.store.writing import Answer
from tests.gateway.publisher.waiting import until
from tests.gateway.store.watching import SOON, Watching

# How long it may take


def test_a_run_past_its_longest_duration_is_timed_out(watching: Watching) -> None:
    """Also one whose worker lives and says so."""
    watching.create(initial={"maxDuration": SOON})
    assert watching.deadlines == []
    watching.apply(status="EXECUTING", lease_seconds=60)
    assert watching.end().status == "TIMED_OUT"
    assert watching.apply(attempt=1, lease_seconds=60).outcome is Answer.UNCHANGED
    row = watching.row()
    assert (row["status"], row["maxDuration"]) == ("TIMED_OUT", SOON)
    assert row["completedAt"] - row["startedAt"] == SOON * 1000


def test_who_ended_in_time_and_said_so_late_was_in_time(watching: Watching) -> None:
    """Redis was away when it ended, say. Who ended late was not."""
    for run in ("in_time", "late"):
        watching.create(run, initial={"maxDuration": SOON})
        watching.apply(run, status="EXECUTING")
    for run in ("in_time", "late"):
        watching.end(run)
    assert watching.apply("in_time", status="COMPLETED", age=10_000).outcome is Answer.APPLIED
    assert watching.apply("late", status="COMPLETED").outcome is Answer.STALE
    assert watching.row("in_time")["status"] == "COMPLETED_SUCCESSFULLY"
    assert watching.row("late")["status"] == "TIMED_OUT"


def test_each_attempt_has_the_whole_duration(watching: Watching) -> None:
    watching.create(initial={"maxDuration": SOON})
    watching.apply(status="EXECUTING", age=60_000)
    watching.end()
    watching.apply(status="EXECUTING", attempt=2)
    assert watching.overdue() == {}
    assert watching.end().attempt == 2


def test_the_time_that_a_run_waits_does_not_count(watching: Watching) -> None:
    watching.create(initial={"maxDuration": 60})
    watching.apply(status="EXECUTING", age=90_000)
    watching.apply(status="WAITING", age=89_000)
    assert watching.overdue() == {}
    watching.apply(status="EXECUTING", age=30_000)  # 31 of 60 seconds are over
    assert watching.overdue() == {}
    watching.apply(status="WAITING")
    watching.apply(status="WAITING_TO_RESUME")
    assert watching.deadlines == []
    watching.apply(
        "other", create=True, status="EXECUTING", initial={"taskIdentifier": "t", "maxDuration": 60}, age=59_970
    )
    assert watching.end("other").status == "TIMED_OUT"


def test_the_longest_duration_can_be_changed(watching: Watching) -> None:
    watching.create(initial={"maxDuration": 60})
    watching.apply(status="EXECUTING")
    watching.apply(columns={"maxDuration": SOON})
    assert watching.until_overdue() == "TIMED_OUT"
    watching.apply(columns={"maxDuration": None})
    assert watching.deadlines == []


# How long it may wait to be begun


def test_a_run_that_nobody_begins_expires(watching: Watching) -> None:
    watching.create(initial={"ttl": "0.04"})
    assert watching.end().status == "EXPIRED"
    row = watching.row()
    assert row["expiredAt"] == row["completedAt"] == row["createdAt"] + 40


def test_a_run_that_is_begun_does_not_expire(watching: Watching) -> None:
    watching.create(initial={"ttl": "1h"})
    assert watching.deadlines == ["run_1"]
    watching.apply(status="EXECUTING")
    assert watching.deadlines == []


def test_a_delayed_run_expires_after_its_delay(watching: Watching) -> None:
    """It could not be begun before."""
    later = time.time_ns() // 1_000_000 + 3_600_000
    watching.create("later", status="DELAYED", initial={"ttl": "0.001", "delayUntil": later})
    watching.create("now", status="DELAYED", initial={"ttl": "0.001", "delayUntil": later - 3_600_000})
    until(lambda: watching.overdue() == {"now": "EXPIRED"})
    assert watching.client.zscore(deadlines_key(watching.environment), "later") == later + 1


def test_who_begins_an_expired_run_has_the_last_word(watching: Watching) -> None:
    """A worker that took it all the same: it is at work, whatever was presumed."""
    watching.create(initial={"ttl": "0.001"})
    watching.end()
    assert watching.apply(status="DEQUEUED").outcome is Answer.STALE
    assert watching.apply(status="CANCELED").outcome is Answer.STALE
    assert watching.apply(status="EXECUTING", lease_seconds=60).outcome is Answer.APPLIED
    row = watching.row()
    assert row["status"] == "EXECUTING"
    assert not {"expiredAt", "completedAt", "error"} & row.keys()
    assert watching.apply(status="COMPLETED").outcome is Answer.APPLIED


def test_who_was_told_of_the_creation_late_expires_at_the_right_time(watching: Watching) -> None:
    watching.create(initial={"ttl": "10s"}, age=10_000)
    assert watching.until_overdue() == "EXPIRED"
