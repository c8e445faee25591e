"""What the journeys share: servers of their own, which a test may stop and kill."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.journeys.jobs import Jobs
from tests.redis_server import RedisServer, binaries, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server for this test alone, which has on disk what it said it has."""
    directory = tmp_path / "redis"
    directory.mkdir()
    with running_server(directory, binaries()["valkey"]) as server:
        yield server


@pytest.fixture
def jobs(own_redis: RedisServer) -> Iterator[Jobs]:
    """The jobs that publish to `own_redis`."""
    with Jobs(own_redis.url) as jobs:
        yield jobs
