"""
Events as HTML, put into a page by the very code of those who read them: Turbo, and htmx 2 with its extension. (htmx 4
has an example of its own: test_frameworks.py. Of Datastar no registry has a script for browsers that knows its present
events.)
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from gateway.transports.origins import Origins
from tests.gateway.serving import ServedGateway
from tests.journeys.browser import chromium_browser, origin
from tests.journeys.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Page, Route

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer

MODULES: Final = Path(__file__).parents[1] / "clients" / "node_modules"
FEED: Final = "tag:customer:7"
#: Milliseconds; for a machine that has much else to do.
PATIENCE: Final = 30_000
# Whoever shares a browser shares its event loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Reader:
    """Somebody who puts events into a page."""

    format: str
    scripts: tuple[Path, ...]
    #: What stands in the page; `{url}` is where the events are.
    markup: str
    #: Whether the page may be at another origin than the gateway.
    anywhere: bool = True


READERS: Final = {
    "turbo": Reader(
        "turbo",
        (MODULES / "turbo-8.0.23/dist/turbo.es2017-umd.js",),
        f'<span data-runcast-connection></span><div data-runcast-feed="{FEED}"></div>'
        '<turbo-stream-source src="{url}"></turbo-stream-source>',
    ),
    "htmx 2": Reader(
        "html",
        (MODULES / "htmx-2.0.11/dist/htmx.js", MODULES / "htmx-sse-2.2.4/sse.js"),
        '<div hx-ext="sse" sse-connect="{url}"><div sse-swap="snapshot"></div>'
        '<div sse-swap="update" hx-swap="none"></div><span sse-swap="heartbeat"></span></div>',
        anywhere=False,  # it would send cookies
    ),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium_browser() as browser:
        yield browser


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest) -> Reader:
    return READERS[request.param]


@contextlib.asynccontextmanager
async def showing(browser: Browser, reader: Reader, gateway: str, token: str) -> AsyncIterator[Page]:
    """A page of *reader*'s, of the sort that the docs show. Nothing goes wrong in it."""
    url = f"{gateway}/v1/events?tag=customer:7&format={reader.format}&token={token}"
    files = {path.name: path for path in reader.scripts}
    scripts = "".join(f'<script src="{name}"></script>' for name in files)
    html = f"<!doctype html><head><title>Runs</title>{scripts}</head><body>{reader.markup.format(url=url)}</body>"
    wrong: list[str] = []

    async def give(route: Route) -> None:
        found = files.get(route.request.url.rpartition("/")[2])
        await (route.fulfill(path=found) if found else route.fulfill(body=html, content_type="text/html"))

    with origin(html) as elsewhere:
        place = elsewhere if reader.anywhere else gateway
        context = await browser.new_context()
        await context.route(f"{place}/my/*.js" if reader.anywhere else f"{place}/my/*", give)
        page = await context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        await page.goto(f"{place}/my/page")
        yield page
        await context.close()
    assert wrong == []


@pytest_asyncio.fixture(loop_scope="module")
async def gateway(redis_server: RedisServer, environment: EnvironmentId) -> AsyncIterator[ServedGateway]:
    options = {"origins": Origins.parse("*"), "heartbeat_seconds": 1.0}
    async with ServedGateway(redis_server, environment, **options) as gateway:
        gateway.publisher.create("export", id="run_1", tags=["customer:7"]).start()
        yield gateway


async def test_cards_move_and_come_once_whatever_breaks(
    browser: Browser, gateway: ServedGateway, reader: Reader
) -> None:
    """
    A run that goes on changes where it is, one that begins is put on top. A connection that is cut comes back by
    itself: with what happened meanwhile, every run once, and final statuses as such.
    """
    publisher, token = gateway.publisher, gateway.token(["read:tags:customer:7"])
    async with (
        Proxy(gateway.settings.port) as network,
        showing(browser, reader, f"http://127.0.0.1:{network.port}", token) as page,
    ):
        items, first = page.locator(".runcast-run"), page.locator("[data-run=run_1]")
        await expect(first).to_have_attribute("data-state", "running", timeout=PATIENCE)
        for percent in (10, 40):
            publisher.run("run_1").progress(percent, 100)
            publisher.flush()
            await expect(first.get_by_role("progressbar")).to_have_attribute("value", f"{percent}", timeout=PATIENCE)
        publisher.create("export", id="run_2", tags=["customer:7"]).start()
        await expect(items.first).to_have_attribute("data-run", "run_2", timeout=PATIENCE)
        await expect(page.locator(".runcast-connection")).to_have_text("live", timeout=PATIENCE)

        await network.refuse()
        publisher.run("run_1").complete()
        publisher.create("export", id="run_3", tags=["customer:7"]).start()
        await network.accept()
        await expect(first).to_have_attribute("data-state", "completed", timeout=PATIENCE)
        await expect(items.first).to_have_attribute("data-run", "run_3", timeout=PATIENCE)
        await expect(first.get_by_role("progressbar")).to_have_count(0)

        publisher.run("run_3").fail("no space left")
        await expect(items.first).to_have_attribute("data-state", "failed", timeout=PATIENCE)
        shown = await items.evaluate_all("(items) => items.map(({id, dataset}) => `${id} ${dataset.state}`)")
        assert sorted(shown) == ["run-run_1 completed", "run-run_2 running", "run-run_3 failed"]
        assert await page.locator(".runcast-runs").count() == 1


async def test_a_list_of_another_history_takes_the_place_of_the_first(
    browser: Browser, gateway: ServedGateway, redis_server: RedisServer, environment: EnvironmentId, reader: Reader
) -> None:
    """As after a loss of data: what is gone is gone."""
    async with showing(browser, reader, gateway.url, gateway.token(["read:tags:customer:7"])) as page:
        await expect(page.locator(".runcast-run")).to_have_attribute("data-run", "run_1", timeout=PATIENCE)
        await gateway.stop()
        with redis_server.client() as client:
            client.delete(*client.scan_iter(match=f"*{{{environment}}}*"))
        gateway.publisher.create("export", id="run_2", tags=["customer:7"]).start()
        await gateway.start()
        await expect(page.locator(".runcast-run")).to_have_attribute("data-run", "run_2", timeout=PATIENCE)
