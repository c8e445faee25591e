"""What is not the truth any more never looks as if it were, and what is refused says so and leads on."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx2
import pytest
from playwright.async_api import expect

from tests.dashboard.visitor import LOOKS, Look, Visitor, picture
from tests.journeys.gateway_process import SECRET, token

if TYPE_CHECKING:
    from gateway import Publisher
    from tests.journeys.gateway_process import GatewayProcess
    from tests.redis_server import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="package")

PAGES: Final = ("/", "/runs/state_1", "/batches/state", "/gateway")


async def test_stale_and_offline_pages_say_so_and_are_accessible(
    visitor: Visitor, gateway: GatewayProcess, redis: RedisServer, publisher: Publisher
) -> None:
    """Every page, on a desk and in a hand: since when, without its colours; axe finds nothing. Then all go on."""
    run = publisher.create("export", id="state_1", tags=["state"], batch="state")
    run.start()
    run.progress(3, 10, "writing rows")
    publisher.create("export", id="state_2", tags=["state"], batch="state").fail("disk full")
    pages = [visitor, *[Visitor(await visitor.page.context.new_page(), visitor.url) for _ in PAGES[1:]]]
    for each, path in zip(pages, PAGES, strict=True):
        await each.page.emulate_media(reduced_motion="reduce")
        await each.sign_in(SECRET, path)
        await each.is_live()
    with redis.halted():
        # Each page looks otherwise when it is stale than when it is offline: in all looks together.
        for each, look in zip(pages[:3], LOOKS, strict=False):
            await looks_old(each, "stale", "The gateway has lost sight of the data", look)
        await expect(pages[3].card("Redis")).to_contain_text("Changes are heard✕ no")
    for each in pages:
        await each.is_live()
        await expect(each.page.locator(".banner")).to_be_hidden()
    gateway.kill()
    try:
        for each, look in zip(pages, reversed(LOOKS), strict=True):
            await looks_old(each, "offline", "There is no connection to the gateway", look)
    finally:
        await asyncio.to_thread(gateway.start)
    for each in pages:
        await each.page.evaluate("dispatchEvent(new Event('online'))")
        await each.is_live()


async def looks_old(visitor: Visitor, state: str, why: str, look: Look) -> None:
    page = visitor.page
    size, scheme = look
    await page.bring_to_front()
    await page.set_viewport_size(size)
    await page.emulate_media(color_scheme=scheme)
    await expect(page.locator(".connection")).to_have_attribute("data-state", state)
    await expect(page.locator(".banner")).to_contain_text(f"{why}: what you see is as of ")
    await expect(page.locator("main")).to_have_css("filter", "grayscale(1)")
    await picture(page, f"dashboard-{state}{urlsplit(page.url).path.replace('/', '-')}-{size['width']}-{scheme}")
    assert await visitor.violations() == []
    assert not await visitor.overflows(), size


async def test_before_anything_is_known_nothing_is_claimed(visitor: Visitor) -> None:
    """On a network on which nothing comes through there is no number, and nothing looks like one."""
    page = visitor.page
    await visitor.sign_in(SECRET)
    await page.route(re.compile(rf"^{re.escape(visitor.url)}/v1/"), lambda route: None)
    await page.route_web_socket("**/v1/ws", lambda socket: None)
    await page.reload()
    await expect(page.locator(".connection")).to_have_attribute("data-state", "connecting")
    await expect(page.locator(".summary")).to_have_text("Loading…")
    numbers = await page.locator(".count .number").all_inner_texts()
    assert not [text for text in numbers if any(letter.isalnum() for letter in text)]
    await expect(page.locator(".ended")).to_be_empty()
    await expect(page.locator(".empty")).to_be_hidden()
    await page.unroute_all(behavior="ignoreErrors")


async def test_a_token_that_is_revoked_ends_what_is_watched(visitor: Visitor, publisher: Publisher) -> None:
    """What was seen stays, as of then; the page asks for nothing more. With another token it goes on where it was."""
    publisher.create("export", id="revoked_1", tags=["revoked"])
    mine = token("read:tags:revoked")
    page = visitor.page
    await visitor.sign_in(mine, "/?tag=revoked&status=QUEUED")
    await expect(visitor.row("revoked_1")).to_be_visible()
    await visitor.is_live()
    await asyncio.to_thread(revoke, visitor.url, mine)
    await expect(page.locator(".connection")).to_have_attribute("data-state", "denied")
    await expect(page.locator(".banner")).to_contain_text("The gateway says no: ")
    await expect(page.locator(".banner")).to_contain_text("What you see is as of ")
    assert await visitor.violations() == []
    publisher.create("export", id="revoked_2", tags=["revoked"])
    await page.get_by_role("button", name="Sign in again").click()
    await page.get_by_label("Secret key or token").fill(SECRET)
    await page.get_by_role("button", name="Sign in").click()
    await expect(visitor.row("revoked_2")).to_be_visible()
    assert page.url == f"{visitor.url}/?tag=revoked&status=QUEUED"


def revoke(url: str, revoked: str) -> None:
    headers = {"authorization": f"Bearer {SECRET}"}
    answer = httpx2.post(f"{url}/v1/tokens/revoke", json={"token": revoked}, headers=headers, trust_env=False)
    assert answer.status_code == 200, answer.text


async def test_a_token_that_expires_while_it_is_watched_says_so(visitor: Visitor, publisher: Publisher) -> None:
    publisher.create("export", id="expiring_1")
    await visitor.go(f"/runs/expiring_1#token={token('read:runs:expiring_1', expires='3s')}")
    await expect(visitor.page.locator(".banner")).to_contain_text("the token expired")
    await expect(visitor.page.locator(".connection")).to_have_attribute("data-state", "denied")


async def test_a_key_that_was_rotated_is_told_so_after_a_reload(visitor: Visitor) -> None:
    """On every page, instead of one that waits for ever; a number is on none of them."""
    page = visitor.page
    await visitor.sign_in(SECRET)
    await page.evaluate("sessionStorage.setItem('runcast.credential', 'tr_test_a_key_of_yesterday')")
    for path in PAGES:
        await visitor.go(path)
        await expect(page.locator(".banner")).to_contain_text("The gateway says no: ")
        await expect(page.get_by_role("button", name="Sign in again")).to_be_visible()
        await expect(page.get_by_text("Loading…")).to_be_hidden()


async def test_a_token_for_any_one_tag_is_asked_which(visitor: Visitor, publisher: Publisher) -> None:
    """It opens no list of all runs, which nobody asks for then; and the list of a tag that is named."""
    publisher.create("export", id="any_1", tags=["any"])
    page = visitor.page
    await visitor.sign_in(token("read:tags"))
    await expect(page.get_by_text("Your token opens any one of: tags. Name one below.")).to_be_visible()
    await expect(page.locator(".banner")).to_be_hidden()
    await expect(page.get_by_text("Loading…")).to_be_hidden()
    await page.get_by_label("filter by tag").fill("any")
    await page.get_by_label("filter by tag").press("Enter")
    await expect(visitor.row("any_1")).to_be_visible()
    await visitor.is_live()
