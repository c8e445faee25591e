"""`runcast serve`: it starts with what it needs, else says what to do; and it serves with several processes."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.journeys.gateway_process import SECRET, GatewayProcess, clean_environ, running_gateway, token
from tests.journeys.jobs import LIFE, Jobs
from tests.journeys.viewers import EventsViewer, Viewer, WebSocketViewer, assert_lives
from tests.redis_server import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.redis_server import RedisServer

PASSWORD = "pa55word-of-redis"
SHORT = "too-short-a-key"


def serve(**settings: str) -> subprocess.CompletedProcess[str]:
    """What `runcast serve` says and how it ends, when it does not start."""
    command = [sys.executable, "-m", "gateway.cli", "serve"]
    return subprocess.run(
        command, env=clean_environ(**settings), capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "RUNCAST_SECRET_KEY"),
        ({"RUNCAST_SECRET_KEY": SHORT}, "RUNCAST_SECRET_KEY in the environment"),
        ({"RUNCAST_SECRET_KEY": SECRET}, "RUNCAST_REDIS_URL"),
        ({"RUNCAST_SECRET_KEY": SECRET, "RUNCAST_REDIS_URL": "redis://:{password}@127.0.0.1:{port}/0"}, "--embedded"),
        ({"RUNCAST_SECRET_KEY": SECRET, "RUNCAST_REDIS_URL": "redis://127.0.0.1:{port}?password={password}"}, "Redis"),
        ({"RUNCAST_SECRET_KEY": SECRET, "RUNCAST_REDIS_URL": "redis://:{password}/x@127.0.0.1:{port}/0"}, "Redis"),
        ({"RUNCAST_SECRET_KEY": SECRET, "RUNCAST_REDIS_URL": "{password}@127.0.0.1:{port}"}, "RUNCAST_REDIS_URL"),
        (
            {"RUNCAST_SECRET_KEY": SECRET, "RUNCAST_REDIS_URL": "redis://h:{port}/0", "RUNCAST_PORT": "x"},
            "RUNCAST_PORT",
        ),
    ],
    ids=["no key", "short key", "no Redis", "unreachable", "query", "slash", "no scheme", "bad port"],
)
def test_it_refuses_to_start(settings: dict[str, str], told: str) -> None:
    """With what it can't run with it ends at once, names the setting, and prints no secret or password."""
    filled = {
        name: value.replace("{port}", str(free_port())).replace("{password}", PASSWORD)
        for name, value in settings.items()
    }
    refusal = serve(**filled)
    assert refusal.returncode == 2
    assert told in refusal.stderr
    assert refusal.stderr.startswith("runcast: error: ")
    assert "Traceback" not in refusal.stderr
    for secret in (SECRET, SHORT, PASSWORD):
        assert secret not in refusal.stderr + refusal.stdout


def test_it_refuses_everything_that_is_wrong_at_once(tmp_path: Path) -> None:
    """A line for each, with the place where it is written; what only looks like a setting is a warning."""
    (tmp_path / "settings.toml").write_text(f'prot = 1\n[environments.a]\nsecret_key = "{SHORT}"\n')
    refusal = serve(RUNCAST_CONFIG=str(tmp_path / "settings.toml"), RUNCAST_PORT="x", RUNCAST_WORKERS="0")
    assert refusal.returncode == 2
    lines = refusal.stderr.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("runcast: error: ") for line in lines)
    for told in ("prot in ", "RUNCAST_PORT in the environment", "environment 'a'", "no Redis is named"):
        assert told in refusal.stderr
    assert SHORT not in refusal.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_refuses_a_taken_port(own_redis: RedisServer, workers: str) -> None:
    """It says which address, and what to do about it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        settings = {"RUNCAST_SECRET_KEY": SECRET, "RUNCAST_REDIS_URL": own_redis.url}
        refusal = serve(**settings, RUNCAST_PORT=port, RUNCAST_WORKERS=workers)
    assert refusal.returncode == 2
    assert f"127.0.0.1:{port}" in refusal.stderr
    assert "RUNCAST_PORT" in refusal.stderr
    assert "serving at" not in refusal.stderr
    assert "Traceback" not in refusal.stderr


async def test_several_workers(own_redis: RedisServer, jobs: Jobs, tmp_path: Path) -> None:
    """Viewers of each process see the change, and go on when one of them is killed; SIGTERM ends all with 0."""
    jobs.create("run_1")
    with running_gateway(tmp_path / "log", own_redis.url, RUNCAST_WORKERS="2") as gateway:
        async with AsyncExitStack() as watching:
            viewers: list[Viewer] = []
            async with asyncio.timeout(30):
                while len(viewers) < 40 or len(workers_with_viewers(gateway)) < 2:  # the second may take its time
                    kind = (WebSocketViewer, EventsViewer)[len(viewers) % 2]
                    viewer = await watching.enter_async_context(kind(gateway, token(), {"run": "run_1"}))
                    await viewer.model.until_live()
                    viewers.append(viewer)
            serving = workers_with_viewers(gateway)
            jobs.say("run_1", "DEQUEUED")
            for viewer in viewers:
                await viewer.model.until_status("run_1", "DEQUEUED")
            serving[0].kill()
            for status in LIFE[2:]:
                jobs.say("run_1", status)
            for viewer in viewers:
                await viewer.model.until_status("run_1", "COMPLETED")
                assert viewer.model.replacements == 1
                assert_lives(viewer, ["run_1"], LIFE)
        family = psutil.Process(gateway.pid).children(recursive=True)
        assert await asyncio.to_thread(gateway.stop) == 0
        _, alive = psutil.wait_procs(family, timeout=5)
        assert not alive


def workers_with_viewers(gateway: GatewayProcess) -> list[psutil.Process]:
    """Those that hold some of the connections."""
    held = {}
    for child in psutil.Process(gateway.pid).children(recursive=True):
        connections = [c for c in child.net_connections("tcp") if c.status == psutil.CONN_ESTABLISHED]
        if any(c.laddr.port == gateway.port for c in connections):
            held[child.pid] = child
    return list(held.values())
