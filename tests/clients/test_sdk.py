"""The Trigger.dev SDK, the oldest and the newest that we promise: everything it does, in a few processes of Node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.clients.node_runner import run_in_node
from tests.clients.stage import set_stage

if TYPE_CHECKING:
    from tests.journeys.gateway_process import GatewayProcess
    from tests.redis_server import RedisServer

VERSIONS = ["4.5.0", "4.8.3"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("what", ["tokens", "subscriptions", "runs", "task_metadata", "task_streams", "load"])
async def test_the_sdk_works_unmodified(
    what: str, version: str, stage_gateway: GatewayProcess, stage_redis: RedisServer
) -> None:
    async with set_stage(stage_gateway, stage_redis) as found:
        await run_in_node(f"{what}.test.mjs", found | {"TRIGGER_SDK": version})
