"""Several processes behind one port, with real viewers: stopped together, and given other keys together."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import httpx2

from auth import EnvironmentKeys, generate_secret_key, mint
from tests.journeys.crowd import Crowd
from tests.journeys.gateway_process import ENVIRONMENT, SECRET, GatewayProcess, running_gateway, token
from tests.journeys.in_process import until
from tests.journeys.model import LATE_SECONDS
from tests.journeys.test_serve import workers_with_viewers
from tests.journeys.viewers import EventsViewer, Viewer, WebSocketViewer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.journeys.jobs import Jobs
    from tests.redis_server import RedisServer

DRAIN_SECONDS = 3.0
CROWD = 300


async def test_all_drain_together(own_redis: RedisServer, jobs: Jobs, tmp_path: Path) -> None:
    """Every viewer of every process is told to come back, in its turn, and the parent ends with 0 in time."""
    jobs.create("run_1")
    settings = {"RUNCAST_WORKERS": "2", "RUNCAST_DRAIN": f"{DRAIN_SECONDS:g}s"}
    with running_gateway(tmp_path / "log", own_redis.url, **settings) as gateway:
        await until_both_serve(gateway)
        async with Crowd(gateway.port, "run_1", CROWD, mark=b'"EXECUTING"') as crowd:
            assert len(workers_with_viewers(gateway)) == 2
            asked_at = time.monotonic()
            gateway.signal(signal.SIGTERM)
            ended = asyncio.create_task(gateway.ended())
            await until(lambda: crowd.told > CROWD / 3, "a third of them is told")
            jobs.say("run_1", "EXECUTING")
            assert await ended == 0
            assert time.monotonic() - asked_at < DRAIN_SECONDS + 1 + LATE_SECONDS  # its workers' time, and its own end
            await until(lambda: all(member.ended_at for member in crowd.members), "the end of all")
    told = [member.told_at for member in crowd.members if member.told_at is not None]
    assert len(told) == CROWD
    assert max(told) - min(told) > DRAIN_SECONDS / 3
    marked = [member.marked_at for member in crowd.members if member.marked_at is not None]
    assert len(marked) > CROWD / 10
    assert not [m for m in crowd.members if m.marked_at is None and m.told_at is not None and m.told_at > max(marked)]


async def test_all_take_other_keys(own_redis: RedisServer, jobs: Jobs, tmp_path: Path) -> None:
    """SIGHUP, and each process lets those in whose key was added; nobody who was there is disturbed."""
    jobs.create("run_1")
    added = EnvironmentKeys.of(ENVIRONMENT, generate_secret_key())
    file = tmp_path / "keys"
    file.write_text(generate_secret_key())
    settings = {"RUNCAST_WORKERS": "2", "RUNCAST_PREVIOUS_SECRET_KEYS_FILE": str(file), "RUNCAST_DRAIN": "1s"}
    with running_gateway(tmp_path / "log", own_redis.url, **settings) as gateway:
        await until_both_serve(gateway)
        async with AsyncExitStack() as watching:
            viewers: list[Viewer] = []
            while len(workers_with_viewers(gateway)) < 2:
                viewers.append(await come(watching, gateway, token(), len(viewers)))
            early = WebSocketViewer(gateway, mint("read:runs", added), {"run": "run_1"})
            early.gives_up_on = frozenset({4401})
            await watching.enter_async_context(early)
            await early.until_gone(4401)

            file.write_text(added.current.secret)
            gateway.signal(signal.SIGHUP)
            await until(lambda: (tmp_path / "log").read_text().count("are reloaded") == 2, "both to reload")

            late = [await come(watching, gateway, mint("read:runs", added), number) for number in range(20)]
            jobs.say("run_1", "COMPLETED")
            for viewer in viewers + late:
                await viewer.model.until_status("run_1", "COMPLETED")
                assert viewer.connections == 1


async def test_any_of_them_goes_on_with_a_feed_of_another(own_redis: RedisServer, jobs: Jobs, tmp_path: Path) -> None:
    """
    Polls of the Trigger.dev clients land on either: what one has given out the other takes, also when the token has
    ended meanwhile, and a revocation ends all of it.
    """
    jobs.create("run_1")
    settings = {"RUNCAST_WORKERS": "2", "RUNCAST_DRAIN": "1s"}
    with running_gateway(tmp_path / "log", own_redis.url, **settings) as gateway:
        await until_both_serve(gateway)
        feed = f"{gateway.url}/realtime/v1/runs/run_1"
        async with AsyncExitStack() as here:
            # Each keeps its own connection, and so stays with one of the processes.
            clients: list[httpx2.AsyncClient] = []
            while len(clients) < 4 or len(workers_with_viewers(gateway)) < 2:
                clients.append(await here.enter_async_context(httpx2.AsyncClient(trust_env=False)))
                await clients[-1].get(f"{gateway.url}/livez")
            for life in (1.5, 3.0, 30.0):  # on a busy machine the first may be over before it is looked at
                ends = time.time() + life
                credential = {"Authorization": f"Bearer {token(jti='feed', expires=ends)}"}
                begun = await clients[0].get(feed, params={"offset": "-1"}, headers=credential)
                if begun.status_code == 200:
                    break
            place = {"handle": begun.headers["electric-handle"], "offset": begun.headers["electric-offset"]}
            for turn, client in enumerate(clients * 3):
                if turn == len(clients):
                    await asyncio.sleep(max(0.0, ends - time.time()))
                jobs.say("run_1", set={"turn": turn})
                params = {"cursor": str(turn), "live": "true", **place}
                told = await client.get(feed, params=params, headers=credential, timeout=10)
                assert told.status_code == 200
                assert [json.loads(message["value"]["metadata"]) for message in told.json()[:-1]] == [{"turn": turn}]
                assert told.headers["electric-handle"] == place["handle"]
                place["offset"] = told.headers["electric-offset"]
            assert (await clients[1].get(feed, params={"offset": "-1"}, headers=credential)).status_code == 401

            params = {"cursor": "0", "live": "true", **place}
            held = [asyncio.create_task(client.get(feed, params=params, headers=credential)) for client in clients[1:]]
            await until(lambda: all(not poll.done() for poll in held), "polls that are held")
            secret = {"Authorization": f"Bearer {SECRET}"}
            await clients[0].post(f"{gateway.url}/v1/tokens/revoke", json={"jti": "feed"}, headers=secret)
            assert [(await poll).status_code for poll in held] == [401] * len(held)


async def come(watching: AsyncExitStack, gateway: GatewayProcess, credential: str, number: int) -> Viewer:
    kind = (WebSocketViewer, EventsViewer)[number % 2]
    viewer = await watching.enter_async_context(kind(gateway, credential, {"run": "run_1"}))
    await viewer.model.until_live()
    return viewer


async def until_both_serve(gateway: GatewayProcess) -> None:
    """Ready says one; the other may still start."""
    async with AsyncExitStack() as connections:
        while len(workers_with_viewers(gateway)) < 2:
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            connections.callback(writer.close)
            await asyncio.sleep(0.02)
