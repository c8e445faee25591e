"""A gateway that viewers talk to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.gateway.serving import ServedGateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer


@pytest.fixture
async def gateway(redis_server: RedisServer, environment: EnvironmentId) -> AsyncIterator[ServedGateway]:
    async with ServedGateway(redis_server, environment, heartbeat_seconds=0.5) as gateway:
        yield gateway
