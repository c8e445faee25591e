"""The Trigger.dev SDK behind a proxy, while the gateways are replaced one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.clients.node_runner import run_in_node
from tests.clients.stage import set_stage
from tests.journeys.front import FRONTS
from tests.journeys.gateway_process import running_gateway

if TYPE_CHECKING:
    from pathlib import Path

    from tests.redis_server import RedisServer

#: As the sample has it: longer than a poll is held.
IDLE_SECONDS = 60
DRAIN = "3s"


@pytest.mark.parametrize(("front", "version"), [("nginx", "4.8.3"), ("caddy", "4.5.0")])
async def test_the_sdk_bears_deployments(front: str, version: str, own_redis: RedisServer, tmp_path: Path) -> None:
    """Successive polls land on any of three processes, of which two have one port, and each of them is replaced."""
    with (
        running_gateway(tmp_path / "first", own_redis.url, RUNCAST_DRAIN=DRAIN, RUNCAST_WORKERS="2") as first,
        running_gateway(tmp_path / "second", own_redis.url, RUNCAST_DRAIN=DRAIN) as second,
        FRONTS[front](tmp_path, first.port, second.port, idle_seconds=IDLE_SECONDS) as proxy,
    ):
        async with set_stage(first, own_redis, second, url=proxy.url) as found:
            await run_in_node("deployments.test.mjs", found | {"TRIGGER_SDK": version})
