"""A hub on a store in memory, and one on a real server: what most files here look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.feed import canaries, catching_up
from tests.gateway.feed.memory import MemoryGateway, MemoryStore
from tests.gateway.feed.world import World, running_world
from tests.redis_server import binaries, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.change(tags=["a"])
    store.published.clear()
    return store


@pytest.fixture
async def gateway(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MemoryGateway]:
    monkeypatch.setattr(catching_up, "_FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(catching_up, "_LONGEST_PAUSE_SECONDS", 0.002)
    gateway = MemoryGateway(store)
    yield gateway
    store.at, store.away = None, False
    await gateway.close()


@pytest.fixture
async def world(each_redis_server: RedisServer, environment: EnvironmentId) -> AsyncIterator[World]:
    async with running_world(each_redis_server, environment) as world:
        yield world


@pytest.fixture(params=binaries())
def own_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that a test may stop."""
    with running_server(tmp_path_factory.mktemp("server"), binaries()[request.param]) as server:
        yield server


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Canaries so often that a test need not wait for them."""
    monkeypatch.setattr(canaries, "CANARY_SECONDS", 0.05)


@pytest.fixture
def quick(often: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """And soon missed."""
    monkeypatch.setattr(canaries, "DEAF_SECONDS", 0.5)
    monkeypatch.setattr(canaries, "_LOOK_SECONDS", 0.02)
