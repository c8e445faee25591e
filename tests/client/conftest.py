"""A gateway, a browser and pages that follow runs with the client, for all tests of a file."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from gateway.publisher import Publisher
from gateway.transports.origins import Origins
from tests.client.pages import Pages
from tests.journeys.browser import chromium_browser, origin
from tests.journeys.in_process import Inside, serving, until
from tests.journeys.jobs import Jobs
from tests.redis_server import RedisServer, binaries, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from playwright.async_api import Browser

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_server(tmp_path_factory.mktemp("redis"), binaries()["valkey"], "--appendonly", "no") as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(server: RedisServer) -> AsyncIterator[Inside]:
    """It beats every second, and lets pages of every origin in."""
    async with serving(server.url, heartbeat_seconds=1.0, origins=Origins.parse("*")) as gateway:
        yield gateway


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quiet(server: RedisServer) -> AsyncIterator[Inside]:
    """Another one, which beats once an hour: what comes is what happened, and nobody misses a heartbeat."""
    async with serving(server.url, heartbeat_seconds=3600.0, origins=Origins.parse("*")) as gateway:
        yield gateway


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The origin of the pages: another one than the gateway's."""
    with origin() as url:
        yield url


@pytest_asyncio.fixture(loop_scope="module")
async def pages(browser: Browser, site: str, gateway: Inside) -> AsyncIterator[Pages]:
    """Tabs of one visitor, which follow runs of the gateway. None of them may have had an error, nor leave anything."""
    context = await browser.new_context()
    pages = Pages(context, site, gateway.url)
    yield pages
    await context.close()
    assert pages.errors == []
    await until(lambda: not gateway.viewers, "the end of all connections")


@pytest.fixture
def jobs(server: RedisServer) -> Iterator[Jobs]:
    with Jobs(server.url) as jobs:
        yield jobs


@pytest.fixture
def publisher(server: RedisServer) -> Iterator[Publisher]:
    with Publisher(server.url) as publisher:
        yield publisher


@pytest.fixture
def run() -> str:
    """The id of a run that nobody else has."""
    return f"run_{next(_numbers)}"
