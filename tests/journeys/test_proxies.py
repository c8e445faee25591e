"""Behind nginx and Caddy, as the sample files of deploy/ set them up: viewers notice nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import signal
import socket
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import httpx2
import pytest

from tests.journeys.front import FRONTS, IDLE_SECONDS, Front
from tests.journeys.gateway_process import SECRET, GatewayProcess, running_gateway, token
from tests.journeys.jobs import LIFE, Jobs
from tests.journeys.viewers import EventsViewer, Viewer, WebSocketViewer, assert_lives, watching
from tests.redis_server import RedisServer, binaries, free_port, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


HEARTBEAT_SECONDS = 1
SETTINGS = {"RUNCAST_HEARTBEAT": f"{HEARTBEAT_SECONDS}s", "RUNCAST_DRAIN": "1s"}
#: Of a token with many scopes, or a cookie that a page sends along.
LONG = 30_000
#: Together more than a body may have where it is taken as a whole.
LARGE_LINE, LARGE_LINES = 900_000, 20
AS_BACKEND = {"Authorization": f"Bearer {SECRET}"}
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_server(tmp_path_factory.mktemp("redis"), binaries()["valkey"]) as server:
        yield server


@pytest.fixture(scope="module")
def jobs(redis: RedisServer) -> Iterator[Jobs]:
    with Jobs(redis.url) as jobs:
        yield jobs


@pytest.fixture(scope="module")
def gateway(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One for all tests that don't stop it."""
    log = tmp_path_factory.mktemp("gateway") / "log"
    with running_gateway(log, redis.url, **SETTINGS) as gateway:
        yield gateway


@pytest.fixture(params=FRONTS, scope="module")
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def front(kind: str, gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A proxy before one gateway."""
    with FRONTS[kind](tmp_path_factory.mktemp("front"), gateway.port) as front:
        yield front


@pytest.fixture
def run(jobs: Jobs) -> str:
    """A new one."""
    name = f"run_{next(_numbers)}"
    jobs.create(name)
    return name


async def test_news_come_at_once_and_silence_is_not_cut(front: Front, jobs: Jobs, run: str) -> None:
    """
    Each change arrives before the next is made, on WebSocket and SSE: nothing is held back until there is more.

    With nothing to tell, heartbeats keep the stream open for longer than the proxy's idle limit.
    """
    async with watching(front.url, token(), {"run": run}) as viewers:
        for status in LIFE[1:-1]:
            jobs.say(run, status)
            for viewer in viewers:
                await viewer.model.until_status(run, status)
        beats = int(IDLE_SECONDS / HEARTBEAT_SECONDS) + 2
        await asyncio.gather(*(until_heartbeats(viewer, beats) for viewer in viewers))
        jobs.say(run, LIFE[-1])
        for viewer in viewers:
            await viewer.model.until_status(run, LIFE[-1])
            assert viewer.connections == 1
            assert_lives(viewer, [run], LIFE)


async def until_heartbeats(viewer: Viewer, number: int) -> None:
    counts = viewer.model.counts
    seen = counts.get("heartbeat", 0) + number
    await viewer.model.until(lambda: counts.get("heartbeat", 0) >= seen, f"{number} more heartbeats")


async def test_long_requests_fit(front: Front) -> None:
    """A query with a hundred feeds and a token in it, and a header of thirty thousand bytes."""
    feeds = [("run", f"run_{number:03}_{'x' * 200}") for number in range(100)]
    async with httpx2.AsyncClient(trust_env=False, timeout=10) as client:
        query = urlencode([*feeds, ("token", token())])
        headers = {"Cookie": f"page={'x' * LONG}"}
        async with client.stream("GET", f"{front.url}/v1/events?{query}", headers=headers) as response:
            assert response.status_code == 200
            async for line in response.aiter_lines():
                if line == "event: welcome":
                    break


async def test_an_upload_may_be_silent_for_long_and_large(front: Front, run: str) -> None:
    """
    Lines are read while the upload goes on, which is silent for longer than other requests may be, and larger.

    On the way of the official clients, and on our own.
    """
    ways = (f"/v1/runs/{run}/streams/ours", f"/realtime/v1/streams/{run}/self/theirs")
    assert await asyncio.gather(*(upload(front, way, f"/realtime/v1/streams/{run}") for way in ways)) == [200, 200]


async def upload(front: Front, way: str, reading: str) -> int:
    arrived = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b'"first"\n'
        await arrived.wait()
        await asyncio.sleep(IDLE_SECONDS + 1)  # the proxy's limit, which nothing tells of
        for _ in range(LARGE_LINES):
            yield json.dumps("x" * LARGE_LINE).encode() + b"\n"

    async with httpx2.AsyncClient(trust_env=False, timeout=30, headers=AS_BACKEND, base_url=front.url) as client:
        uploading = asyncio.create_task(
            client.post(way, content=body(), headers={"Content-Type": "application/x-ndjson"})
        )
        async with client.stream("GET", f"{reading}/{way.rpartition('/')[2]}") as stream:
            async for line in stream.aiter_lines():
                if "first" in line:
                    break
        arrived.set()
        return (await uploading).status_code


async def test_the_gateway_hears_that_a_client_has_left(front: Front, gateway: GatewayProcess, run: str) -> None:
    """Or its poll would be held for nobody, and count as one of those that its token may have."""
    async with httpx2.AsyncClient(trust_env=False, timeout=10, headers=AS_BACKEND) as client:
        feed = f"{front.url}/realtime/v1/runs/{run}"
        begun = (await client.get(feed, params={"offset": "-1"})).headers
        place = {"handle": begun["electric-handle"], "live": "true", "offset": begun["electric-offset"]}
        poll = asyncio.create_task(client.get(feed, params={"cursor": "", **place}))
        await until_polls(client, gateway, 1)
        poll.cancel()
        await until_polls(client, gateway, 0)


async def until_polls(client: httpx2.AsyncClient, gateway: GatewayProcess, number: int) -> None:
    async with asyncio.timeout(10):
        while True:
            metrics = (await client.get(f"{gateway.url}/metrics")).text
            found = re.search(r'^runcast_viewers{transport="shape"} ([0-9]+)', metrics, re.MULTILINE)
            if int(found[1] if found else 0) == number:
                return
            await asyncio.sleep(0.02)


async def test_a_reload_of_the_proxy_tells_no_lies(kind: str, front: Front, jobs: Jobs, run: str) -> None:
    """Who is moved to what is new of it comes back with a cursor, and misses nothing. Caddy leaves responses alone."""
    async with watching(front.url, token(), {"run": run}) as viewers:
        front.reload()
        jobs.say(run, "DEQUEUED")
        for viewer in viewers:
            if kind == "nginx" or isinstance(viewer, WebSocketViewer):
                await viewer.until_back()
        for status in LIFE[2:]:
            jobs.say(run, status)
        for viewer in viewers:
            await viewer.model.until_status(run, LIFE[-1])
            assert viewer.model.replacements == 1
            assert_lives(viewer, [run], LIFE)


async def test_several_gateways_behind_one_proxy(
    kind: str, gateway: GatewayProcess, redis: RedisServer, jobs: Jobs, run: str, tmp_path: Path
) -> None:
    """Viewers of the one that is stopped go on at the other; nobody is refused meanwhile."""
    with (
        running_gateway(tmp_path / "other", redis.url, **SETTINGS) as other,
        FRONTS[kind](tmp_path, gateway.port, other.port) as front,
    ):
        async with contextlib.AsyncExitStack() as watching:
            viewers = [
                await watching.enter_async_context(kind(front.url, token(), {"run": run}))
                for kind in (WebSocketViewer, EventsViewer) * 3
            ]
            for viewer in viewers:
                await viewer.model.until_live()
            jobs.say(run, "DEQUEUED")
            other.signal(signal.SIGTERM)
            ended = asyncio.create_task(other.ended())
            async with httpx2.AsyncClient(trust_env=False, timeout=10) as client:
                asked = 0
                while not ended.done() or not asked:
                    assert (await client.get(f"{front.url}/livez")).status_code == 200
                    asked += 1
            assert await ended == 0
            for status in LIFE[2:]:
                jobs.say(run, status)
            for viewer in viewers:
                await viewer.model.until_status(run, LIFE[-1])
                assert viewer.model.replacements == 1
                assert_lives(viewer, [run], LIFE)
            assert {viewer.connections for viewer in viewers} == {1, 2}


async def test_what_clients_say_of_their_address_is_dropped(kind: str, tmp_path: Path) -> None:
    """Whoever is behind the proxy hears what the proxy saw, and not what a client made up."""
    said, port = list[bytes](), free_port()
    with _listener(port, said), FRONTS[kind](tmp_path, port) as front:
        made_up = dict.fromkeys(("X-Forwarded-For", "X-Forwarded-Proto"), "203.0.113.7")
        async with httpx2.AsyncClient(trust_env=False, timeout=10) as client:
            assert (await client.get(f"{front.url}/any", headers=made_up)).status_code == 200
    (request,) = [text for text in said if b"/any" in text]
    assert b"203.0.113.7" not in request
    assert b"x-forwarded-for: 127.0.0.1" in request.lower()
    assert b"x-forwarded-proto: http\r\n" in request.lower()


@contextlib.contextmanager
def _listener(port: int, said: list[bytes]) -> Iterator[None]:
    """Writes down what it is asked, and answers."""

    def serve() -> None:
        while True:
            connection, _ = listening.accept()
            with connection:
                text = connection.recv(65536)
                if not text:
                    return
                said.append(text)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with socket.create_server(("127.0.0.1", port)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield
        socket.create_connection(("127.0.0.1", port)).close()
        thread.join(5)


async def test_pages_of_the_gateway_itself_are_let_in(front: Front) -> None:
    """On whatever port the proxy listens: the dashboard is at the origin that it asks. Pages from elsewhere are not."""
    elsewhere = f"http://127.0.0.1:{free_port()}"
    async with httpx2.AsyncClient(trust_env=False, timeout=10, base_url=front.url, headers=AS_BACKEND) as client:
        answers = [await client.get("/v1/runs", headers={"Origin": page}) for page in (front.url, elsewhere)]
        policy = (await client.get("/")).headers["content-security-policy"]
    assert [answer.status_code for answer in answers] == [200, 403]
    assert f" ws://127.0.0.1:{front.port} " in policy


async def test_metrics_are_not_for_the_world(front: Front) -> None:
    """They say how many come, and which limits they hit."""
    async with httpx2.AsyncClient(trust_env=False, timeout=10) as client:
        assert (await client.get(f"{front.url}/metrics")).status_code == 404
        assert (await client.get(f"{front.url}/readyz")).status_code == 200


async def test_no_log_has_a_token_in_it(kind: str, redis: RedisServer, tmp_path: Path) -> None:
    """Neither of a request that went well nor of one that went wrong; a bare EventSource has its token in the query."""
    credential = token()
    with (
        running_gateway(tmp_path / "log", redis.url, **SETTINGS) as gateway,
        FRONTS[kind](tmp_path, gateway.port) as front,
    ):
        async with httpx2.AsyncClient(trust_env=False, timeout=10) as client:
            for status in (400, 502):
                answer = await client.get(f"{front.url}/v1/events?token={credential}")
                assert answer.status_code == status
                gateway.stop()
    logs = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert credential not in "".join(logs)
    assert "/v1/events" in "".join(logs)
