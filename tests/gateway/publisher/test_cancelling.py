"""How a job hears that somebody asked it to stop."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.changes import Outcome
from gateway.errors import BadChange, BadFeed, Cancelled
from gateway.feeds import EnvironmentId
from gateway.publisher import AsyncPublisher, Publisher
from gateway.publisher.cancelling import LOOK_SECONDS, REMEMBERED, Wish, Wishes
from tests.gateway.publisher.waiting import until
from tests.gateway.store.changing import Changing
from tests.redis_server import RedisServer, binaries, running_server

if TYPE_CHECKING:
    from pathlib import Path


def commands(stored: Changing) -> int:
    """How often Redis was asked for columns of a run."""
    statistics: Any = stored.client.info("commandstats")
    return int(statistics.get("cmdstat_hmget", {}).get("calls", 0))


# What is known (no Redis, no clock)


def test_who_asks_first_is_to_read_and_the_others_are_told_what_is_known() -> None:
    wishes = Wishes()
    assert wishes.look("r", 0.0) is None
    assert wishes.look("r", 0.0) == Wish()
    assert wishes.learn("r", [1, "enough", "EXECUTING"], 0.1) == Wish(requested=True, reason="enough")
    assert wishes.look("r", 1.0) == Wish(requested=True, reason="enough")
    assert wishes.look("r", 0.1 + LOOK_SECONDS) is None


def test_what_was_known_holds_while_redis_is_away() -> None:
    wishes = Wishes()
    wishes.learn("r", [1, None, "EXECUTING"], 0.0)
    assert wishes.learn("r", None, 5.0).requested
    assert not wishes.learn("other", None, 5.0).requested


def test_what_is_doubted_is_read_and_holds_until_then() -> None:
    wishes = Wishes()
    wishes.learn("r", [1, None, "EXECUTING"], 0.0)
    wishes.doubt("r")
    wishes.doubt("nobody asked about it")
    assert wishes.look("r", 0.1) is None
    assert wishes.look("r", 0.1) == Wish(requested=True)  # others, meanwhile
    assert wishes.learn("r", None, 0.2).requested


@pytest.mark.parametrize(
    ("status", "requested", "ended"),
    [
        ("EXECUTING", False, False),
        ("COMPLETED_SUCCESSFULLY", False, True),
        ("TIMED_OUT", False, True),
        ("CANCELED", True, False),  # somebody did not only ask
        ("CRASHED", False, False),  # presumed, perhaps, of a job that lives and asks here
        (None, False, False),
    ],
)
def test_the_status_says_whether_to_wait(status: str | None, requested: bool, ended: bool) -> None:
    assert Wishes().learn("r", [None, None, status], 0.0) == Wish(requested=requested, ended=ended)


def test_what_is_known_has_a_bound() -> None:
    wishes = Wishes()
    for number in range(REMEMBERED + 10):
        wishes.look(f"r{number}", 0.0)
    assert len(wishes._known) == REMEMBERED
    assert wishes.look("r0", 0.0) is None


# With a store


def test_a_job_sees_that_it_was_asked_to_stop(publisher: Publisher, stored: Changing) -> None:
    """In its loop, where it asks often."""

    def job() -> None:
        with publisher.running("t", id="r") as run:
            told = [(run.cancel_requested, run.cancel_reason)]
            run.raise_if_cancelled()
            assert publisher.request_cancel("r", "no longer needed") is Outcome.APPLIED
            until(lambda: run.cancel_requested)
            told.append((run.cancel_requested, run.cancel_reason))
            assert told == [(False, None), (True, "no longer needed")]
            run.raise_if_cancelled()

    with pytest.raises(Cancelled, match="no longer needed") as raised:
        job()
    assert (raised.value.run, raised.value.reason) == ("r", "no longer needed")
    row = stored.row("r")
    assert row["status"] == "CANCELED"
    assert row["error"] == {"type": "STRING_ERROR", "raw": "no longer needed"}
    assert row["cancelReason"] == "no longer needed"


def test_a_tight_loop_asks_redis_once_a_second(publisher: Publisher, stored: Changing) -> None:
    run = publisher.create("t")
    other = publisher.run(run.id)
    asked, before = 0, commands(stored)
    began = time.monotonic()
    while time.monotonic() - began < LOOK_SECONDS / 2:
        assert not run.cancel_requested
        assert not other.cancel_requested
        asked += 1
    assert asked > 1_000
    assert commands(stored) - before <= 1


def test_what_the_job_says_in_the_end_is_shown(publisher: Publisher, stored: Changing) -> None:
    """It may have finished before it looked."""
    with publisher.running("t") as run:
        publisher.request_cancel(run.id)
    row = stored.row(run.id)
    assert row["status"] == "COMPLETED_SUCCESSFULLY"
    assert row["cancelRequestedAt"]
    assert publisher.request_cancel(run.id, "too late") is Outcome.UNCHANGED


def test_a_request_without_a_reason_leaves_no_error(publisher: Publisher, stored: Changing) -> None:
    def job() -> None:
        with publisher.running("t", id="r") as run:
            publisher.request_cancel("r")
            run.raise_if_cancelled()

    with pytest.raises(Cancelled, match="run r was asked to stop"):
        job()
    assert stored.row("r")["status"] == "CANCELED"
    assert "error" not in stored.row("r")


def test_only_an_existing_run_is_asked(publisher: Publisher, stored: Changing) -> None:
    assert publisher.request_cancel("none") is Outcome.MISSING
    assert not publisher.run("none").cancel_requested
    assert not stored.stored("none")
    with pytest.raises(BadFeed):
        publisher.request_cancel("not an id")
    with pytest.raises(BadChange):
        publisher.request_cancel("none", "x" * 1_001)


def test_a_thread_waits_until_it_is_asked(publisher: Publisher) -> None:
    """While the job is in a call that asks nobody."""
    run = publisher.create("t")
    run.start()
    waited: list[bool] = []
    waiting = threading.Thread(target=lambda: waited.append(run.wait_for_cancel()))
    waiting.start()
    publisher.request_cancel(run.id)
    waiting.join(LOOK_SECONDS + 5)
    assert waited == [True]
    assert run.wait_for_cancel(0) is True


def test_waiting_ends_with_the_time_or_with_the_run(publisher: Publisher) -> None:
    run = publisher.create("t")
    took = []
    for _ in range(3):
        began = time.monotonic()
        assert run.wait_for_cancel(0.2) is False
        took.append(time.monotonic() - began)
    assert 0.2 <= min(took) < LOOK_SECONDS
    run.complete()
    assert run.wait_for_cancel(30) is False


def test_a_job_whose_redis_is_away_is_not_asked(tmp_path: Path) -> None:
    """Nothing is raised, and what it was asked before it is asked still."""
    with running_server(tmp_path, binaries()["valkey"]) as server, Publisher(server.url) as publisher:
        first, second = publisher.create("t"), publisher.create("t")
        publisher.request_cancel(first.id)
        assert first.cancel_requested
        server.stop()
        time.sleep(LOOK_SECONDS)
        assert first.cancel_requested
        assert not second.cancel_requested
        assert second.wait_for_cancel(0.05) is False
        server.start()
        with server.client() as client:
            stored = Changing(client, EnvironmentId("default"))
            until(lambda: stored.row(second.id))
            assert publisher.request_cancel(second.id) in (Outcome.APPLIED, Outcome.DEFERRED)
            assert second.wait_for_cancel(30) is True


def test_an_error_that_travels_keeps_what_it_says() -> None:
    """From a worker's child to its main process."""
    error = pickle.loads(pickle.dumps(Cancelled("run_1", "enough")))
    assert (str(error), error.run, error.reason) == ("enough", "run_1", "enough")


async def test_the_asynchronous_twin(redis_server: RedisServer, stored: Changing) -> None:
    """The same, with `await`."""

    async def job() -> None:
        async with publisher.running("t", id="r") as run:
            assert await run.cancel_requested is False
            await run.raise_if_cancelled()
            assert await run.wait_for_cancel(0.01) is False
            waiting = asyncio.create_task(run.wait_for_cancel())
            assert await publisher.request_cancel(run.id, "enough") is Outcome.APPLIED
            assert await waiting is True
            assert (await run.cancel_requested, await run.cancel_reason) == (True, "enough")
            await run.raise_if_cancelled()

    async with AsyncPublisher(redis_server.url, environment=stored.environment) as publisher:
        with pytest.raises(Cancelled):
            await job()
        assert stored.row("r")["status"] == "CANCELED"
        assert await publisher.run("r").wait_for_cancel(30) is True
