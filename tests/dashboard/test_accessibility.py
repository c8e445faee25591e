"""Every page, in light and dark, on a desk and in a hand: axe finds nothing, and nothing is wider than the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from playwright.async_api import expect

from tests.dashboard.visitor import DESK, LOOKS, PHONE, picture
from tests.journeys.gateway_process import SECRET

if TYPE_CHECKING:
    from gateway import Publisher
    from tests.dashboard.visitor import Visitor

pytestmark = pytest.mark.asyncio(loop_scope="package")

#: Name → address, and what is there when the page is.
PAGES: Final = {
    "list": ("/", ".row"),
    "nothing": ("/?status=FAILED&tag=nobody&q=nothing", ".empty"),
    "run": ("/runs/every_1", "[data-stream=log] .line"),
    "failed": ("/runs/every_2", ".error pre"),
    "nowhere": ("/runs/nowhere", ".empty"),
    "batch": ("/batches/every_batch", ".row"),
    "gateway": ("/gateway", ".cards dd"),
}


def publish(publisher: Publisher) -> None:
    """Runs of every kind."""
    run = publisher.create(
        "export", id="every_1", payload={"a": [1, None, True]}, tags=["customer:7", "x" * 60], batch="every_batch"
    )
    run.start(context={"queue": {"name": "slow"}})
    run.progress(1, 3, "a" * 100)
    run.set("deep", {"number": 1, "text": "t" * 300, "nothing": None})
    run.log("hello", rows=1)
    run.stream("tokens").write("Hello ")
    publisher.create("export", id="every_2", batch="every_batch").fail(ValueError("e" * 200))
    for number, status in enumerate(["COMPLETED", "CANCELED", "CRASHED", "EXPIRED", "TIMED_OUT", "WAITING"]):
        publisher.create("other", id=f"every_{number + 3}", batch="every_batch").status(status)
    publisher.flush()


async def good_in_all_looks(visitor: Visitor, name: str) -> None:
    """The page as it is: axe finds nothing, and nothing is too wide. Of each there is a picture for who wants it."""
    page = visitor.page
    for size, scheme in LOOKS:
        await page.set_viewport_size(size)
        await page.emulate_media(color_scheme=scheme)
        await picture(page, f"dashboard-{name}-{size['width']}-{scheme}")
        assert (name, size, scheme, await visitor.violations()) == (name, size, scheme, [])
        assert not await visitor.overflows(), (name, size)


async def test_every_page_is_accessible_and_fits(visitor: Visitor, publisher: Publisher) -> None:
    publish(publisher)
    page = visitor.page
    await page.emulate_media(reduced_motion="reduce")
    await page.goto(visitor.url)
    await expect(page.get_by_label("Secret key or token")).to_be_visible()
    await good_in_all_looks(visitor, "sign-in")
    await visitor.sign_in(SECRET)
    for name, (path, there) in PAGES.items():
        await visitor.go(path)
        await expect(page.locator(there).first).to_be_visible()
        await expect(page.locator(".connection")).not_to_have_attribute("data-state", "connecting")
        await good_in_all_looks(visitor, name)


async def test_the_help_and_a_minted_token_are_accessible(visitor: Visitor, publisher: Publisher) -> None:
    publisher.create("export", id="help_1")
    await visitor.sign_in(SECRET, "/runs/help_1")
    await visitor.page.get_by_role("button", name="Mint a token").click()
    await expect(visitor.card("Let somebody else see it").locator("dd code")).to_have_count(4)
    await visitor.is_live()
    await good_in_all_looks(visitor, "minted")
    await visitor.page.set_viewport_size(DESK)  # the button is for those who have keys
    await visitor.page.keyboard.press("Tab")
    await visitor.page.get_by_role("button", name="Keys").click()
    await expect(visitor.page.get_by_role("dialog")).to_be_visible()
    await good_in_all_looks(visitor, "help")


async def test_the_list_on_a_phone(visitor: Visitor, publisher: Publisher) -> None:
    """One column: what a row says is there, and a tap opens the run."""
    publisher.create("export", id="phone_1", tags=["phone"]).progress(3, 10)
    await visitor.page.set_viewport_size(PHONE)
    await visitor.sign_in(SECRET, "/?tag=phone")
    row = visitor.row("phone_1")
    for part in (".task", ".id", ".status", ".age"):
        await expect(row.locator(part)).to_be_visible()
    await row.click()
    await expect(visitor.page.get_by_role("heading", level=1)).to_contain_text("export queued")
