"""What a job notices when Redis is away, slow, or comes back: nothing but the numbers in `statistics`."""

from __future__ import annotations

import threading
import time

from gateway.changes import Outcome
from gateway.feeds import EnvironmentId
from gateway.publisher import AsyncPublisher, Publisher
from gateway.publisher.mailing import TIMEOUT_SECONDS
from tests.gateway.publisher.waiting import BlackHole, until
from tests.gateway.store.changing import Changing
from tests.redis_server import RedisServer, free_port

#: A machine that is busy may take so much longer than it should.
PATIENCE = 15.0


def test_a_status_said_while_redis_was_away_arrives_with_its_time(server: RedisServer) -> None:
    """Nobody has to ask: the publisher tries again by itself, and says how long ago it happened."""
    with Publisher(server.url) as publisher, server.client() as client:
        stored = Changing(client, EnvironmentId("default"))
        run = publisher.create("t")
        run.start()
        run.increment("n")
        server.stop()
        assert run.progress(1) is Outcome.DEFERRED
        said = time.time()
        assert run.complete("output") is Outcome.DEFERRED
        assert run.progress(2) is Outcome.DROPPED
        assert publisher.statistics.unsent == 1
        time.sleep(1)
        back = time.time()
        server.start()
        until(lambda: stored.row(run.id)["status"] == "COMPLETED_SUCCESSFULLY")
        row = stored.row(run.id)
        assert row["output"] == "output"
        assert said - 0.01 <= row["completedAt"] / 1000 < back
        assert row["updatedAt"] > row["completedAt"]
        until(lambda: publisher.statistics.unsent == 0)
        assert publisher.statistics.failures >= 1


def test_a_restart_between_two_words_is_not_noticed(server: RedisServer) -> None:
    """The connection is dead, the script is forgotten, and the next status arrives at once all the same."""
    with Publisher(server.url) as publisher:
        run = publisher.create("t")
        server.stop()
        server.start()
        assert run.start() is Outcome.APPLIED
        assert run.complete() is Outcome.APPLIED
        assert publisher.statistics.failures == 0


def test_a_run_that_redis_lost_comes_back_with_its_next_status(server: RedisServer) -> None:
    """As far as its handle knows it: the task and where it comes from."""
    with Publisher(server.url) as publisher, server.client() as client:
        run = publisher.create("t", tags=["a"], payload=1)
        client.flushall()
        assert run.complete() is Outcome.APPLIED
        row = Changing(client, EnvironmentId("default")).row(run.id)
        assert (row["status"], row["taskIdentifier"], row["runTags"]) == ("COMPLETED_SUCCESSFULLY", "t", ["a"])


def test_no_call_waits_long_for_a_server_that_never_answers() -> None:
    """One short time-out, and then none until the pause is over."""
    with BlackHole() as hole:
        publisher = Publisher(hole.url)
        began = time.monotonic()
        run = publisher.create("t")
        assert time.monotonic() - began < TIMEOUT_SECONDS + PATIENCE

        longest, calls = 0.0, 0
        began = time.monotonic()
        while time.monotonic() - began < 2:
            before = time.monotonic()
            assert run.progress(calls) in (Outcome.DROPPED, Outcome.DEFERRED)
            assert run.status("EXECUTING") is Outcome.DEFERRED
            longest, calls = max(longest, time.monotonic() - before), calls + 1
        assert longest < 2 * TIMEOUT_SECONDS + PATIENCE
        assert calls > 100, "the job spent its time waiting"
        assert publisher.statistics.failures < 15

        began = time.monotonic()
        publisher.close(0.5)
        assert time.monotonic() - began < 0.5 + 2 * TIMEOUT_SECONDS + PATIENCE


def test_many_threads_do_not_queue_up_for_a_server_that_never_answers() -> None:
    """Each waits for its own time-out at most, not for those of all others."""
    with BlackHole() as hole:
        publisher = Publisher(hole.url)
        began = time.monotonic()
        threads = [threading.Thread(target=publisher.create, args=("t",)) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - began < 2 * TIMEOUT_SECONDS + PATIENCE
        until(lambda: publisher.statistics.unsent == 40)  # not one of them is being tried once more
        publisher.close(0)


def test_what_another_thread_is_still_sending_is_not_called_sent() -> None:
    """A flush that runs out of time says so, also while the publisher's own thread has what there is in its hands."""
    with BlackHole() as hole:
        publisher = Publisher(hole.url)
        publisher.create("t")
        assert not any(publisher.flush(timeout) for timeout in (0, 0.3, 2.0))
        publisher.close(0)


async def test_what_another_task_is_still_sending_is_not_called_sent() -> None:
    with BlackHole() as hole:
        publisher = AsyncPublisher(hole.url)
        for _ in range(3):
            await publisher.create("t")
        assert not any([await publisher.flush(timeout) for timeout in (0, 0.3)])
        await publisher.close(0)


def test_a_server_that_is_not_there_costs_next_to_nothing() -> None:
    publisher = Publisher(f"redis://127.0.0.1:{free_port()}/0")
    began = time.monotonic()
    with publisher.running("t") as run:
        for tick in range(1000):
            run.progress(tick)
    assert time.monotonic() - began < PATIENCE
    assert publisher.statistics.dropped["progress"] >= 999
    assert publisher.statistics.unsent == 1
    publisher.close(0)


def test_increments_count_exactly_once_when_answers_are_lost(server: RedisServer) -> None:
    """The server is stopped from answering in the middle; what it took and what it did not is told apart later."""
    with Publisher(server.url) as publisher, server.client() as client:
        stored = Changing(client, EnvironmentId("default"))
        run = publisher.create("t")
        for _ in range(3):
            run.increment("n")
            publisher.flush()
            # Writes are taken, but nobody is answered for longer than the publisher waits.
            client.client_pause(int(TIMEOUT_SECONDS * 1000) + 200)
            run.increment("n")
            publisher.flush(0)
            run.increment("n")
            assert publisher.flush(10)
        until(lambda: publisher.statistics.unsent == 0)
        assert publisher.statistics.failures >= 1
        assert stored.metadata(run.id)["n"] == 9


def test_a_server_that_refuses_writes_is_away(server: RedisServer) -> None:
    """Out of memory, a replica, a full disk: kept, like anything that may be over soon."""
    with Publisher(server.url) as publisher, server.client() as client:
        run = publisher.create("t")
        client.config_set("maxmemory", "1")
        assert run.complete() is Outcome.DEFERRED
        client.config_set("maxmemory", "0")
        stored = Changing(client, EnvironmentId("default"))
        until(lambda: stored.row(run.id)["status"] == "COMPLETED_SUCCESSFULLY")


async def test_the_asynchronous_twin_keeps_what_was_said(server: RedisServer) -> None:
    async with AsyncPublisher(server.url) as publisher:
        run = await publisher.create("t")
        server.stop()
        assert await run.complete() is Outcome.DEFERRED
        assert await run.progress(2) is Outcome.DROPPED
        server.start()
        assert await publisher.flush(10)
        with server.client() as client:
            assert Changing(client, EnvironmentId("default")).row(run.id)["status"] == "COMPLETED_SUCCESSFULLY"


async def test_the_asynchronous_twin_does_not_wait_long() -> None:
    with BlackHole() as hole:
        publisher = AsyncPublisher(hole.url)
        began = time.monotonic()
        run = await publisher.create("t")
        for _ in range(100):
            await run.status("EXECUTING")
        assert time.monotonic() - began < 3 * TIMEOUT_SECONDS + PATIENCE
        await publisher.close(0)
