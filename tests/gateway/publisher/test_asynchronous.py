"""The asynchronous twin: the same promises, with `await`, in as many loops as there are."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from typing import TYPE_CHECKING

import pytest

from gateway.changes import Outcome
from gateway.errors import BadChange
from gateway.publisher import AsyncPublisher, current_async_run, current_run
from gateway.publisher.outbox import INTERVAL_SECONDS
from tests.gateway.publisher.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.feeds import EnvironmentId
    from tests.gateway.store.changing import Changing
    from tests.redis_server import RedisServer


@pytest.fixture
async def publisher(redis_server: RedisServer, environment: EnvironmentId) -> AsyncIterator[AsyncPublisher]:
    async with AsyncPublisher(redis_server.url, environment=environment) as publisher:
        yield publisher


async def test_a_whole_life(publisher: AsyncPublisher, stored: Changing) -> None:
    run = await publisher.create("t", payload=1, tags=["a"], metadata={"k": 1})
    assert await run.start(context={"machine": {"cpu": 1}}) is Outcome.APPLIED
    assert await run.progress(1, 2) is Outcome.APPLIED
    assert await run.progress(2, 2) is Outcome.DEFERRED
    assert await run.complete({"o": 1}) is Outcome.APPLIED
    assert await run.complete() is Outcome.UNCHANGED
    row = stored.row(run.id)
    assert (row["status"], row["output"], row["runTags"]) == ("COMPLETED_SUCCESSFULLY", {"o": 1}, ["a"])
    assert stored.metadata(run.id)["progress"]["current"] == 2


async def test_running_is_the_whole_life_of_a_run(publisher: AsyncPublisher, stored: Changing) -> None:
    async with publisher.running("t", id="good") as run:
        assert current_async_run() is run
        assert current_run() is None
    assert current_async_run() is None
    with pytest.raises(ZeroDivisionError):
        async with publisher.running("t", id="bad"):
            _ = 1 / 0
    assert stored.row("good")["status"] == "COMPLETED_SUCCESSFULLY"
    assert stored.row("bad")["error"]["name"] == "ZeroDivisionError"


async def test_a_cancelled_task_is_a_canceled_run(publisher: AsyncPublisher, stored: Changing) -> None:
    begun = asyncio.Event()

    async def job() -> None:
        async with publisher.running("t", id="r"):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(job())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stored.row("r")["status"] == "CANCELED"


@pytest.mark.parametrize("turns", [1, 2, 3])
async def test_a_status_whose_call_was_cancelled_arrives(
    publisher: AsyncPublisher, stored: Changing, turns: int
) -> None:
    """Whoever was not patient enough to wait for the answer has said it all the same; the cancelling is not lost."""
    run = await publisher.create("t")
    task = asyncio.create_task(run.complete())
    for _ in range(turns):
        await asyncio.sleep(0)
    if not task.cancel():
        return  # it was faster
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await publisher.flush()
    assert stored.row(run.id)["status"] == "COMPLETED_SUCCESSFULLY"


async def test_the_last_progress_always_arrives(publisher: AsyncPublisher, stored: Changing) -> None:
    began, run = time.monotonic(), await publisher.create("t")
    for tick in range(1000):
        await run.progress(tick)
    while stored.metadata(run.id)["progress"]["current"] != 999:
        await asyncio.sleep(0.005)
    assert publisher.statistics.sent < 5 + (time.monotonic() - began) / INTERVAL_SECONDS


async def test_many_tasks_share_a_publisher(publisher: AsyncPublisher, stored: Changing) -> None:
    async def job(number: int) -> None:
        async with publisher.running("t", id=f"r{number}") as run:
            for tick in range(20):
                await run.increment("n")
                await run.parent.append("log", tick)

    await asyncio.gather(*(job(number) for number in range(30)))
    for number in range(30):
        assert stored.metadata(f"r{number}") == {"n": 20, "log": list(range(20))}
    assert publisher.statistics.dropped == {}


async def test_operations_that_take_a_value_apart(publisher: AsyncPublisher, stored: Changing) -> None:
    run = await publisher.create("t", metadata={"a": {"b": 1}, "list": [1, 2]})
    await asyncio.gather(run.set("$.a.c", 2), run.remove("list", 1), run.increment("$.a.b"))
    await publisher.flush()
    assert stored.metadata(run.id) == {"a": {"b": 2, "c": 2}, "list": [2]}


async def test_wrong_arguments_are_told_before_any_await(publisher: AsyncPublisher) -> None:
    run = publisher.run("r")
    with pytest.raises(BadChange):
        run.progress("half")  # type: ignore[arg-type, unused-coroutine]


def test_one_publisher_serves_several_loops(
    redis_server: RedisServer, environment: EnvironmentId, stored: Changing
) -> None:
    """At the same time in threads, and one after the other; what a loop left is sent by the next."""
    publisher = AsyncPublisher(redis_server.url, environment=environment)

    async def job(number: int) -> None:
        async with publisher.running("t", id=f"r{number}") as run:
            for tick in range(20):
                await run.increment("n", tick)
        await publisher.close()

    threads = [threading.Thread(target=asyncio.run, args=(job(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asyncio.run(job(4))
    for number in range(5):
        assert stored.metadata(f"r{number}") == {"n": sum(range(20))}
    assert publisher.statistics.sent >= 15


def test_a_loop_that_ends_sends_its_last_words(
    redis_server: RedisServer, environment: EnvironmentId, stored: Changing
) -> None:
    """Nobody flushed: the last progress is there when `asyncio.run` returns."""
    publisher = AsyncPublisher(redis_server.url, environment=environment)

    async def job() -> None:
        run = await publisher.create("t", id="r")
        for tick in range(5):
            await run.progress(tick)

    asyncio.run(job())
    assert stored.metadata("r") == {"progress": {"current": 4}}
    publisher._senders.clear()
    with pytest.warns(ResourceWarning):
        gc.collect()  # the connection, which nobody closed either


async def test_a_sync_publisher_beside_it(redis_server: RedisServer, stored: Changing) -> None:
    """Both may speak of the same run."""
    from gateway.publisher import Publisher

    with Publisher(redis_server.url, environment=stored.environment) as synchronous:
        async with AsyncPublisher(redis_server.url, environment=stored.environment) as asynchronous:
            synchronous.create("t", id="r")
            await asynchronous.run("r").start()
            synchronous.run("r").complete()
    until(lambda: stored.row("r")["status"] == "COMPLETED_SUCCESSFULLY")
