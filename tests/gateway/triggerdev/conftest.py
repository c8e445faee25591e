"""A gateway on a real Redis, and somebody who asks it as the official clients do; the feeds alone; who changes runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.transports.origins import Origins
from gateway.triggerdev.shape import poll
from tests.gateway.serving import ServedGateway
from tests.gateway.store.changing import Changing
from tests.gateway.triggerdev.asking import TheirAsking
from tests.gateway.triggerdev.shape.serving import Feeds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer


@pytest.fixture
async def api(redis_server: RedisServer, environment: EnvironmentId) -> AsyncIterator[TheirAsking]:
    """Asks with the secret key. Pages of https://app.example.com may, too."""
    origins = Origins.parse("https://app.example.com")
    async with ServedGateway(redis_server, environment, origins=origins) as gateway, TheirAsking(gateway) as asking:
        yield asking


@pytest.fixture
def changing(redis_server: RedisServer, environment: EnvironmentId) -> Iterator[Changing]:
    with redis_server.client() as client:
        yield Changing(client, environment)


@pytest.fixture
async def served(redis_server: RedisServer, environment: EnvironmentId) -> AsyncIterator[Feeds]:
    async with Feeds(redis_server, environment).serving() as served:
        yield served


@pytest.fixture
def short_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """No poll is held for longer than a moment."""
    monkeypatch.setattr(poll, "HOLD_SECONDS", 0.05)
