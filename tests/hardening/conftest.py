"""A gateway that all tests of a file share, so that what one of them breaks the others notice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio
import uvloop

from gateway.transports.origins import Origins
from tests.hardening.gateways import Gateway, running_gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    import pytest

    from tests.redis_server import RedisServer

ORIGINS = "https://app.example.com, https://*.example.org"


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], uvloop.Loop]]:
    """What the server runs on in production."""
    return {"uvloop": uvloop.new_event_loop}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_gateway(_servers: dict[str, RedisServer], request: pytest.FixtureRequest) -> AsyncIterator[Gateway]:
    name = request.module.__name__.rpartition(".")[2]
    async with running_gateway(
        _servers["valkey"], name, origins=Origins.parse(ORIGINS), feeds_per_connection=20
    ) as gateway:
        yield gateway


@pytest_asyncio.fixture(loop_scope="module")
async def gateway(shared_gateway: Gateway) -> AsyncIterator[Gateway]:
    """Afterwards it must be as it was, and must have said nothing that it must not say."""
    yield shared_gateway
    await shared_gateway.check()
