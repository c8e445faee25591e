"""Who says that a run's process lives, and until when."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.changes import Change, Outcome, change
from gateway.errors import BadChange, Misconfigured
from gateway.feeds import EnvironmentId
from gateway.publisher import AsyncPublisher, Publisher
from gateway.publisher.leases import AGAIN_SECONDS, Leases
from gateway.publisher.outbox import Outbox
from gateway.runs import RawStatus
from gateway.store.writing import Answer, Applied
from tests.gateway.publisher.test_processes import run_script
from tests.gateway.publisher.waiting import until
from tests.gateway.store.changing import Changing
from tests.redis_server import RedisServer, binaries, running_server

if TYPE_CHECKING:
    from pathlib import Path

LEASE = 0.12


def remaining(stored: Changing, run: str) -> float | None:
    """Seconds until the run's lease is over; None when it has none."""
    until_ms = stored.stored(run).get("_lease")
    seconds, microseconds = stored.client.time()
    return (int(until_ms) - seconds * 1000 - microseconds / 1000) / 1000 if until_ms else None


def renewed_until(stored: Changing, run: str) -> int:
    """Until when the run's lease holds (ms since 1970); 0 when it has none."""
    return int(stored.stored(run).get("_lease") or 0)


def is_renewed(stored: Changing, run: str) -> bool:
    """Wait until the lease that is there now is followed by another one."""
    before = renewed_until(stored, run)
    until(lambda: renewed_until(stored, run) > before)
    return True


def is_silent(stored: Changing, run: str) -> bool:
    """Wait until the lease that is there is followed by no other; some may be on their way."""

    def was_the_last() -> bool:
        before = renewed_until(stored, run)
        time.sleep(3 * LEASE)
        return renewed_until(stored, run) == before

    until(was_the_last)
    return True


# Which leases are held (no Redis, no clock)


class Holder:
    """A handle."""


def said(status: str | None = "EXECUTING", *, lease_ms: int | None = 3_000, attempt: int | None = None) -> Change:
    return Change(run="r", attempt=attempt, status=RawStatus(status) if status else None, lease_ms=lease_ms)


def answer(status: str = "EXECUTING", attempt: int = 1) -> Applied:
    return Applied(Answer.APPLIED, "e", 1, status, attempt)


def begun(leases: Leases, holder: object, *, now: float = 0.0, **fields: Any) -> None:
    leases.note(said(**fields), holder, now)
    leases.begun(said(**fields), answer(), now)


def test_a_lease_is_renewed_each_third_of_it() -> None:
    leases, holder = Leases(), Holder()
    begun(leases, holder)
    assert leases.next_due() == 1.0
    assert leases.due(0.9) == []
    (held,) = leases.due(1.0)
    assert held.renewal == Change(run="r", attempt=1, lease_ms=3_000)
    assert leases.next_due() == 2.0
    leases.renewed(held, answer())
    assert leases.due(1.9) == []
    assert leases.due(2.5) == [held]


def test_nothing_is_renewed_before_the_store_knows_of_the_beginning() -> None:
    """It may be kept for long while Redis is away; the lease begins with it."""
    leases, holder = Leases(), Holder()
    leases.note(said(), holder, 0.0)
    assert leases.next_due() is None
    other = Change(run="other", status=RawStatus("EXECUTING"), lease_ms=3_000)
    leases.note(other, holder, 0.0)
    leases.begun(other, answer(), 0.0)
    assert [held.run for held in leases.due(50.0)] == ["other"]
    leases.begun(said(), answer(attempt=4), 100.0)
    assert [(held.run, held.attempt) for held in leases.due(101.0)] == [("r", 4), ("other", 1)]


@pytest.mark.parametrize(
    ("beginning", "answered"),
    [
        (said(), answer("COMPLETED_SUCCESSFULLY")),
        (said(attempt=1), answer(attempt=2)),
        (said(), Applied(Answer.MISSING, "e", 1, "", 0)),
    ],
)
def test_who_begins_too_late_holds_nothing(beginning: Change, answered: Applied) -> None:
    leases, holder = Leases(), Holder()
    leases.note(beginning, holder, 0.0)
    leases.begun(beginning, answered, 0.0)
    assert len(leases) == 0


@pytest.mark.parametrize("status", ["COMPLETED_SUCCESSFULLY", "CRASHED", "WAITING_TO_RESUME", "RETRYING_AFTER_FAILURE"])
def test_who_ends_or_waits_holds_nothing_any_more(status: str) -> None:
    leases, holder = Leases(), Holder()
    begun(leases, holder)
    leases.note(said(status, lease_ms=None), holder, 0.5)
    assert leases.due(10.0) == []
    assert leases.next_due() is None


def test_what_says_nothing_of_the_status_changes_nothing() -> None:
    leases, holder = Leases(), Holder()
    begun(leases, holder)
    leases.note(said(None, lease_ms=None), holder, 0.5)
    leases.note(said(lease_ms=None), holder, 0.5)
    assert len(leases.due(1.0)) == 1


def test_a_handle_that_is_gone_holds_nothing() -> None:
    """Nobody is left who could say how the run ended."""
    leases, holder = Leases(), Holder()
    begun(leases, holder)
    del holder
    gc.collect()
    assert leases.due(1.0) == []
    assert len(leases) == 0


@pytest.mark.parametrize("told", [answer("CANCELED"), answer(attempt=2), answer("PAUSED"), answer("", 0)])
def test_a_run_that_is_somebody_elses_by_now_is_let_go(told: Applied) -> None:
    leases, holder = Leases(), Holder()
    begun(leases, holder)
    (held,) = leases.due(1.0)
    leases.renewed(held, told)
    assert len(leases) == 0


def test_the_answer_to_an_earlier_lease_does_not_end_the_present_one() -> None:
    """It was on its way while the run waited and went on."""
    leases, holder = Leases(), Holder()
    begun(leases, holder)
    (held,) = leases.due(1.0)
    begun(leases, holder, now=1.0)
    leases.renewed(held, answer("PAUSED"))
    assert len(leases.due(2.0)) == 1


def test_while_redis_is_away_it_is_tried_every_second() -> None:
    leases, holder = Leases(), Holder()
    begun(leases, holder, lease_ms=300_000)
    (held,) = leases.due(100.0)
    leases.not_renewed([held], 100.5)
    assert leases.next_due() == 100.5 + AGAIN_SECONDS
    assert leases.due(100.5 + AGAIN_SECONDS) == [held]


# With a store


def test_a_run_at_work_is_renewed_until_it_ends(publisher: Publisher, stored: Changing) -> None:
    """By the publisher: the job does nothing for it, and nobody who follows the run is told."""
    with publisher.running("t", lease=LEASE) as run:
        sequence = stored.history()["sequence"]
        assert is_renewed(stored, run.id)
        assert is_renewed(stored, run.id)
        assert stored.history()["sequence"] == sequence
        until(lambda: (remaining(stored, run.id) or 0) > 0)
    assert is_silent(stored, run.id)
    assert publisher.statistics.failures == 0


def test_a_run_that_waits_is_not_renewed(publisher: Publisher, stored: Changing) -> None:
    run = publisher.create("t")
    run.start(lease=LEASE)
    run.wait()
    assert is_silent(stored, run.id)
    run.resume()
    assert is_renewed(stored, run.id)
    run.retry()
    assert is_silent(stored, run.id)
    run.start()
    assert is_renewed(stored, run.id)
    run.hand_over()
    assert is_silent(stored, run.id)
    assert stored.row(run.id)["status"] == "EXECUTING"


def test_a_handle_has_its_lease_from_where_it_is_said(
    redis_server: RedisServer, stored: Changing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call, the handle, the publisher, the environment, in this order; else there is none."""
    monkeypatch.setenv("RUNCAST_LEASE", "4h")
    with (
        Publisher(redis_server.url, environment=stored.environment) as by_environment,
        Publisher(redis_server.url, environment=stored.environment, lease="3h") as by_publisher,
    ):
        leases = []
        for publisher in (by_environment, by_publisher):
            for lease in (None, "2h", 0):
                run = publisher.run(publisher.create("t").id, lease=lease)
                run.start()
                leases.append(round((remaining(stored, run.id) or 0) / 3600, 2))
        run = by_publisher.create("t", lease="2h")
        run.start(lease=3600.0)
        leases.append(round((remaining(stored, run.id) or 0) / 3600, 2))
    assert leases == [4, 2, 0, 3, 2, 0, 1]


def test_without_being_asked_there_is_no_lease(publisher: Publisher, stored: Changing) -> None:
    with publisher.running("t") as run:
        assert remaining(stored, run.id) is None
        assert publisher._sender is not None
        assert publisher._sender._thread is None


@pytest.mark.parametrize("lease", ["soon", -1, True, 10**9])
def test_a_lease_that_can_t_be_one_is_told_at_once(redis_server: RedisServer, lease: Any) -> None:
    publisher = Publisher(redis_server.url)
    with pytest.raises(BadChange, match="lease"):
        publisher.create("t", lease=lease)
    with pytest.raises(BadChange, match="lease"):
        publisher.run("r", lease=lease)
    with pytest.raises(BadChange, match="lease"):
        publisher.run("r").start(lease=lease)
    with pytest.raises(Misconfigured, match="lease"):
        Publisher(redis_server.url, lease=lease)


def test_a_setting_that_can_t_be_a_lease_is_told_by_its_name(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNCAST_LEASE", "soon")
    with pytest.raises(Misconfigured, match="RUNCAST_LEASE: lease: a span of time"):
        Publisher(redis_server.url)
    monkeypatch.setenv("RUNCAST_LEASE", "0")
    assert Publisher(redis_server.url).lease_seconds == 0


def test_how_long_it_may_take_is_stored(publisher: Publisher, stored: Changing) -> None:
    rows = [stored.row(publisher.create("t", max_duration=said).id) for said in ("10m", 600, 0.5)]
    assert [row["maxDuration"] for row in rows] == [600, 600, 0.5]
    ttls = [stored.row(publisher.create("t", ttl=said).id)["ttl"] for said in ("10m", 600, 0.5, 10**7)]
    assert ttls == ["10m", "600s", "0.5", "10000000s"]
    assert stored.client.zcard(f"runcast:{{{stored.environment}}}:deadlines") == 4
    for wrong in ("soon", -1, 0, True, "0s"):
        with pytest.raises(BadChange):
            publisher.create("t", max_duration=wrong)


def test_many_runs_are_renewed_by_one_thread(publisher: Publisher, stored: Changing) -> None:
    runs = [publisher.create("t", lease=LEASE * 4) for _ in range(200)]
    before = threading.active_count()
    for run in runs:
        run.start()
    assert threading.active_count() <= before + 1
    first = {run.id: renewed_until(stored, run.id) for run in runs}
    until(lambda: all(renewed_until(stored, run.id) > first[run.id] for run in runs))
    for run in runs:
        run.complete()


def test_while_redis_is_away_nothing_is_kept_and_little_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A renewal is worth something now or not at all. When Redis is back, the next one is there at once."""
    with (
        running_server(tmp_path, binaries()["valkey"]) as server,
        Publisher(server.url) as publisher,
        server.client() as client,
        caplog.at_level(logging.WARNING, "runcast.publisher"),
    ):
        stored = Changing(client, EnvironmentId("default"))
        runs = [publisher.create("t", lease=LEASE) for _ in range(20)]
        for run in runs:
            run.start()
        server.stop()
        until(lambda: caplog.records)
        until(lambda: publisher.statistics.failures >= 2)
        assert publisher.statistics.unsent == 0
        server.start()
        for run in runs:
            assert is_renewed(stored, run.id)
        until(lambda: len(caplog.records) == 2)
        assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
        for run in runs:
            assert run.complete() is Outcome.APPLIED


def test_a_beginning_that_was_kept_brings_its_lease(tmp_path: Path) -> None:
    """The lease counts from when Redis hears of it."""
    with (
        running_server(tmp_path, binaries()["valkey"]) as server,
        Publisher(server.url) as publisher,
        server.client() as client,
    ):
        stored = Changing(client, EnvironmentId("default"))
        run = publisher.create("t", lease=LEASE)
        server.stop()
        assert run.start() is Outcome.DEFERRED
        time.sleep(2 * LEASE)
        server.start()
        until(lambda: stored.row(run.id)["status"] == "EXECUTING")
        assert is_renewed(stored, run.id)


def test_a_child_does_not_renew_its_parents_runs(redis_server: RedisServer, stored: Changing) -> None:
    """A fork is another process: when the parent is killed, a child does not keep its run alive. Each has its own."""
    script = """
    import os, sys, time
    from gateway import Publisher

    publisher = Publisher(sys.argv[1], environment=sys.argv[2], lease=0.12)
    run = publisher.create("t", id="parent")
    run.start()
    child = os.fork()
    if child == 0:
        own = publisher.create("t", id="child")
        own.start()
        print(os.getpid(), flush=True)
        time.sleep(60)
        os._exit(0)
    print(os.getpid(), flush=True)
    time.sleep(60)
    """
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "\n".join(line[4:] for line in script.splitlines()),
            redis_server.url,
            stored.environment,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    with parent:
        pids = {int(parent.stdout.readline()), int(parent.stdout.readline())}
        (child,) = pids - {parent.pid}
        assert is_renewed(stored, "parent")
        assert is_renewed(stored, "child")
        parent.kill()
        parent.wait()
        assert is_silent(stored, "parent")
        assert is_renewed(stored, "child")
        os.kill(child, signal.SIGKILL)
        assert is_silent(stored, "child")


def test_a_lease_keeps_no_interpreter_alive(redis_server: RedisServer, stored: Changing) -> None:
    """A script that forgets to say how its run ended ends all the same; asynchronous ones too."""
    began = time.monotonic()
    run_script(
        """
        import asyncio, sys, warnings
        from gateway import AsyncPublisher, Publisher

        run = Publisher(sys.argv[1], environment=sys.argv[2], lease=3600).create("t")
        run.start()

        async def main():
            run = await AsyncPublisher(sys.argv[1], environment=sys.argv[2], lease=3600).create("t")
            await run.start()

        warnings.simplefilter("ignore", ResourceWarning)  # nobody closed it
        asyncio.run(main())
        """,
        redis_server.url,
        stored.environment,
    )
    assert time.monotonic() - began < 20


async def test_the_asynchronous_twin_renews_by_a_task(redis_server: RedisServer, stored: Changing) -> None:
    async with AsyncPublisher(redis_server.url, environment=stored.environment, lease=LEASE) as publisher:
        async with publisher.running("t") as run:
            assert await asyncio.to_thread(is_renewed, stored, run.id)
            await run.wait()
            assert await asyncio.to_thread(is_silent, stored, run.id)
            await run.resume()
            assert await asyncio.to_thread(is_renewed, stored, run.id)
        assert await asyncio.to_thread(is_silent, stored, run.id)
        async with publisher.running("t", lease=0) as run:
            assert remaining(stored, run.id) is None


# On the way


def test_what_a_run_was_given_passes_through_the_outbox() -> None:
    """A time to live and a longest duration come with the creation, which may be one change with what follows."""
    outbox = Outbox()
    outbox.put(change("r", create=True, status="QUEUED", initial={"ttl": "1h", "maxDuration": 60}), 0.0)
    outbox.put(change("r", status="EXECUTING", lease_seconds=30), 0.0)
    outbox.put(change("r", tags=["a"]), 0.0)
    unsent = outbox.take("r", 0.0)
    assert unsent is not None
    assert (unsent.change.ttl_ms, unsent.change.max_duration_ms, unsent.change.lease_ms) == (3_600_000, 60_000, 30_000)


def test_a_lease_goes_with_the_status_that_it_came_with() -> None:
    outbox = Outbox()
    outbox.put(change("r", status="EXECUTING", lease_seconds=30), 0.0)
    outbox.put(change("r", status="WAITING"), 0.0)
    unsent = outbox.take("r", 0.0)
    assert unsent is not None
    assert unsent.change.lease_ms is None
