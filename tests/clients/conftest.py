"""A stage for the clients: one gateway that the tests share, and gateways of their own for those that stop them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.journeys.gateway_process import GatewayProcess, running_gateway
from tests.redis_server import RedisServer, binaries, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def stage_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_server(tmp_path_factory.mktemp("redis"), binaries()["valkey"], "--appendonly", "no") as server:
        yield server


@pytest.fixture(scope="session")
def stage_gateway(stage_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Do not stop it."""
    with running_gateway(tmp_path_factory.mktemp("gateway") / "log", stage_redis.url) as gateway:
        yield gateway


@pytest.fixture
def own_gateway(own_redis: RedisServer, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway for this test alone, over `own_redis`."""
    with running_gateway(tmp_path / "log", own_redis.url) as gateway:
        yield gateway
