"""One gateway and one browser for all files here; each test has pages, and runs, of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from gateway import Publisher
from tests.dashboard.visitor import Visitor
from tests.journeys.browser import chromium_browser
from tests.journeys.gateway_process import GatewayProcess, running_gateway
from tests.redis_server import binaries, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from playwright.async_api import Browser

    from tests.redis_server import RedisServer


@pytest.fixture(scope="package")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    directory = tmp_path_factory.mktemp("dashboard-redis")
    with running_server(directory, binaries()["valkey"], "--appendonly", "no") as server:
        yield server


@pytest.fixture(scope="package")
def gateway(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with running_gateway(tmp_path_factory.mktemp("dashboard") / "log", redis.url) as gateway:
        yield gateway


@pytest.fixture
def publisher(redis: RedisServer) -> Iterator[Publisher]:
    with Publisher(redis.url) as publisher:
        yield publisher


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser() -> AsyncIterator[Browser]:
    async with chromium_browser() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="package")
async def visitor(browser: Browser, gateway: GatewayProcess) -> AsyncIterator[Visitor]:
    """Afterwards no page has broken its own policy, said that anything is wrong, or asked anybody but the gateway."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    visitor = Visitor(await context.new_page(), gateway.url)
    yield visitor
    await context.close()
    assert visitor.complaints == []
    assert visitor.elsewhere == []
