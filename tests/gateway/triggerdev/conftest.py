"""A gateway on a real Redis, and somebody who asks it as the official clients do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.transports.origins import Origins
from tests.gateway.serving import ServedGateway
from tests.gateway.triggerdev.asking import TheirAsking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer


@pytest.fixture
async def api(redis_server: RedisServer, environment: EnvironmentId) -> AsyncIterator[TheirAsking]:
    """Asks with the secret key. Pages of https://app.example.com may, too."""
    origins = Origins.parse("https://app.example.com")
    async with ServedGateway(redis_server, environment, origins=origins) as gateway, TheirAsking(gateway) as asking:
        yield asking
