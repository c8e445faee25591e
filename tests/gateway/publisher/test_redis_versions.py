"""The publisher lives in other people's workers, with the redis-py that they have: every major version we allow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.gateway.store.changing import Changing
    from tests.redis_server import RedisServer

ROOT = Path(__file__).parents[3]

SCRIPT = """
import asyncio, sys
import redis
from gateway import AsyncPublisher, Publisher

url, environment, major, directory = sys.argv[1:]
assert redis.__version__.split(".")[0] == major, redis.__version__
assert redis.__file__.startswith(directory), redis.__file__

with Publisher(url, environment=environment) as publisher:
    with publisher.running("t", id="sync", metadata={"list": [1, 2]}) as run:
        run.progress(1, 2)
        run.progress(2, 2)
        run.remove("list", 1)
        run.parent.increment("n")
    assert publisher.statistics.dropped == {}, publisher.statistics

async def main():
    async with AsyncPublisher(url, environment=environment) as publisher:
        async with publisher.running("t", id="async", metadata={"list": [1, 2]}) as run:
            await run.progress(1, 2)
            await run.progress(2, 2)
            await run.remove("list", 1)
            await run.parent.increment("n")
        assert publisher.statistics.dropped == {}, publisher.statistics

asyncio.run(main())
"""

#: Where nothing listens, a publisher must keep what it is told, whatever this version calls its errors.
AWAY = """
import logging, sys
logging.disable()
from gateway import Outcome, Publisher

publisher = Publisher("redis://127.0.0.1:1/0")
assert publisher.create("t").complete() is Outcome.DEFERRED
assert publisher.statistics.unsent == 1
publisher.close(0)
"""


@pytest.fixture(scope="session", params=["5", "6", "7", "8"])
def redis_py(request: pytest.FixtureRequest) -> tuple[str, Path]:
    """A major version and the directory that it is in; installed on first use."""
    major: str = request.param
    directory = ROOT / ".cache" / "redis-py" / major
    if not (directory / "redis" / "__init__.py").exists():
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"),
                *("--target", str(directory), f"redis>={major},<{int(major) + 1}"),
            ],
            check=True,
        )
    return major, directory


def run_with(directory: Path, script: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": f"{directory}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_publishing_works(redis_py: tuple[str, Path], redis_server: RedisServer, stored: Changing) -> None:
    """Statuses, progress, operations with and without reading; synchronous and asynchronous."""
    major, directory = redis_py
    run_with(directory, SCRIPT, redis_server.url, stored.environment, major, str(directory))
    for run in ("sync", "async"):
        assert stored.row(run)["status"] == "COMPLETED_SUCCESSFULLY"
        assert stored.metadata(run) == {"progress": {"current": 2, "total": 2, "percent": 100}, "list": [2], "n": 1}


def test_redis_may_be_away(redis_py: tuple[str, Path]) -> None:
    run_with(redis_py[1], AWAY)
