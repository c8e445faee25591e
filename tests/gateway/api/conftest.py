"""A gateway on a real Redis, and somebody who asks it over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.gateway.api.asking import Asking
from tests.gateway.serving import ServedGateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer


@pytest.fixture
async def api(redis_server: RedisServer, environment: EnvironmentId) -> AsyncIterator[Asking]:
    """Asks with the secret key."""
    async with ServedGateway(redis_server, environment) as gateway, Asking(gateway) as asking:
        yield asking
