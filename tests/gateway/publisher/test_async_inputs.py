"""Inputs with await: as with the synchronous twin, for tasks."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.changes import Outcome
from gateway.errors import Cancelled, NoMoreInput, TooLarge
from gateway.publisher import AsyncPublisher, Publisher
from tests.gateway.publisher.listening import AT_ONCE, heard, subscriptions
from tests.gateway.publisher.waiting import until

if TYPE_CHECKING:
    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer


async def test_the_asynchronous_twin(redis_server: RedisServer, environment: EnvironmentId) -> None:
    async with AsyncPublisher(redis_server.url, environment=environment) as publisher:
        run = await publisher.create("approve", id="r")
        approval = run.input("approval")
        assert await approval.peek("nothing") == "nothing"
        waiting = asyncio.create_task(run.input("approval").wait(30))
        await asyncio.to_thread(until, lambda: heard(redis_server, environment, "r"))
        began = time.monotonic()
        assert await publisher.run("r").input("approval").send({"approved": True}) is Outcome.APPLIED
        assert await waiting == {"approved": True}
        assert time.monotonic() - began < AT_ONCE
        with pytest.raises(TimeoutError):
            await approval.wait(0.05)
        waiting = asyncio.create_task(approval.wait())
        await asyncio.sleep(0)
        waiting.cancel()  # takes nothing with it
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await publisher.run("r").input("approval").send(2)
        assert await approval.wait(5) == 2
        assert approval.cursor
        with pytest.raises(TooLarge):
            await run.input("approval").send("x" * 2_000_000)
        values = asyncio.create_task(_all(run.input("approval")))
        await publisher.run("r").input("approval").send(3)
        await publisher.flush()
        await run.complete()
        assert await values == [3]
        with pytest.raises(NoMoreInput):
            await approval.wait()
        assert await publisher.run("r").input("approval").send(4) is Outcome.STALE


async def _all(values: Any) -> list[Any]:
    return [value async for value in values]


async def test_tasks_share_one_connection_and_are_cancelled_as_elsewhere(server: RedisServer) -> None:
    async with AsyncPublisher(server.url) as publisher:
        runs = [await publisher.create("t", id=f"r{number}") for number in range(20)]
        waiting = [asyncio.create_task(run.input("go").wait(30)) for run in runs]
        await asyncio.to_thread(until, lambda: all(heard(server, "default", run.id) for run in runs))
        assert subscriptions(server) == 1
        for run in runs[1:]:
            await run.input("go").send(run.id)
        assert await asyncio.gather(*waiting[1:]) == [run.id for run in runs[1:]]
        await publisher.request_cancel("r0")
        with pytest.raises(Cancelled):
            await waiting[0]
    await asyncio.to_thread(until, lambda: subscriptions(server) == 0)


async def test_closing_an_asynchronous_publisher_ends_nobody_s_waiting(server: RedisServer) -> None:
    async with AsyncPublisher(server.url) as publisher:
        run = await publisher.create("t", id="r")
        waiting = asyncio.create_task(run.input("go").wait(30))
        await asyncio.to_thread(until, lambda: heard(server, "default", "r"))
        await publisher.close()
        with Publisher(server.url) as other:
            await asyncio.to_thread(other.run("r").input("go").send, "on")
        assert await waiting == "on"
    await asyncio.to_thread(until, lambda: subscriptions(server) == 0)


async def test_waiting_tasks_survive_a_restart(server: RedisServer) -> None:
    async with AsyncPublisher(server.url) as publisher:
        run = await publisher.create("t", id="r")
        waiting = asyncio.create_task(run.input("go").wait(30))
        await asyncio.to_thread(until, lambda: heard(server, "default", "r"))
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        with Publisher(server.url) as other:
            await asyncio.to_thread(other.run("r").input("go").send, "back")
        assert await waiting == "back"
