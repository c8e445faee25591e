"""What is said in a block goes out together: fewer round trips, and nothing else is different."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from gateway.changes import Outcome
from gateway.feeds import EnvironmentId
from gateway.publisher import AsyncPublisher, Publisher
from gateway.publisher.mailing import COMMANDS_AT_ONCE
from tests.gateway.publisher.waiting import BlackHole, LosingProxy, until
from tests.gateway.store.changing import Changing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.redis_server import RedisServer

MANY = 5 * COMMANDS_AT_ONCE + 7


@pytest.fixture
async def twin(redis_server: RedisServer, environment: EnvironmentId) -> AsyncIterator[AsyncPublisher]:
    async with AsyncPublisher(redis_server.url, environment=environment) as publisher:
        yield publisher


def scripts_run(server: RedisServer) -> int:
    with server.client() as client:
        statistics = client.info("commandstats")
        return int(statistics.get("cmdstat_evalsha", {"calls": 0})["calls"])


def transitions(stored: Changing, run: str) -> list[str]:
    return [status for _, status, *_ in stored.row(run)["transitions"]]


LIFE = ["PENDING", "EXECUTING", "COMPLETED_SUCCESSFULLY"]


def test_at_the_end_of_the_block_all_of_it_has_been_sent(publisher: Publisher, stored: Changing) -> None:
    """Whole lives of many runs: each status of each run is told, in order, and what belongs to it is there."""
    with publisher.together():
        for number in range(MANY):
            run = publisher.create("t", id=f"r{number}", tags=["a"])
            assert run.start() is Outcome.DEFERRED
            run.set("number", number)
            run.increment("n", 2)
            run.log("half way")
            assert run.complete({"o": number}) is Outcome.DEFERRED
    assert publisher.statistics.unsent == 0
    assert publisher.statistics.dropped == {}
    for number in range(MANY):
        row = stored.row(f"r{number}")
        assert (row["output"], row["runTags"]) == ({"o": number}, ["a"])
        assert transitions(stored, f"r{number}") == LIFE
        assert stored.metadata(f"r{number}") == {"number": number, "n": 2}


def test_it_takes_a_fraction_of_the_round_trips(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.publisher.mailing.GATHERING_SECONDS", 60.0)  # on a slow machine it would go out sooner
    with Publisher(server.url) as publisher:
        publisher.create("t")
        before = scripts_run(server)
        with publisher.together():
            for _ in range(MANY):
                publisher.create("t")
        assert scripts_run(server) - before < MANY / 4
        assert publisher.statistics.sent == MANY + 1


def test_what_other_threads_say_is_not_concerned(publisher: Publisher) -> None:
    told: list[Outcome] = []
    with publisher.together():
        run = publisher.create("t")
        thread = threading.Thread(target=lambda: told.append(publisher.create("t", id="other").start()))
        thread.start()
        thread.join()
        assert run.start() is Outcome.DEFERRED
    assert told == [Outcome.APPLIED]
    assert run.complete() is Outcome.APPLIED


def test_blocks_of_several_threads_about_the_same_runs(publisher: Publisher, stored: Changing) -> None:
    """Nobody waits for somebody who waits for it, and nothing is lost or counted twice."""

    def work() -> None:
        with publisher.together():
            for _ in range(3):
                for number in range(MANY):
                    publisher.run(f"r{number}").increment("n")

    for number in range(MANY):
        publisher.create("t", id=f"r{number}")
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert publisher.flush(10)
    assert [stored.metadata(f"r{number}") for number in range(MANY)] == [{"n": 12}] * MANY


def test_a_block_in_a_block_is_sent_at_its_own_end(publisher: Publisher, stored: Changing) -> None:
    with publisher.together():
        publisher.create("t", id="outer")
        with publisher.together():
            publisher.create("t", id="inner")
        assert stored.row("inner")["status"] == "PENDING"
        assert publisher.create("t", id="later").start() is Outcome.DEFERRED
    assert transitions(stored, "later") == LIFE[:2]


def test_reading_in_a_block_sees_what_was_said(publisher: Publisher) -> None:
    with publisher.together():
        run = publisher.create("t", metadata={"a": 1})
        run.set("b", 2)
        assert run.current() == {"a": 1, "b": 2}


def test_what_is_raised_in_a_block_goes_on_and_what_was_said_is_sent(publisher: Publisher, stored: Changing) -> None:
    def block() -> None:
        with publisher.together():
            publisher.create("t", id="r")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        block()
    assert stored.row("r")["status"] == "PENDING"


def test_a_block_that_lasts_keeps_nothing_back(publisher: Publisher, stored: Changing) -> None:
    """Whoever follows the run need not wait until the block ends."""
    with publisher.together():
        publisher.create("t", id="r")
        until(lambda: stored.row("r").get("status") == "PENDING")


def test_a_lease_that_begins_in_a_block_is_held(publisher: Publisher, stored: Changing) -> None:
    with publisher.together():
        runs = [publisher.create("t", lease=30) for _ in range(3)]
        for run in runs:
            run.start()
    assert all(stored.row(run.id)["status"] == "EXECUTING" for run in runs)
    assert len(publisher._opened()._leases) == 3
    assert publisher._opened()._leases.next_due() is not None


def test_while_redis_is_away_the_newest_status_is_kept(server: RedisServer) -> None:
    """As ever: a block does not raise, and does not wait for long."""
    with Publisher(server.url) as publisher, server.client() as client:
        publisher.create("t")
        server.stop()
        with publisher.together():
            for number in range(MANY):
                run = publisher.create("t", id=f"r{number}")
                run.start()
                run.complete(number)
        assert publisher.statistics.unsent >= MANY
        server.start()
        until(lambda: publisher.statistics.unsent == 0)
        assert publisher.flush(10)
        stored = Changing(client, EnvironmentId("default"))
        rows = [stored.row(f"r{number}") for number in range(MANY)]
        assert [(row["status"], row["output"]) for row in rows] == [(LIFE[-1], n) for n in range(MANY)]


def test_a_server_that_never_answers_costs_a_block_few_failures() -> None:
    with BlackHole() as hole:
        publisher = Publisher(hole.url)
        with publisher.together():
            for _ in range(MANY):
                publisher.create("t")
        assert publisher.statistics.unsent == MANY
        assert publisher.statistics.failures < MANY / 4
        publisher.close(0)


def test_whatever_answers_are_lost_each_thing_counts_once(server: RedisServer) -> None:
    """What Redis did and could not tell is said again, and known again."""
    lost = iter([False, True, False, False, True] + [False] * 10_000)
    with (
        LosingProxy(server.port, lambda: next(lost)) as proxy,
        Publisher(proxy.url) as publisher,
        server.client() as client,
    ):
        with publisher.together():
            for number in range(MANY):
                publisher.create("t", id=f"r{number}").increment("n")
        assert publisher.flush(10)
        stored = Changing(client, EnvironmentId("default"))
        assert [stored.metadata(f"r{number}") for number in range(MANY)] == [{"n": 1}] * MANY
        assert proxy.lost == 2


def test_one_that_is_refused_does_not_take_the_others_with_it(publisher: Publisher, stored: Changing) -> None:
    """Operations over the limit, and a run that nobody created."""
    with publisher.together():
        large = publisher.create("t")
        for number in range(3):
            large.set(f"k{number}", "x" * 200_000)
        publisher.run("nobody").start()
        others = [publisher.create("t") for _ in range(3)]
    assert [stored.row(run.id)["status"] for run in (large, *others)] == ["PENDING"] * 4
    assert set(publisher.statistics.dropped) == {"metadata_too_large", "missing"}


async def test_the_asynchronous_twin(twin: AsyncPublisher, stored: Changing) -> None:
    async with twin.together():
        for number in range(MANY):
            run = await twin.create("t", id=f"r{number}")
            assert await run.start() is Outcome.DEFERRED
            await run.increment("n")
            await run.complete()
    assert twin.statistics.unsent == 0
    for number in range(MANY):
        assert transitions(stored, f"r{number}") == LIFE
        assert stored.metadata(f"r{number}") == {"n": 1}


async def test_tasks_that_are_started_in_a_block_belong_to_it(twin: AsyncPublisher, stored: Changing) -> None:
    """As long as it lasts; afterwards they are as others."""
    ended = asyncio.Event()

    async def work(number: int) -> Outcome:
        run = await twin.create("t", id=f"r{number}")
        assert await run.start() is Outcome.DEFERRED
        await ended.wait()
        return await run.complete()

    async with twin.together():
        tasks = [asyncio.create_task(work(number)) for number in range(10)]
        await asyncio.sleep(0)
        other = await twin.create("t", id="other")
    ended.set()
    assert set(await asyncio.gather(*tasks)) == {Outcome.APPLIED}
    assert await other.start() is Outcome.APPLIED
    assert [transitions(stored, f"r{number}") for number in range(10)] == [LIFE] * 10


async def test_tasks_that_speak_at_the_same_moment_share_round_trips(server: RedisServer) -> None:
    """Without a block, and each is told what became of its own."""
    async with AsyncPublisher(server.url) as publisher:
        known = await publisher.create("t")
        before = scripts_run(server)
        runs = [publisher.run(f"r{number}", task="t") for number in range(MANY)]
        told = await asyncio.gather(*(run.start() for run in [*runs, publisher.run("nobody"), known]))
        assert told == [*[Outcome.APPLIED] * MANY, Outcome.MISSING, Outcome.APPLIED]
        assert scripts_run(server) - before < MANY / 4
