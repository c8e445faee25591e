"""Fixtures for tests that hold for each way in: a package imports them, and says in `_entrances` which ways it has."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import uvloop

from tests.ways import OUR_SERVER, Entrance, Way

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], uvloop.Loop]]:
    """What the server runs on in production."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(params=OUR_SERVER, ids=lambda way: way.value)
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
