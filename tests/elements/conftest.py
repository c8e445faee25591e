"""One gateway and one browser for all files here; the pages are of another origin, and as strict as pages can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from playwright.async_api import expect

from gateway import Publisher
from tests.elements.host_page import HostPage, strict_origin
from tests.journeys.browser import chromium_browser
from tests.journeys.gateway_process import GatewayProcess, running_gateway
from tests.journeys.model import PATIENCE_SECONDS
from tests.redis_server import binaries, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from playwright.async_api import Browser

    from tests.redis_server import RedisServer

# Playwright's own patience is too short for a machine that has much to do.
expect.set_options(timeout=PATIENCE_SECONDS * 1000)


@pytest.fixture(scope="package")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    directory = tmp_path_factory.mktemp("elements-redis")
    with running_server(directory, binaries()["valkey"], "--appendonly", "no") as server:
        yield server


@pytest.fixture(scope="package")
def gateway(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    log = tmp_path_factory.mktemp("elements") / "log"
    with running_gateway(log, redis.url, RUNCAST_ALLOWED_ORIGINS="*") as gateway:
        yield gateway


@pytest.fixture(scope="package")
def origin(gateway: GatewayProcess) -> Iterator[str]:
    """A site that is not the gateway's, whose policy allows the gateway's script and connections, and nothing else."""
    with strict_origin(gateway.url) as url:
        yield url


@pytest.fixture
def publisher(redis: RedisServer) -> Iterator[Publisher]:
    with Publisher(redis.url) as publisher:
        yield publisher


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser() -> AsyncIterator[Browser]:
    async with chromium_browser() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="package")
async def host(browser: Browser, origin: str) -> AsyncIterator[HostPage]:
    """A page with the elements, and nothing in it. Afterwards its policy was not broken, and nothing went wrong."""
    context = await browser.new_context(viewport={"width": 900, "height": 900}, reduced_motion="reduce")
    host = HostPage(await context.new_page(), origin)
    await host.open()
    yield host
    await context.close()
    assert host.complaints == []
