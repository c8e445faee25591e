"""What is shown when the connection breaks: never as if it were true, and since when."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from gateway import Publisher
from tests.elements.host_page import HostPage, strict_origin
from tests.journeys.gateway_process import running_gateway, token

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Browser, Locator

    from tests.redis_server import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_stale_and_offline_look_so_until_they_are_over(
    browser: Browser, own_redis: RedisServer, tmp_path: Path
) -> None:
    """
    Redis goes, then the gateway, then both come back: in each state each variant says what it is, nothing moves, and
    axe finds nothing.
    """
    settings = {"RUNCAST_ALLOWED_ORIGINS": "*", "RUNCAST_HEARTBEAT_SECONDS": "1"}
    with (
        running_gateway(tmp_path / "log", own_redis.url, **settings) as gateway,
        strict_origin(gateway.url) as origin,
        Publisher(own_redis.url) as publisher,
    ):
        run = publisher.create("export", id="c_1", batch="c_batch")
        run.start()
        publisher.flush()
        host = HostPage(await browser.new_page(), origin)
        await host.open()
        await host.put("run-status", run="c_1", token=token())
        for variant in ("badge", "steps", "log", "compact"):
            await host.put("run-status", run="c_1", token=token(), variant=variant)
        await host.put("run-list", batch="c_batch", token=token())
        status, rows = host.page.locator("run-status:not([variant])"), host.page.locator("run-list")
        notes = host.page.locator(":is(run-status, run-list) .note")
        bar = status.locator("[role=progressbar]")
        await expect(bar).to_have_attribute("data-open", "moves")
        await expect(host.page.locator("run-status .status")).to_have_text(["Running"] * 5)
        await expect(rows.locator(".rows .status")).to_have_text("Running")

        own_redis.stop()
        await expect(notes).to_contain_text(["May be out of date · as of"] * 6)
        await expect(bar).to_have_attribute("data-open", "rests")
        assert await bar.evaluate("(bar) => bar.getAnimations().length") == 0

        assert await host.axe_in_looks("stale", "light", "dark") == []

        gateway.kill()
        await expect(notes).to_contain_text(["Not connected · as of"] * 6)
        await expect(status.locator(".status")).to_have_text("Running")
        assert await color(status, ".status") == await color(status, ".time")
        assert await host.axe_in_looks("offline", "light", "dark", "narrow") == []

        own_redis.start()
        await asyncio.to_thread(gateway.start)
        await host.page.evaluate("() => dispatchEvent(new Event('online'))")  # so that nobody waits any longer
        run.complete()
        publisher.flush()
        await expect(status.locator(".status")).to_have_text("Completed")
        await expect(rows.locator(".rows .status")).to_have_text("Completed")
        await expect(notes.filter(visible=True)).to_have_count(0)
        assert await color(status, ".status") != await color(status, ".time")
        await host.page.close()
        assert host.complaints == []


async def color(element: Locator, part: str) -> str:
    found: str = await element.locator(part).evaluate("(part) => getComputedStyle(part).color")
    return found


async def test_nothing_moves_for_who_wants_no_motion(host: HostPage, publisher: Publisher) -> None:
    publisher.create("export", id="c_2").start()
    publisher.flush()
    await host.put("run-status", run="c_2", token=token())
    bar = host.page.locator("run-status [role=progressbar]")
    await expect(bar).to_have_attribute("data-open", "moves")
    assert await bar.evaluate("(bar) => bar.getAnimations().length") == 0
    await host.page.emulate_media(reduced_motion="no-preference")
    assert await bar.evaluate("(bar) => bar.getAnimations().length") == 1
