"""The gateway is an ASGI app for any server (elsewhere.py): without our protocol classes it is slower, and as true."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from websockets.asyncio.client import connect

from gateway.publisher import Publisher
from tests.journeys import plenty
from tests.journeys.elsewhere import SERVERS, elsewhere
from tests.journeys.gateway_process import SECRET, token
from tests.journeys.in_process import Inside, until
from tests.journeys.jobs import LIFE, Jobs
from tests.journeys.polling import PollViewer
from tests.journeys.reluctant import WIRES
from tests.journeys.viewers import VIEWERS, WebSocketViewer, assert_lives, watching

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.redis_server import RedisServer

ALL = {"all": True}


@pytest.fixture(params=SERVERS)
async def inside(own_redis: RedisServer, request: pytest.FixtureRequest) -> AsyncIterator[Inside]:
    async with elsewhere(request.param, own_redis.url) as inside:
        yield inside


@pytest.fixture(params=SERVERS)
async def impatient(own_redis: RedisServer, request: pytest.FixtureRequest) -> AsyncIterator[Inside]:
    """One that lets go of whoever takes nothing for a second."""
    async with elsewhere(request.param, own_redis.url, stuck_seconds=1.0) as inside:
        yield inside


async def test_viewers_follow_runs(inside: Inside, jobs: Jobs) -> None:
    """A run moves to its end on both transports, every status in order, metadata included."""
    async with watching(inside.url, token(), ALL) as viewers:
        jobs.live("run_1", LIFE[:-1])
        jobs.say("run_1", set={"progress": {"current": 3, "total": 10}})
        jobs.say("run_1", "COMPLETED")
        for viewer in viewers:
            await viewer.model.until_status("run_1", "COMPLETED")
            assert viewer.model.runs["run_1"]["metadata"] == {"progress": {"current": 3, "total": 10}}
            assert_lives(viewer, ["run_1"], LIFE)
    await until(lambda: not any(inside.leftovers().values()), f"the end of {inside.leftovers()}")


@pytest.mark.parametrize("transport", VIEWERS)
async def test_viewers_resume(inside: Inside, jobs: Jobs, transport: str) -> None:
    """A cursor brings what changed since, and nothing else."""
    jobs.create("run_1")
    jobs.create("run_2")
    async with VIEWERS[transport](inside.url, token(), ALL) as before:
        await before.model.until_live()
    jobs.say("run_2", "EXECUTING")
    async with VIEWERS[transport](inside.url, token(), ALL, before.cursor_now) as after:
        await after.model.until_status("run_2", "EXECUTING")
        assert after.model.runs.keys() == {"run_2"}
        assert after.model.replacements == 0


async def test_a_response_ends_with_its_run(inside: Inside, jobs: Jobs) -> None:
    """Server-Sent Events of a run end after its last, and a viewer that returns is told to stop."""
    jobs.create("run_1")
    async with VIEWERS["events"](inside.url, token(), {"run": "run_1"}) as viewer:
        await viewer.model.until_live()
        jobs.say("run_1", "COMPLETED")
        await viewer.until_gone(204)
        assert viewer.model.ends == [("run:run_1", "COMPLETED")]


@pytest.mark.parametrize("transport", WIRES)
async def test_a_slow_viewer(inside: Inside, jobs: Jobs, transport: str) -> None:
    """It is not fed beyond the limit, catches up when it reads again, and saw every status; fast ones feel nothing."""
    plenty.create(jobs)
    async with (
        WebSocketViewer(inside.url, token(), ALL) as fast,
        plenty.reluctant(transport, inside.port, token()) as slow,
    ):
        await slow.read_until(lambda: slow.model.complete.get("all"))
        await fast.model.until_live()
        reading = asyncio.create_task(slow.read_slowly(bytes_per_second=20_000))
        await plenty.tell(jobs, [fast.model], ticks=100)
        reading.cancel()
        assert inside.hub.statistics.fell_behind >= 1
        await slow.read_until(lambda: slow.model.runs["run_1"]["metadata"].get("tick") == 99)
        assert slow.model.statuses["run_2"] == list(LIFE)
        assert slow.model.counts["update"] < 100
        assert fast.model.counts["update"] == 100 + len(plenty.STATUSES)


@pytest.mark.parametrize("transport", WIRES)
async def test_a_viewer_that_reads_nothing(impatient: Inside, jobs: Jobs, transport: str) -> None:
    """When it took nothing for a while the hub lets go of it."""
    plenty.create(jobs)
    async with plenty.reluctant(transport, impatient.port, token()) as viewer:
        await viewer.read_until(lambda: viewer.model.complete.get("all"))
        async with asyncio.timeout(30):
            for tick in itertools.count():
                plenty.tell_tick(jobs, tick)
                await asyncio.sleep(0.01)
                if not impatient.viewers:
                    break


async def test_polls(inside: Inside, jobs: Jobs) -> None:
    """One after the other, held until something happens: every status, in order, and 204 behind the end."""
    jobs.create("run_1")
    async with PollViewer(inside.url, token(), {"run": "run_1"}) as viewer:
        await viewer.model.until_live()
        for status in LIFE[1:]:
            await viewer.model.until(lambda: bool(viewer.held), "a poll that is held")
            jobs.say("run_1", status)
            await viewer.model.until_status("run_1", status)
        assert_lives(viewer, ["run_1"], LIFE)
        viewer.gives_up_on = frozenset({204})
        await viewer.until_gone(204)


async def test_polls_of_the_official_clients(inside: Inside, jobs: Jobs) -> None:
    """A shape and its live polls: held until there is news, answered with it, and given up with their client."""
    jobs.create("run_1", tags=["mine"])
    headers = {"Authorization": f"Bearer {token()}"}
    async with httpx2.AsyncClient(base_url=inside.url, headers=headers, timeout=30, trust_env=False) as client:
        shape = {"tags": "mine", "log": "full"}
        answer = await client.get("/realtime/v1/runs", params=shape | {"offset": "-1"})

        def poll() -> asyncio.Task[httpx2.Response]:
            place = {"handle": answer.headers["electric-handle"], "offset": answer.headers["electric-offset"]}
            wanted = shape | {"cursor": "", "live": "true"} | place
            return asyncio.create_task(client.get("/realtime/v1/runs", params=wanted))

        for status in LIFE[1:]:
            assert answer.status_code == 200
            live = poll()
            await until(lambda: inside.services.counters.viewers["shape"] == 1, "a poll that is held")
            jobs.say("run_1", status)
            answer = await live
            assert status in answer.text
        live = poll()
        await until(lambda: inside.services.counters.viewers["shape"] == 1, "a poll that is held")
        live.cancel()
        await asyncio.gather(live, return_exceptions=True)
    await until(lambda: inside.services.counters.viewers["shape"] == 0, "a place that is free")


async def test_streams(inside: Inside, own_redis: RedisServer) -> None:
    """Chunks of a run, live, on both transports: each once, in order, and the end."""
    with Publisher(own_redis.url) as publisher:
        run = publisher.create("write", id="run_1")
        run.start()
        stream = run.stream("llm")
        stream.write_all(range(50))
        publisher.flush()
        reading = [asyncio.create_task(read(inside, "run_1", "llm")) for read in (_by_socket, _by_events)]
        await until(lambda: inside.viewers == 2, "two readers")
        stream.write_all(range(50, 100))
        run.complete()
        assert await asyncio.gather(*reading) == [list(range(100))] * 2


async def _by_socket(inside: Inside, run: str, key: str) -> list[Any]:
    chunks: list[Any] = []
    headers = {"Authorization": f"Bearer {SECRET}"}
    async with connect(inside.url.replace("http", "ws") + "/v1/ws", additional_headers=headers, proxy=None) as socket:
        await socket.send(json.dumps({"type": "subscribe", "stream": {"run": run, "key": key}}))
        async for text in socket:
            message = json.loads(text)
            if message["type"] == "chunk":
                assert message["index"] == len(chunks)
                chunks.append(message["chunk"])
            if message["type"] == "end":
                break
    return chunks


async def _by_events(inside: Inside, run: str, key: str) -> list[Any]:
    chunks: list[Any] = []
    async with (
        httpx2.AsyncClient(timeout=30, trust_env=False, headers={"Authorization": f"Bearer {SECRET}"}) as client,
        client.stream("GET", f"{inside.url}/v1/runs/{run}/streams/{key}") as response,
    ):
        async for line in response.aiter_lines():
            message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            if message.get("type") == "chunk":
                assert message["index"] == len(chunks)
                chunks.append(message["chunk"])
    return chunks


async def test_requests(inside: Inside) -> None:
    """Plain ones, with bodies and without: what a backend says is what it reads."""
    headers = {"Authorization": f"Bearer {SECRET}"}
    async with httpx2.AsyncClient(base_url=inside.url, headers=headers, timeout=30, trust_env=False) as client:
        made = await client.post("/v1/runs", json={"taskIdentifier": "t", "id": "run_1", "payload": {"a": [1]}})
        assert (made.status_code, made.json()["payload"]) == (201, {"a": [1]})
        said = await client.patch("/v1/runs/run_1", json={"status": "EXECUTING"})
        assert said.json()["outcome"] == "applied"
        read = await client.get("/v1/runs/run_1")
        assert read.json()["status"] == "EXECUTING"
        unchanged = await client.get("/v1/runs/run_1", headers={"If-None-Match": read.headers["etag"]})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        assert (await client.post("/v1/runs", content=b"{")).status_code == 415
        assert (await client.get("/nowhere")).json()["code"] == "not_found"


async def test_refusals(inside: Inside) -> None:
    """A token that is none closes a WebSocket with 4401, and is answered 401 elsewhere."""
    for transport, code in (("websocket", 4401), ("events", 401)):
        async with VIEWERS[transport](inside.url, "nonsense", ALL) as viewer:
            await viewer.until_gone(code)
