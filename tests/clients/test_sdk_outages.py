"""The Trigger.dev SDK while connections are cut, the gateway restarts, and Redis does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.clients.node_runner import run_in_node
from tests.clients.stage import set_stage

if TYPE_CHECKING:
    from tests.journeys.gateway_process import GatewayProcess
    from tests.redis_server import RedisServer


@pytest.mark.parametrize("version", ["4.5.0", "4.8.3"])
async def test_the_sdk_bears_outages(version: str, own_gateway: GatewayProcess, own_redis: RedisServer) -> None:
    async with set_stage(own_gateway, own_redis) as found:
        await run_in_node("outages.test.mjs", found | {"TRIGGER_SDK": version})
