"""How many connections to Redis a publisher opens, and what becomes of those that are cut while they lie idle."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from gateway.publisher import AsyncPublisher, Publisher
from gateway.publisher.mailing import CONNECTIONS
from tests.journeys.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.redis_server import RedisServer

PATIENCE_SECONDS = 20.0
THREADS = 40


@pytest.fixture(params=["closed by the server", "killed"])
def cut(request: pytest.FixtureRequest, server: RedisServer) -> Callable[[], None]:
    """Has the server, as a provider or pooler might, cut every idle connection of ours, and returns when it has."""
    way: str = request.param

    def cut() -> None:
        with server.client() as client:
            client.config_set("timeout", 1 if way.startswith("closed") else 0)
            if way == "killed":
                client.client_kill_filter(_type="normal", skipme=True)
        until(lambda: count(server) == 0)

    return cut


def count(server: RedisServer) -> int:
    """Connections, without the one that asks."""
    with server.client() as client:
        return len(client.client_list()) - 1


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_whoever_takes_turns_needs_one_connection(server: RedisServer) -> None:
    """A worker that runs one job after the other, with progress that its thread sends behind its back."""
    with Publisher(server.url) as publisher:
        for job in range(5):
            with publisher.running("export", id=f"run_{job}") as run:
                for tick in range(20):
                    run.progress(tick, 20)
        assert count(server) == 1


def test_many_threads_share_a_few_connections(server: RedisServer) -> None:
    """However many jobs a process runs at the same moment."""
    with Publisher(server.url) as publisher:
        begin = threading.Barrier(THREADS)

        def work(number: int) -> None:
            begin.wait()
            with publisher.running("export", id=f"run_{number}") as run:
                for tick in range(20):
                    run.set("tick", tick)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert publisher.flush()
        assert 1 <= count(server) <= CONNECTIONS
        assert publisher.statistics.dropped == {}


async def test_many_tasks_share_a_few_connections(server: RedisServer) -> None:
    """As with threads."""
    async with AsyncPublisher(server.url) as publisher:

        async def work(number: int) -> None:
            async with publisher.running("export", id=f"run_{number}") as run:
                for tick in range(20):
                    await run.set("tick", tick)

        await asyncio.gather(*(work(number) for number in range(200)))
        assert await publisher.flush()
        assert 1 <= count(server) <= CONNECTIONS
        assert publisher.statistics.dropped == {}


def test_a_fork_costs_as_much_as_its_parent(server: RedisServer) -> None:
    """Each child that publishes has its own; one that does not has none."""
    with Publisher(server.url) as publisher:
        publisher.create("export", id="run_1")
        ready, go = os.pipe(), os.pipe()
        children = []
        for number in range(4):
            child = os.fork()
            if child == 0:
                try:
                    if number:
                        publisher.run("run_1").set("child", number)
                        publisher.flush()
                    os.write(ready[1], b".")
                    os.read(go[0], 1)
                finally:
                    os._exit(0)
            children.append(child)
        heard = 0
        while heard < len(children):
            heard += len(os.read(ready[0], 1))
        assert count(server) == 1 + 3
        os.write(go[1], b"." * len(children))
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
        for end in (*ready, *go):
            os.close(end)


def test_an_idle_connection_that_was_cut_is_nobodys_trouble(server: RedisServer, cut: Callable[[], None]) -> None:
    """The next change goes through at once, as if nothing had happened."""
    with Publisher(server.url) as publisher:
        run = publisher.create("export", id="run_1")
        cut()
        assert run.start() == "applied"
        assert publisher.statistics.failures == 0


async def test_nor_of_an_asynchronous_one(server: RedisServer, cut: Callable[[], None]) -> None:
    """The same."""
    async with AsyncPublisher(server.url) as publisher:
        run = await publisher.create("export", id="run_1")
        await asyncio.to_thread(cut)
        assert await run.start() == "applied"
        assert publisher.statistics.failures == 0


async def test_one_that_was_cut_without_a_word_costs_one_short_wait(server: RedisServer) -> None:
    """A firewall forgot it: the change that finds out is sent on another one, and the next one at once."""
    async with Proxy(server.port) as proxy:
        with Publisher(proxy.url) as publisher:
            run = await asyncio.to_thread(publisher.create, "export", id="run_1")
            proxy.fall_silent(only_present=True)
            assert await asyncio.to_thread(run.start) == "deferred"
            assert await asyncio.to_thread(publisher.flush)
            assert await asyncio.to_thread(run.complete) == "applied"
            assert publisher.statistics.failures == 1
            proxy.speak()
