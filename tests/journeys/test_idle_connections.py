"""Providers and poolers close Redis connections that lie idle, and count those that are open: nothing a viewer sees."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.journeys.gateway_process import SECRET, GatewayProcess, running_gateway, token
from tests.journeys.in_process import until
from tests.journeys.test_workers import until_both_serve
from tests.journeys.viewers import EventsViewer, Viewer, WebSocketViewer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.journeys.jobs import Jobs
    from tests.redis_server import RedisServer

#: What docs/connections.md promises of each process.
MOST_CONNECTIONS = 6
VIEWERS = 40


def connections(server: RedisServer) -> list[dict[str, str]]:
    """Those of gateways."""
    with server.client() as client:
        return [found for found in client.client_list() if found["name"].startswith("runcast-gateway")]


def is_subscription(connection: dict[str, str]) -> bool:
    return connection["name"] == "runcast-gateway-subscription"


async def test_idle_ones_are_closed_by_the_server(own_redis: RedisServer, jobs: Jobs, tmp_path: Path) -> None:
    """A viewer who comes afterwards is served as any other, and those who are there are never told `stale`."""
    jobs.create("run_1")
    with running_gateway(tmp_path / "log", own_redis.url, RUNCAST_HEARTBEAT="1s") as gateway:
        async with WebSocketViewer(gateway, token(), {"run": "run_1"}) as early:
            await early.model.until_live()
            await write(gateway, "run_2")
            before = {found["id"] for found in connections(own_redis) if not is_subscription(found)}
            with own_redis.client() as client:
                client.config_set("timeout", 1)
            # Some are never idle for so long; that for writes is.
            await until(lambda: before - {found["id"] for found in connections(own_redis)}, "the end of some")
            async with EventsViewer(gateway, token(), {"run": "run_1"}) as late:
                await late.model.until_live()
                await write(gateway, "run_3")
                jobs.say("run_1", "COMPLETED")
                for viewer in (early, late):
                    await viewer.model.until_status("run_1", "COMPLETED")
            await early.model.until_state("live")
            assert gateway.ready()[0] == 200
            assert (early.connections, early.model.states) == (1, ["live"])


@pytest.mark.parametrize("kind", ["normal", "pubsub"])
async def test_any_one_may_be_cut_at_any_time(own_redis: RedisServer, jobs: Jobs, tmp_path: Path, kind: str) -> None:
    """Whoever is there stays connected, and misses nothing; whoever comes is served."""
    jobs.create("run_1")
    with running_gateway(tmp_path / "log", own_redis.url) as gateway:
        async with WebSocketViewer(gateway, token(), {"run": "run_1"}) as early:
            await early.model.until_live()
            await write(gateway, "run_2")
            with own_redis.client() as client:
                assert client.client_kill_filter(_type=kind, skipme=True) > 0
            jobs.say("run_1", "DEQUEUED")
            await write(gateway, "run_3")
            async with EventsViewer(gateway, token(), {"run": "run_1"}) as late:
                await late.model.until_live()
                jobs.say("run_1", "COMPLETED")
                for viewer in (early, late):
                    await viewer.model.until_status("run_1", "COMPLETED")
            assert early.connections == 1
            assert early.model.statuses["run_1"] == ["QUEUED", "DEQUEUED", "COMPLETED"]


async def test_each_process_has_its_few(own_redis: RedisServer, jobs: Jobs, tmp_path: Path) -> None:
    """Whatever is done with it at the same time: many viewers of many runs, readers of streams, writes over HTTP."""
    workers = 2
    jobs.create("run_1")
    with running_gateway(tmp_path / "log", own_redis.url, RUNCAST_WORKERS=str(workers)) as gateway:
        await until_both_serve(gateway)
        seen: list[int] = []
        async with AsyncExitStack() as watching, asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(look(own_redis, seen))
            viewers: list[Viewer] = [
                (WebSocketViewer, EventsViewer)[number % 2](gateway, token(), {"run": f"run_{number}"})
                for number in range(VIEWERS)
            ]
            for viewer in viewers:
                await watching.enter_async_context(viewer)
            await write(gateway, *(f"run_{number}" for number in range(VIEWERS)))
            await asyncio.gather(*(viewer.model.until_live() for viewer in viewers))
            for number in range(VIEWERS):
                writer = await read_stream(gateway, f"run_{number}")
                watching.callback(writer.close)
            looking.cancel()
        assert len(seen) > 3
        assert max(seen) <= workers * MOST_CONNECTIONS


async def read_stream(gateway: GatewayProcess, run: str) -> asyncio.StreamWriter:
    """Follow what `write` wrote, and what may come; return when the first of it is there."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    request = (
        f"GET /v1/runs/{run}/streams/log?token={token()} HTTP/1.1\r\nHost: gateway\r\nAccept: text/event-stream\r\n"
    )
    writer.write(f"{request}\r\n".encode())
    await asyncio.wait_for(reader.readuntil(b"event: chunk"), 10)
    return writer


async def look(server: RedisServer, seen: list[int]) -> None:
    while True:
        seen.append(len(await asyncio.to_thread(connections, server)))
        await asyncio.sleep(0.02)


async def write(gateway: GatewayProcess, *runs: str) -> None:
    """Runs, and a chunk of a stream of each, over HTTP; all at the same time."""
    headers = {"Authorization": f"Bearer {SECRET}"}
    async with httpx2.AsyncClient(trust_env=False, timeout=20, headers=headers, base_url=gateway.url) as client:

        async def create(run: str) -> None:
            answer = await client.post("/v1/runs", json={"id": run, "taskIdentifier": "hello"})
            assert answer.is_success, answer.text
            answer = await client.post(f"/v1/runs/{run}/streams/log", json={"chunks": ["a"]})
            assert answer.is_success, answer.text

        await asyncio.gather(*map(create, runs))
