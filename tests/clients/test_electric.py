"""Electric's own client, the one inside the SDK and the newest, follows the feeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.clients.node_runner import run_in_node
from tests.clients.stage import set_stage

if TYPE_CHECKING:
    from tests.journeys.gateway_process import GatewayProcess
    from tests.redis_server import RedisServer


@pytest.mark.parametrize("version", ["1.0.14", "1.5.28"])
async def test_electrics_client_follows(version: str, stage_gateway: GatewayProcess, stage_redis: RedisServer) -> None:
    async with set_stage(stage_gateway, stage_redis) as found:
        await run_in_node("electric.test.mjs", found | {"ELECTRIC_CLIENT": version})
