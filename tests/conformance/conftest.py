"""What the tests of a file share: one gateway, one Redis, one publisher."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from tests.conformance.world import World, running_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from tests.redis_server import RedisServer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(
    _servers: dict[str, RedisServer], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """The file may ask for settings of the gateway: `SETTINGS`, variables and their values."""
    name = request.module.__name__.rpartition(".")[2].replace("_", "-")
    settings: dict[str, str] = getattr(request.module, "SETTINGS", {})
    async with running_world(_servers["valkey"], tmp_path_factory.mktemp(name), name, **settings) as world:
        yield world
