"""What is said of a run when nobody says anything, on every kind of server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.changes import cancel_request, change
from gateway.errors import BadChange
from gateway.feeds import EnvironmentId
from gateway.store.redis_keys import Retention, deadlines_key, history_key, prefix, run_key, script
from gateway.store.writing import Answer, Applied
from tests.gateway.publisher.waiting import until
from tests.gateway.store.changing import Changing
from tests.redis_server import RedisServer, binaries, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

#: So short that a test can wait for its end.
LEASE = 0.04
SOON = 0.04


class Watching(Changing):
    """As `Changing`, and as a gateway that looks which deadlines have passed."""

    def overdue(self, most: int = 100) -> dict[str, str]:
        """Runs that are past a deadline now, with the status that it means."""
        keys = history_key(self.environment), deadlines_key(self.environment)
        arguments = prefix(self.environment), self.writer.retention.history_ms, most
        found: Any = self.client.eval(script("overdue").text, 2, *keys, *arguments)
        return {run: status for run, status, _ in found}

    def watched_for_long(self) -> None:
        """As if somebody had looked all the time."""
        self.overdue()
        self.client.hset(history_key(self.environment), mapping={"watched_since": 1, "watched_again": 1})

    def until_overdue(self, run: str = "run_1") -> str:
        until(lambda: run in self.overdue())
        return self.overdue()[run]

    def end(self, run: str = "run_1") -> Applied:
        """Say what a deadline that passed means, as a gateway does."""
        status = self.until_overdue(run)
        return self.apply(run, status=status, overdue=True, columns={"error": {"type": "STRING_ERROR", "raw": "late"}})

    def start(self, run: str = "run_1", *, lease: float | None = LEASE, **said: Any) -> Applied:
        self.create(run)
        return self.apply(run, status="EXECUTING", lease_seconds=lease, **said)

    @property
    def deadlines(self) -> list[str]:
        found: Any = self.client.zrange(deadlines_key(self.environment), 0, -1)
        return list(found)

    def statuses(self, run: str = "run_1") -> list[str]:
        return [status for _, status, _, _ in self.row(run)["transitions"]]


@pytest.fixture
def watching(each_redis_server: RedisServer, environment: EnvironmentId) -> Iterator[Watching]:
    with each_redis_server.client() as client:
        watching = Watching(client, environment)
        watching.watched_for_long()
        yield watching


# A lease


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
            applied = watching.apply(attempt=1, lease_seconds=1)
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
        kept = Retention(finished_seconds=0.1, unfinished_seconds=0.9)
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


# Who looks


def redis_clock_ms(client: Redis) -> int:
    """Redis's clock, rounded as the scripts round it: any other clock may find the same time a little shorter."""
    seconds, microseconds = client.time()
    return seconds * 1_000 + microseconds // 1_000


def test_a_lease_is_judged_only_by_who_looked_as_long_as_it_lasts(
    each_redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """Whoever looks for the first time does not know whether workers could renew."""
    with each_redis_server.client() as client:
        watching = Watching(client, environment)
        watching.start("long", lease=0.2)
        watching.start("short", lease=0.01)
        time.sleep(0.2)
        first_look = redis_clock_ms(client)
        assert watching.overdue() == {}
        until(lambda: "short" in watching.overdue())
        until(lambda: "long" in watching.overdue())
        assert redis_clock_ms(client) - first_look >= 200


def test_nobody_is_dead_because_nobody_looked(watching: Watching) -> None:
    """After a gap the time of a lease begins anew; who renews in it lives."""
    watching.start("alive", lease=0.2)
    watching.start("dead", lease=0.2)
    time.sleep(0.2)
    gap_ms = 3_000  # as if the last look were so long ago
    watched = int(watching.history()["watched"])
    watching.client.hset(history_key(watching.environment), mapping={"watched": watched - gap_ms, "watched_since": 1})
    assert watching.overdue() == {}
    watching.apply("alive", attempt=1, lease_seconds=60)
    until(lambda: watching.overdue() == {"dead": "CRASHED"})


def test_after_a_gap_every_word_has_a_moment_to_arrive(watching: Watching) -> None:
    """What was begun or ended in time while Redis was away is said in a moment; so the other deadlines wait for it."""
    watching.create(initial={"ttl": "0.001"})
    watching.until_overdue()
    watched = int(watching.history()["watched"])
    watching.client.hset(history_key(watching.environment), "watched", str(watched - 3_000))
    assert watching.overdue() == {}
    again = int(watching.history()["watched_again"])
    assert int(watching.client.zscore(deadlines_key(watching.environment), "run_1") or 0) == again + 6_000
    watching.client.hset(history_key(watching.environment), "watched_again", str(again - 6_000))
    watching.client.zadd(deadlines_key(watching.environment), {"run_1": again})
    assert watching.overdue() == {"run_1": "EXPIRED"}


def test_those_that_are_not_judged_yet_are_not_in_the_way(watching: Watching) -> None:
    """However many there are."""
    for number in range(5):
        watching.start(f"unjudged_{number}")
    time.sleep(LEASE)
    watched = int(watching.history()["watched"])
    watching.client.hset(history_key(watching.environment), "watched", str(watched - 3_000))
    watching.overdue()
    scores: Any = watching.client.zrange(deadlines_key(watching.environment), 0, -1, withscores=True)
    assert all(score >= watched + LEASE * 1000 for _, score in scores)
    assert len(scores) == 5
    until(lambda: len(watching.overdue()) == 5)
    assert len(watching.overdue(most=2)) == 2


@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_a_restart_of_redis_ends_nobody_who_lives(kind: str, tmp_path: Path) -> None:
    """However short the lease and however long it took: the time begins when it is back."""
    with running_server(tmp_path, binaries()[kind]) as server, server.client() as client:
        watching = Watching(client, EnvironmentId("env"))
        watching.watched_for_long()
        watching.start("alive", lease=0.1)
        watching.start("dead", lease=0.1)
        server.stop()
        time.sleep(0.2)
        server.start()
        assert watching.overdue() == {}
        watching.apply("alive", attempt=1, lease_seconds=60)
        until(lambda: watching.overdue() == {"dead": "CRASHED"})


def test_a_run_that_is_gone_leaves_no_deadline(watching: Watching) -> None:
    watching.create(initial={"ttl": "0.001"})
    watching.client.delete(run_key(watching.environment, "run_1"))
    until(lambda: watching.overdue() == {} == dict.fromkeys(watching.deadlines))


# Who asks a run to stop


def asks(watching: Watching, reason: str | None = None, run: str = "run_1") -> Answer:
    wish = cancel_request(run, reason)
    columns = {"cancelRequestedAt": int(wish.columns["cancelRequestedAt"]), "cancelReason": reason}
    return watching.apply(run, columns=columns).outcome


def test_who_asks_first_is_remembered(watching: Watching) -> None:
    """Also with what was not said: a reason belongs to whoever asked."""
    watching.start(lease=None)
    assert asks(watching) is Answer.APPLIED
    first = watching.row()
    assert asks(watching, "me too") is Answer.UNCHANGED
    assert watching.row() == first
    assert first["cancelRequestedAt"] == pytest.approx(time.time() * 1000, abs=5_000)
    assert "cancelReason" not in first


def test_a_run_that_has_ended_is_asked_nothing(watching: Watching) -> None:
    watching.start(lease=None)
    watching.apply(status="COMPLETED")
    assert asks(watching) is Answer.UNCHANGED
    assert "cancelRequestedAt" not in watching.row()
    assert asks(watching, run="none") is Answer.MISSING


def test_a_wish_holds_until_the_run_has_ended(watching: Watching) -> None:
    """The attempt that follows a failure or a lost worker is asked, too; one that begins anew is not."""
    for end, kept in (("RETRYING_AFTER_FAILURE", True), ("CRASHED", True), ("CANCELED", False), ("COMPLETED", False)):
        run = end.lower()
        watching.start(run, lease=None)
        asks(watching, "enough", run)
        watching.apply(run, status=end)
        watching.apply(run, status="EXECUTING", attempt=2)
        assert watching.row(run).get("cancelReason") == ("enough" if kept else None), end
        assert ("cancelRequestedAt" in watching.row(run)) == kept, end


@pytest.mark.parametrize("reason", ["x" * 1_001, 7])
def test_a_reason_is_a_short_text(reason: Any) -> None:
    with pytest.raises(BadChange, match="a reason is text"):
        cancel_request("run_1", reason)
