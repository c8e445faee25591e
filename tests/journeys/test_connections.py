"""What a gateway holds: a constant number of Redis connections, and nothing of a viewer that has gone."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import httpx2
import psutil

from auth import EnvironmentKeys, generate_secret_key, mint
from gateway.feed.connection import Connection
from gateway.feed.follower import Follower
from gateway.feed.group import Group
from gateway.server.handover import ResponseSocket, WebSocketSocket
from gateway.server.protocols import HttpProtocol
from gateway.server.websocket_protocol import WebSocketProtocol
from gateway.transports.sse import EventsViewer as ServerSideEvents
from gateway.transports.websocket import WebSocketViewer as ServerSideWebSocket
from tests.journeys.gateway_process import token
from tests.journeys.in_process import Inside, serving, until
from tests.journeys.proxy import SUBSCRIPTION, Proxy
from tests.journeys.viewers import EventsViewer, WebSocketViewer

if TYPE_CHECKING:
    import pytest

    from tests.journeys.jobs import Jobs
    from tests.redis_server import RedisServer

#: One subscription, one for writes, and two for reads and two for the canary at the most.
REDIS_CONNECTIONS = 6
RUNS = 20
VIEWERS = 2000
#: Coarse: pools and caches may settle a little higher.
GROWTH_BYTES = 8_000_000
#: The variables of loops over viewers may hold the last one of each until they go round again.
OF_LOOPS = 3
OF_A_VIEWER = (
    *(Connection, Follower, Group, ServerSideEvents, ServerSideWebSocket),
    *(HttpProtocol, ResponseSocket, WebSocketProtocol, WebSocketSocket),
)


def gateway_connections(server: RedisServer) -> int:
    with server.client() as client:
        return sum(found["name"].startswith("runcast-gateway") for found in client.client_list())


def objects_of_viewers() -> Counter[str]:
    gc.collect()
    return Counter(type(found).__name__ for found in gc.get_objects() if isinstance(found, OF_A_VIEWER))


async def churn(inside: Inside, server: RedisServer, credential: str) -> int:
    """Let viewers come and go, and return the highest number of Redis connections that were seen meanwhile."""
    arguments = [str(inside.port), credential, str(VIEWERS), str(RUNS)]
    load = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.journeys.churn", *arguments)
    ended = asyncio.create_task(load.wait())
    highest = 0
    while not ended.done():
        highest = max(highest, await asyncio.to_thread(gateway_connections, server))
        await asyncio.wait([ended], timeout=0.05)
    assert await ended == 0
    return highest


async def test_viewers_that_come_and_go_leave_nothing(own_redis: RedisServer, jobs: Jobs) -> None:
    """
    Thousands of viewers are cut off at every stage: in the handshake, after it, while they are brought up to date.

    Redis connections stay few meanwhile; afterwards there is no task, no object and no memory left of any of them.
    """
    for number in range(RUNS):
        jobs.create(f"run_{number}", tags=["a"], set={"blob": "x" * 5000})
    by_tag = token("read:tags:a")  # so that each run must be looked at before its feed opens
    async with serving(own_redis.url) as inside:
        assert await churn(inside, own_redis, by_tag) <= REDIS_CONNECTIONS
        await until(lambda: not any(inside.leftovers().values()), f"the end of {inside.leftovers()}")
        tasks = len(asyncio.all_tasks())
        growth: list[int] = []
        while not growth or min(growth) >= GROWTH_BYTES:  # what leaks does so every time
            assert len(growth) < 3, growth
            memory = psutil.Process().memory_info().rss
            assert await churn(inside, own_redis, by_tag) <= REDIS_CONNECTIONS
            await until(lambda: not any(inside.leftovers().values()), f"the end of {inside.leftovers()}")
            await until(lambda: len(asyncio.all_tasks()) <= tasks, "the end of their tasks")
            await until(lambda: max(objects_of_viewers().values(), default=0) <= OF_LOOPS, "the end of their objects")
            growth.append(psutil.Process().memory_info().rss - memory)
        async with WebSocketViewer(inside.url, by_tag, {"run": "run_1"}) as viewer:
            jobs.say("run_1", "COMPLETED")
            await viewer.model.until_status("run_1", "COMPLETED")


async def test_viewers_that_return_together_are_all_served(own_redis: RedisServer, jobs: Jobs) -> None:
    """Hundreds ask at once what needs a look at a run (has it the tag, has it ended?), and none of them is refused."""
    jobs.create("run_1", tags=["a"])
    by_tag = token("read:tags:a")
    async with serving(own_redis.url) as inside, httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        async with EventsViewer(inside.url, by_tag, {"run": "run_1"}) as viewer:
            jobs.say("run_1", "COMPLETED")
            await viewer.until_gone(204)
        headers = {"Authorization": f"Bearer {by_tag}", "Last-Event-ID": viewer.cursor_now}
        asking = [client.get(f"{inside.url}/v1/events?run=run_1", headers=headers) for _ in range(300)]
        assert Counter(answer.status_code for answer in await asyncio.gather(*asking)) == {204: 300}
        async with AsyncExitStack() as watching:
            viewers = [WebSocketViewer(inside.url, by_tag, {"run": "run_1"}) for _ in range(100)]
            for returning in viewers:
                await watching.enter_async_context(returning)
            for returning in viewers:
                await returning.model.until_status("run_1", "COMPLETED")
                assert "error" not in returning.model.counts
        assert gateway_connections(own_redis) <= REDIS_CONNECTIONS


async def test_many_environments_share_the_connections(own_redis: RedisServer) -> None:
    """Each environment's canaries come, however many there are: who sends many at once waits, and none is dropped."""
    keys = [EnvironmentKeys.of(f"tenant_{number}", generate_secret_key()) for number in range(20)]
    async with serving(own_redis.url, keys=keys) as inside, AsyncExitStack() as watching:
        for tenant in keys:
            credential = mint("read:runs", tenant)
            await watching.enter_async_context(WebSocketViewer(inside.url, credential, {"all": True}))
        environments = inside.hub._environments
        await until(lambda: len(environments) == len(keys), "all viewers")
        await until(lambda: all(known.settled for known in environments.values()), "all canaries")
        assert gateway_connections(own_redis) <= REDIS_CONNECTIONS


async def test_attempts_to_connect_leave_nothing(
    own_redis: RedisServer, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subscription that nobody answered is closed before the next is tried."""
    monkeypatch.setattr("gateway.store.subscription._CONNECT_SECONDS", 0.2)
    async with (
        Proxy(own_redis.port) as proxy,
        serving(proxy.url) as inside,
        WebSocketViewer(inside.url, token(), {"all": True}) as viewer,
    ):
        await viewer.model.until_live()
        before = proxy.connections
        proxy.fall_silent()
        await proxy.refuse()  # what there is breaks, and what comes is silent
        await proxy.accept()
        await until(lambda: proxy.connections > before + 4, "more attempts")
        proxy.speak()
        jobs.live("run_1")
        await viewer.model.until_status("run_1", "COMPLETED")
        await until(lambda: gateway_connections(own_redis) <= REDIS_CONNECTIONS, "few connections")
        with own_redis.client() as client:
            names = [found["name"] for found in client.client_list()]
        assert names.count(SUBSCRIPTION.decode()) == 1


async def test_a_proxy_that_speaks_an_older_http(own_redis: RedisServer, jobs: Jobs) -> None:
    """Without chunks (HTTP/1.0, which nginx speaks by default) events come as they are, and end with the connection."""
    jobs.live("run_1")
    async with serving(own_redis.url) as inside:
        reader, writer = await asyncio.open_connection("127.0.0.1", inside.port)
        writer.write(f"GET /v1/events?run=run_1&token={token()} HTTP/1.0\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    assert b"transfer-encoding" not in head.lower()
    kinds = [line.partition(b": ")[2] for line in body.splitlines() if line.startswith(b"event: ")]
    assert kinds == [b"welcome", b"snapshot", b"end"]
    assert all(line.partition(b": ")[0] in (b"event", b"data", b"id", b"retry", b"") for line in body.splitlines())
