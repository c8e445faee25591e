"""One gateway for all files here, served in three ways at once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import uvloop

from tests.ways import Entrance, Way, entrances

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from tests.redis_server import RedisServer


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], uvloop.Loop]]:
    """What the server runs on in production."""
    return {"uvloop": uvloop.new_event_loop}


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def _entrances(_servers: dict[str, RedisServer]) -> AsyncIterator[dict[Way, Entrance]]:
    async with entrances(_servers["valkey"], Way.OURS, Way.ASGI, Way.PLAIN) as found:
        yield found


@pytest.fixture(params=[Way.OURS, Way.ASGI], ids=lambda way: way.value)
def way(request: pytest.FixtureRequest) -> Way:
    """A file that holds of others asks for more of them."""
    found: Way = request.param
    return found


@pytest_asyncio.fixture(loop_scope="package")
async def entrance(
    _entrances: dict[Way, Entrance], way: Way, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Entrance]:
    """Afterwards all who came have gone, and none of our servers has called anything an error."""
    found = _entrances[way]
    yield found
    await found.leave()
    if way is not Way.PLAIN:
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
