"""A lease that nobody renews ends a run, and whoever is heard of again goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.changes import change
from gateway.errors import BadChange
from gateway.store.redis_keys import Retention, deadlines_key, history_key, prefix, run_key
from gateway.store.writing import Answer
from tests.gateway.publisher.waiting import until
from tests.gateway.store.watching import LEASE, Watching

if TYPE_CHECKING:
    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer


def test_a_run_whose_lease_nobody_renews_is_crashed_once(watching: Watching) -> None:
    """Whoever follows the run is told, with the time at which the lease was over, however often it is said."""
    watching.start()
    with watching.listen() as listening:
        ended = watching.end()
        again = watching.apply(status="CRASHED", overdue=True)
        heard = [event for channel, event in listening.heard() if channel == "run:run_1"]

    row = watching.row()
    assert (ended.outcome, ended.status) == (Answer.APPLIED, "CRASHED")
    assert again.outcome is Answer.UNCHANGED
    assert [event.transition and event.transition.status for event in heard] == ["CRASHED"]
    assert row["completedAt"] == pytest.approx(row["startedAt"] + LEASE * 1000, abs=5)
    assert row["error"] == {"type": "STRING_ERROR", "raw": "late"}
    assert watching.overdue() == {}
    assert watching.deadlines == []


def test_a_lease_that_is_renewed_does_not_end(watching: Watching) -> None:
    """And nobody is told of it: a renewal changes nothing that anyone is shown."""
    before = watching.start()
    with watching.listen() as listening:
        began = time.monotonic()
        while time.monotonic() - began < 3 * LEASE:
            applied = watching.apply(attempt=1, lease_seconds=60)
            assert (applied.outcome, applied.sequence) == (Answer.UNCHANGED, before.sequence)
        assert watching.overdue() == {}
        assert watching.apply(status="CRASHED", overdue=True).outcome is Answer.UNCHANGED
        assert listening.heard() == []


def test_a_deadline_that_has_not_passed_ends_nothing(watching: Watching) -> None:
    """Whoever looked a moment ago may be wrong by now."""
    watching.start(lease=60)
    for status in ("CRASHED", "TIMED_OUT", "EXPIRED"):
        assert watching.apply(status=status, overdue=True).outcome is Answer.UNCHANGED
    assert watching.statuses() == ["PENDING", "EXECUTING"]


def test_a_worker_that_is_heard_of_again_goes_on(watching: Watching) -> None:
    """It was stopped, or cut off, and not dead: what was presumed is taken back."""
    watching.start()
    watching.end()

    applied = watching.apply(attempt=1, lease_seconds=60)

    row = watching.row()
    assert (applied.outcome, row["status"]) == (Answer.APPLIED, "EXECUTING")
    assert not {"completedAt", "error", "usageDurationMs"} & row.keys()
    assert watching.deadlines == ["run_1"]
    assert watching.apply(status="COMPLETED").outcome is Answer.APPLIED
    assert watching.statuses() == ["PENDING", "EXECUTING", "CRASHED", "EXECUTING", "COMPLETED_SUCCESSFULLY"]
    assert watching.deadlines == []


def test_the_worker_knows_better_how_it_ended(watching: Watching) -> None:
    """Its word may come late: it holds against what was only presumed."""
    watching.start()
    watching.end()
    assert watching.apply(status="COMPLETED", columns={"output": 1, "error": None}).outcome is Answer.APPLIED
    row = watching.row()
    assert (row["status"], row["output"]) == ("COMPLETED_SUCCESSFULLY", 1)
    assert "error" not in row


def test_who_begins_again_begins_another_attempt(watching: Watching) -> None:
    """A lease says that the same worker lives, with or without the status; to begin without one says nothing of it."""
    for run in ("other", "same"):
        watching.start(run)
        watching.end(run)
    assert watching.apply("other", status="EXECUTING", attempt=1).outcome is Answer.STALE
    assert watching.apply("other", status="EXECUTING", attempt=2).outcome is Answer.APPLIED
    assert watching.apply("same", status="EXECUTING", attempt=1, lease_seconds=60).outcome is Answer.APPLIED


def test_a_worker_that_waits_was_not_lost(watching: Watching) -> None:
    watching.start()
    watching.end()
    assert watching.apply(status="WAITING").outcome is Answer.APPLIED
    assert watching.deadlines == []


def test_what_somebody_said_is_not_taken_back(watching: Watching) -> None:
    """That the worker was lost was known, not presumed."""
    watching.start()
    watching.apply(status="CRASHED")
    assert watching.apply(attempt=1, lease_seconds=60).outcome is Answer.UNCHANGED
    assert watching.apply(status="COMPLETED").outcome is Answer.STALE
    assert watching.row()["status"] == "CRASHED"
    assert watching.deadlines == []


def test_the_lease_of_an_earlier_attempt_does_not_matter(watching: Watching) -> None:
    """Neither does it end the next one, nor can its worker keep that one alive."""
    watching.start()
    watching.apply(status="EXECUTING", attempt=2)
    assert watching.deadlines == []

    watching.apply(status="EXECUTING", attempt=3, lease_seconds=LEASE)
    watching.apply(attempt=2, lease_seconds=60)
    assert watching.end().attempt == 3
    assert watching.apply(attempt=2, lease_seconds=60).outcome is Answer.STALE
    assert watching.row()["status"] == "CRASHED"


def test_nobody_is_missed_while_a_run_waits(watching: Watching) -> None:
    """For a person, or for its next attempt; and who goes on without a lease is not held to the last one."""
    for status in ("WAITING", "RETRYING_AFTER_FAILURE"):
        run = status.lower()
        watching.start(run)
        watching.apply(run, status=status)
        watching.apply(run, attempt=1, lease_seconds=LEASE)  # was on its way
        assert watching.deadlines == []
    watching.apply("waiting", status="EXECUTING")
    assert watching.deadlines == []


def test_a_lease_can_be_given_up(watching: Watching) -> None:
    watching.start()
    watching.apply(lease_ms=0)
    assert watching.deadlines == []
    assert watching.row()["status"] == "EXECUTING"


def test_an_ended_run_holds_no_lease(watching: Watching) -> None:
    watching.start()
    watching.apply(status="COMPLETED")
    before = watching.stored()
    assert watching.apply(attempt=1, lease_seconds=60).outcome is Answer.UNCHANGED
    assert watching.stored() == before


def test_a_lease_keeps_a_silent_run(redis_server: RedisServer, environment: EnvironmentId) -> None:
    """It may have nothing to say for longer than unfinished runs are kept."""
    with redis_server.client() as client:
        kept = Retention(finished_seconds=0.2, unfinished_seconds=0.4)
        watching = Watching(client, environment, retention=kept)
        watching.start("leased", lease=60)
        watching.start("silent", lease=60)
        began = time.monotonic()
        while watching.stored("silent") or time.monotonic() - began < 1.5:
            watching.apply("leased", attempt=1, lease_seconds=60)
            lifetimes = {key: client.pttl(key) for key in watching.all_keys()}
            assert -1 not in lifetimes.values(), lifetimes
            time.sleep(0.01)
        assert watching.stored("leased")
        assert client.zscore(f"{prefix(environment)}feed:all", "leased")
        assert watching.apply("leased", status="COMPLETED").outcome is Answer.APPLIED
        assert int(client.pttl(run_key(environment, "leased"))) < 1_500
        assert "leased" not in watching.deadlines


def test_of_ended_runs_nothing_is_left(redis_server: RedisServer, environment: EnvironmentId) -> None:
    """Whether somebody said how they ended or nobody did, and with nobody to clean up."""
    with redis_server.client() as client:
        # Longer than a slow machine takes to begin all of them.
        kept = Retention(finished_seconds=0.1, unfinished_seconds=4)
        watching = Watching(client, environment, retention=kept)
        watching.watched_for_long()
        for number in range(40):
            watching.start(f"run_{number}", lease=0.1)
            watching.apply(f"run_{number}", attempt=1, lease_seconds=0.1)
            if number % 2:
                watching.apply(f"run_{number}", status="COMPLETED")
        until(lambda: len(watching.overdue()) == 20)
        for run, status in watching.overdue().items():
            watching.apply(run, status=status, overdue=True)
        assert watching.overdue() == {}
        until(lambda: not watching.all_keys() - {history_key(environment)})


def test_a_lease_alone_leaves_no_key_for_ever(watching: Watching) -> None:
    """The first deadline of an environment comes with a change that renews nothing else."""
    watching.start(lease=None)
    watching.apply(attempt=1, lease_seconds=60)
    assert int(watching.client.pttl(deadlines_key(watching.environment))) > 0


@pytest.mark.parametrize("lease", [0, -1, 10**9, "30s", True])
def test_a_lease_is_a_number_of_seconds(lease: Any) -> None:
    with pytest.raises(BadChange, match="a lease is a number of seconds"):
        change("run_1", lease_seconds=lease)
