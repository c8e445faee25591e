"""One gateway for all files here, served in three ways at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from tests.entering import entrance, pytest_asyncio_loop_factories, way
from tests.ways import Entrance, Way, entrances

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.redis_server import RedisServer

__all__ = ["entrance", "pytest_asyncio_loop_factories", "way"]


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def _entrances(_servers: dict[str, RedisServer]) -> AsyncIterator[dict[Way, Entrance]]:
    async with entrances(_servers["valkey"], Way.OURS, Way.ASGI, Way.PLAIN) as found:
        yield found
