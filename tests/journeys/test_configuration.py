"""What a gateway is configured with: flags, environment and runcast.toml at its start, keys and origins at any time."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import httpx2
import psutil
import pytest

from auth import EnvironmentKeys, mint
from tests.journeys.gateway_process import SECRET, GatewayProcess, running_gateway
from tests.journeys.in_process import until
from tests.journeys.jobs import Jobs
from tests.journeys.model import LATE_SECONDS
from tests.journeys.viewers import VIEWERS, Viewer
from tests.redis_server import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.redis_server import RedisServer

NEW_SECRET = "tr_test_the_secret_that_comes_after_it_02"
OTHER_SECRET = "tr_test_the_secret_of_another_tenant_0002"
APP, ADMIN = "https://app.example.com", "https://admin.example.com"
#: A viewer whose key is gone: told that its time is over.
ENDINGS = {"websocket": 4410, "events": 200}


def signed_by(secret: str, environment: str = "default") -> str:
    return mint(["read:runs"], EnvironmentKeys.of(environment, secret))


class File:
    """The runcast.toml of a gateway, which a person edits."""

    def __init__(self, path: Path, redis_url: str) -> None:
        self.path = path
        self._redis_url = redis_url

    def write(self, secret: str, *origins: str, more: str = "") -> None:
        self.path.write_text(
            f"redis_url = {json.dumps(self._redis_url)}\nallowed_origins = {json.dumps(origins)}\n{more}\n"
            f"[environments.default]\nsecret_key = {json.dumps(secret)}\n"
            f"[environments.other]\nsecret_key = {json.dumps(OTHER_SECRET)}\n"
        )


@pytest.fixture
def file(tmp_path: Path, own_redis: RedisServer) -> File:
    return File(tmp_path / "gateway.toml", own_redis.url)


def from_file(file: File, **settings: str) -> dict[str, str]:
    """The environment of a gateway that has everything from *file*."""
    return {"RUNCAST_SECRET_KEY": "", "RUNCAST_CONFIG": str(file.path)} | settings


async def allowed_origin(gateway: GatewayProcess, origin: str) -> str | None:
    """What a browser reads before it lets a page of *origin* see our answer."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{gateway.url}/livez", headers={"origin": origin})
        return answer.headers.get("access-control-allow-origin")


async def admits(gateway: GatewayProcess, token: str, **headers: str) -> bool:
    """Whether it lets that token in."""
    headers["authorization"] = f"Bearer {token}"
    async with (
        httpx2.AsyncClient(trust_env=False) as client,
        client.stream("GET", f"{gateway.url}/v1/events?run=run_1", headers=headers) as answer,
    ):
        return answer.status_code == 200


async def reloaded(gateway: GatewayProcess, processes: int, said: str) -> None:
    """Ask for a reload, and wait until each process has logged *said* once more."""
    times = gateway.log.read_text().count(said) + processes
    gateway.signal(signal.SIGHUP)
    await until(lambda: gateway.log.read_text().count(said) >= times, f"{said!r} in the log")


@pytest.mark.parametrize("workers", [1, 2])
async def test_keys_and_origins_change_while_viewers_are_there(
    own_redis: RedisServer, jobs: Jobs, file: File, tmp_path: Path, workers: int
) -> None:
    """
    A new key and a new origin are welcome; whoever came with the key that is gone is sent away within a second.

    The others feel nothing. A file that is broken changes nothing, and the log says what is wrong with it.
    """
    jobs.create("run_1")
    file.write(SECRET, APP)
    old, new, others = signed_by(SECRET), signed_by(NEW_SECRET), signed_by(OTHER_SECRET, "other")
    settings = from_file(file, RUNCAST_WORKERS=str(workers))
    with (
        running_gateway(tmp_path / "log", own_redis.url, **settings) as gateway,
        Jobs(own_redis.url, "other") as theirs,
    ):
        theirs.create("run_1")
        async with AsyncExitStack() as watching:

            async def viewer(kind: str, token: str) -> Viewer:
                viewer = await watching.enter_async_context(VIEWERS[kind](gateway, token, {"run": "run_1"}))
                viewer.gives_up_on = frozenset({ENDINGS[kind]})
                await viewer.model.until_live()
                return viewer

            leaving = [(kind, await viewer(kind, token)) for token in (old, SECRET) for kind in VIEWERS]
            staying = [await viewer(kind, others) for kind in VIEWERS]
            assert not await admits(gateway, new)
            assert await allowed_origin(gateway, APP) == APP
            assert await allowed_origin(gateway, ADMIN) is None

            file.write(NEW_SECRET, ADMIN)
            async with asyncio.timeout(5 + LATE_SECONDS):
                await reloaded(gateway, workers, "are reloaded, for default, other")
            async with asyncio.timeout(1 + LATE_SECONDS):
                for kind, gone in leaving:
                    await gone.until_gone(ENDINGS[kind])
            for _, gone in leaving:
                assert gone.model.said[-1]["code"] == "token_expired"
            assert await admits(gateway, new, origin=ADMIN)
            assert not await admits(gateway, old)
            assert not await admits(gateway, SECRET)
            assert not await admits(gateway, new, origin=APP)
            assert await allowed_origin(gateway, ADMIN) == ADMIN
            assert await allowed_origin(gateway, APP) is None

            file.write(SECRET, APP, more='retention = "soon"')
            await reloaded(gateway, workers, "nothing is reloaded: retention in ")
            assert await admits(gateway, new, origin=ADMIN)
            assert not await admits(gateway, old)

            theirs.say("run_1", "DEQUEUED")
            for stayed in staying:
                await stayed.model.until_status("run_1", "DEQUEUED")
                assert stayed.connections == 1


@pytest.mark.parametrize("broken", [False, True], ids=["good file", "broken file"])
async def test_a_worker_that_replaces_another_has_the_keys_of_now(
    own_redis: RedisServer, jobs: Jobs, file: File, tmp_path: Path, broken: bool
) -> None:
    """
    Not those of the start, which somebody took away since; the address of the start it has all the same.

    With a file that can't be read any more it has what was read last.
    """
    jobs.create("run_1")
    file.write(SECRET)
    settings = from_file(file, RUNCAST_WORKERS="2")
    with running_gateway(tmp_path / "log", own_redis.url, **settings) as gateway:
        file.write(NEW_SECRET, more="port = 1\n")
        await reloaded(gateway, 2, "are reloaded")
        family = psutil.Process(gateway.pid).children()
        if broken:
            file.path.write_text("what is this?")
        workers = [child for child in family if "spawn_main" in " ".join(child.cmdline())]
        assert len(workers) == 2
        for worker in workers:
            worker.kill()

        async with asyncio.timeout(20):
            while True:
                try:
                    if await admits(gateway, signed_by(NEW_SECRET)):
                        break
                except httpx2.TransportError:
                    await asyncio.sleep(0.05)
        assert not await admits(gateway, signed_by(SECRET))


async def test_flags_win_over_the_environment_and_that_over_the_file(
    own_redis: RedisServer, jobs: Jobs, file: File, tmp_path: Path
) -> None:
    """In every worker process: what it says to viewers is what was decided at the start."""
    jobs.create("run_1")
    taken = free_port()
    file.write(SECRET, more=f'heartbeat = "7s"\nport = {taken}\nworkers = 1\n')
    settings = from_file(file, RUNCAST_WORKERS="1", RUNCAST_LOG_FORMAT="json")
    arguments = ("--workers", "2", "--log-format", "text")
    with running_gateway(tmp_path / "log", own_redis.url, *arguments, **settings) as gateway:
        async with VIEWERS["websocket"](gateway, signed_by(SECRET), {"run": "run_1"}) as viewer:
            await viewer.model.until_live()
            (welcome,) = (message for message in viewer.model.said if message["type"] == "welcome")
        log = gateway.log.read_text()
    assert welcome["heartbeatSeconds"] == 7
    assert f"serving at http://127.0.0.1:{gateway.port}, 2 worker(s)" in log
    assert '{"' not in log
