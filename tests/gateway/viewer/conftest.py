"""A gateway that viewers talk to, and nothing around that would tell them of another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.viewer import link
from tests.gateway.serving import ServedGateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer


@pytest.fixture
async def gateway(
    redis_server: RedisServer, environment: EnvironmentId, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ServedGateway]:
    monkeypatch.setattr(link, "SILENT_INTERVALS", 40)  # a machine that stands still for a second is no silence
    async with ServedGateway(redis_server, environment, heartbeat_seconds=0.5) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def _no_tokens_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUNCAST_TOKEN", "RUNCAST_SECRET_KEY", "TRIGGER_SECRET_KEY", "RUNCAST_URL"):
        monkeypatch.delenv(name, raising=False)
