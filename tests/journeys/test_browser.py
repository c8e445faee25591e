"""A page of another origin, in a real browser, follows a run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.journeys.browser import chromium_browser, origin
from tests.journeys.gateway_process import GatewayProcess, running_gateway, token
from tests.journeys.jobs import LIFE, Jobs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from playwright.async_api import Browser, Page

    from tests.redis_server import RedisServer

# Whoever shares a browser shares its event loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")

VIEWERS = Path(__file__).with_name("viewers.js").read_text()
TRANSPORTS = ("websocket", "events")


@pytest.fixture
def allowed() -> Iterator[str]:
    """An origin that is in the allow-list."""
    with origin() as url:
        yield url


@pytest.fixture
def gateway(own_redis: RedisServer, tmp_path: Path, allowed: str) -> Iterator[GatewayProcess]:
    with running_gateway(tmp_path / "log", own_redis.url, RUNCAST_ALLOWED_ORIGINS=allowed) as gateway:
        yield gateway


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium_browser() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    context = await browser.new_context()
    yield await context.new_page()
    await context.close()


async def follow(page: Page, address: str, gateway: GatewayProcess) -> None:
    """Open a page of *address*, and let it follow run_1 on both transports."""
    await page.goto(address)
    await page.evaluate(f"() => {{ {VIEWERS}; Object.assign(window, {{ followByWebSocket, followByEvents }}); }}")
    for name in ("followByWebSocket", "followByEvents"):
        await page.evaluate(f"([url, token]) => {name}(url, token, 'run_1')", [gateway.url, token()])


async def seen(page: Page, transport: str, condition: str) -> dict[str, Any]:
    """What the page was told, as soon as *condition* holds of it."""
    await page.wait_for_function(f"(name) => {{ const seen = window.seen[name]; return {condition}; }}", arg=transport)
    told: dict[str, Any] = await page.evaluate("(name) => ({ ...window.seen[name], take: null })", transport)
    return told


async def test_a_run_moves_to_its_end(page: Page, gateway: GatewayProcess, jobs: Jobs, allowed: str) -> None:
    """WebSocket with the token as a subprotocol, and a bare EventSource with the token in its URL."""
    jobs.create("run_1")
    await follow(page, allowed, gateway)
    for transport in TRANSPORTS:
        await seen(page, transport, "seen.snapshots === 1")
    for status in LIFE[1:]:
        jobs.say("run_1", status)
    for transport in TRANSPORTS:
        told = await seen(page, transport, "seen.ended")
        assert told["statuses"] == list(LIFE)
        assert told["ended"] == "COMPLETED"
    # The response is over, the browser comes back once, is answered 204, and stops: 2 is CLOSED.
    told = await seen(page, "events", "seen.endings.includes(2)")
    assert told["snapshots"] == 1
    assert (await seen(page, "websocket", "true"))["protocol"] == "runcast.v1"


async def test_a_page_survives_a_killed_gateway(page: Page, gateway: GatewayProcess, jobs: Jobs, allowed: str) -> None:
    """The browser's own reconnecting and our cursors: no status is missed, and nothing comes anew."""
    jobs.create("run_1")
    await follow(page, allowed, gateway)
    for transport in TRANSPORTS:
        await seen(page, transport, "seen.snapshots === 1")
    jobs.say("run_1", "DEQUEUED")
    for transport in TRANSPORTS:
        await seen(page, transport, "seen.statuses.includes('DEQUEUED')")
    gateway.kill()
    jobs.say("run_1", "EXECUTING")
    await asyncio.to_thread(gateway.start)
    for transport in TRANSPORTS:
        await seen(page, transport, "seen.statuses.includes('EXECUTING')")
    jobs.say("run_1", "COMPLETED")
    for transport in TRANSPORTS:
        told = await seen(page, transport, "seen.ended")
        assert told["statuses"] == list(LIFE)
        assert told["replaces"] == 1
        assert told["opened"] > 1


async def test_a_page_of_another_origin_gets_nothing(page: Page, gateway: GatewayProcess, jobs: Jobs) -> None:
    """A page whose origin is not in the list sees no run, even with a good token, and is told why where it can be."""
    jobs.create("run_1")
    with origin() as stranger:
        await follow(page, stranger, gateway)
        told = await seen(page, "websocket", "seen.endings.length")
        assert told["endings"] == [4403]
        assert told["errors"] == ["origin_not_allowed"]
        told = await seen(page, "events", "seen.endings.length")
        assert told["endings"] == [2]
        for transport in TRANSPORTS:
            told = await seen(page, transport, "true")
            assert (told["snapshots"], told["statuses"]) == (0, [])
        assert await fetch(page, f"{gateway.url}/v1/events?run=run_1", token()) is None


async def test_errors_can_be_read_by_the_page(
    page: Page, gateway: GatewayProcess, own_redis: RedisServer, jobs: Jobs, allowed: str
) -> None:
    """CORS headers are on answers of every status; a page that may ask learns what is wrong."""
    jobs.live("run_1")
    await page.goto(allowed)
    events = f"{gateway.url}/v1/events?run=run_1"
    answer = await fetch(page, events, token())
    assert answer is not None
    assert answer["status"] == 200
    assert "event: end" in answer["text"]
    assert_problem(await fetch(page, events, "nonsense"), 401, "token_invalid")
    assert_problem(await fetch(page, events, token("read:runs:run_2")), 403, "not_allowed")
    assert_problem(await fetch(page, f"{gateway.url}/nowhere", token()), 404, "not_found")
    assert_problem(await fetch(page, f"{events}&cursor=x", token()), 400, "bad_cursor")
    own_redis.stop()
    # Whether it carries the tag must be looked up, and can't be.
    assert_problem(await fetch(page, events, token("read:tags:a")), 503, "unavailable")


async def fetch(page: Page, url: str, credential: str) -> dict[str, Any] | None:
    """What a script of the page gets, or None when the browser does not let it see the answer."""
    script = """async ([url, token]) => {
        try {
            const answer = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
            return { status: answer.status, text: await answer.text() };
        } catch (error) {
            return null;
        }
    }"""
    found: dict[str, Any] | None = await page.evaluate(script, [url, credential])
    return found


def assert_problem(answer: dict[str, Any] | None, status: int, code: str) -> None:
    assert answer is not None
    assert answer["status"] == status
    assert f'"code":"{code}"' in answer["text"]
