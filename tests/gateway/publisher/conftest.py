"""A publisher on a real server, a run of its, and what came of them; and a server of a test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.publisher import Publisher
from tests.gateway.store.changing import Changing
from tests.redis_server import RedisServer, binaries, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.feeds import EnvironmentId
    from gateway.publisher import Run


@pytest.fixture
def publisher(redis_server: RedisServer, environment: EnvironmentId) -> Iterator[Publisher]:
    with Publisher(redis_server.url, environment=environment) as publisher:
        yield publisher


@pytest.fixture
def stored(redis_server: RedisServer, environment: EnvironmentId) -> Iterator[Changing]:
    """What came of it: rows, metadata, events."""
    with redis_server.client() as client:
        yield Changing(client, environment)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """One whose connections are counted, and that may be stopped."""
    with running_server(tmp_path, binaries()["valkey"]) as server:
        yield server


@pytest.fixture
def run(publisher: Publisher) -> Run:
    """One that has begun."""
    run = publisher.create("approve", id="r")
    run.start()
    return run
