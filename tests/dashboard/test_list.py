"""The live list: who may see which runs, as they are now, and filtered as the address says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from gateway.runs import Status
from gateway.web.states import State, state_of
from tests.elements.progress_forms import FORMS
from tests.journeys.gateway_process import SECRET, token

if TYPE_CHECKING:
    from gateway import Publisher
    from tests.dashboard.visitor import Visitor
    from tests.journeys.gateway_process import GatewayProcess

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_a_wrong_key_is_told_so_and_a_right_one_stays_with_the_tab(visitor: Visitor) -> None:
    """It survives a reload, is in no other place than this tab's storage, and signing out forgets it."""
    page = visitor.page
    await page.goto(visitor.url)
    await page.get_by_label("Secret key or token").fill("tr_test_wrong_wrong_wrong_wrong")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).not_to_be_empty()
    await visitor.sign_in(SECRET)
    await page.reload()
    await visitor.is_live()
    kept = "JSON.stringify([{...localStorage}, document.cookie, history.state, location.href])"
    assert SECRET not in await page.evaluate(kept)
    other = await page.context.new_page()
    await other.goto(visitor.url)
    await expect(other.get_by_label("Secret key or token")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_label("Secret key or token")).to_be_visible()
    assert await page.evaluate("sessionStorage.length") == 0


async def test_runs_come_move_and_are_counted(visitor: Visitor, publisher: Publisher) -> None:
    """A run is in the list when it is created, moves as it says, and is counted by the status that it has."""
    await visitor.sign_in(SECRET, "/?tag=moving")
    await expect(visitor.page.get_by_text("No run passes these filters.")).to_be_visible()
    run = publisher.create("shop.export", id="moving_1", tags=["moving"])
    row = visitor.row("moving_1")
    await expect(row).to_contain_text("queued")
    await expect(visitor.page.get_by_role("button", name="1 queued")).to_be_visible()
    run.start()
    run.progress(3, 10, "writing rows")
    await expect(row).to_contain_text("3 of 10 · writing rows")
    await expect(visitor.page.get_by_role("button", name="0 queued")).to_be_visible()
    run.fail("disk full")
    await expect(row).to_contain_text("disk full")
    await expect(visitor.page.get_by_role("button", name="1 failed")).to_be_visible()
    await expect(visitor.page.locator(".ended")).to_contain_text("1 ended in 5 min, 1 failed or stopped")


async def test_a_status_is_of_the_kind_that_badges_and_elements_show(visitor: Visitor, publisher: Publisher) -> None:
    """A run that failed looks failed wherever one looks."""
    kinds = {State.RUNNING: "working", State.COMPLETED: "good", State.FAILED: "bad", State.CANCELED: "stopped"}
    for status in Status:
        publisher.create("export", id=f"of_kind_{status}", tags=["kinds"]).status(status)
    publisher.flush()
    await visitor.sign_in(SECRET, "/?tag=kinds")
    for status in Status:
        await expect(visitor.row(f"of_kind_{status}")).to_have_attribute(
            "data-kind", kinds.get(state_of(status), "waiting")
        )


async def test_progress_is_what_the_run_says_in_whatever_form(visitor: Visitor, publisher: Publisher) -> None:
    """As the elements understand it; what is not known is no number."""
    for number, (progress, _) in enumerate(FORMS):
        publisher.create("form", id=f"form_{number}", tags=["forms"], metadata={"progress": progress}).start()
    await visitor.page.set_viewport_size({"width": 1280, "height": 1600})
    await visitor.sign_in(SECRET, "/?tag=forms")
    rows = visitor.page.locator(".row")
    await expect(rows).to_have_count(len(FORMS))
    shown = """(rows) => rows.map((row) => [row.querySelector(".id").textContent,
        "unmeasured" in row.querySelector(".bar").dataset ? null
            : 100 * row.querySelector(".filled").style.getPropertyValue("--part")])"""
    percents = {f"form_{number}": percent for number, (_, percent) in enumerate(FORMS)}
    assert dict(await rows.evaluate_all(shown)) == pytest.approx(percents, abs=0.01)
    for number, words in ((0, "50 %"), (1, "3 of 4"), (3, "5 of 0"), (4, "99 %"), (9, "1.5 · pages")):
        await expect(visitor.row(f"form_{number}").locator(".said")).to_have_text(words)


async def test_filters_are_in_the_address(visitor: Visitor, publisher: Publisher) -> None:
    """Status, task, tag, batch and text narrow the list; back and forward, a reload and a link show the same."""
    for number, (task, tag) in enumerate([("resize", "red"), ("resize", "blue"), ("mail", "red")]):
        run = publisher.create(task, id=f"colour_{number}", tags=["colours", tag], batch=f"colour_batch_{number % 2}")
        if number:
            run.complete()
    page = visitor.page
    await visitor.sign_in(SECRET, "/?tag=colours")
    rows = page.locator(".row")
    await expect(rows).to_have_count(3)
    await page.get_by_role("button", name="2 completed").click()
    await expect(page).to_have_url(f"{visitor.url}/?status=COMPLETED&tag=colours")
    await expect(rows).to_have_count(2)
    await expect(page.locator(".summary")).to_have_text("2 of 3 runs")
    await page.get_by_label("filter by text").fill("mail")
    await expect(rows).to_have_count(1)
    assert "q=mail" in page.url
    await page.go_back()
    await expect(rows).to_have_count(2)
    await expect(page.get_by_label("filter by text")).to_have_value("")
    await page.go_forward()
    await expect(rows).to_have_count(1)
    await page.reload()
    await expect(rows).to_have_count(1)
    await visitor.go("/?tag=colours")
    await page.get_by_label("filter by tag").fill("red")
    await page.get_by_label("filter by tag").press("Enter")
    await expect(rows).to_have_count(2)
    await page.get_by_label("filter by task").fill("resize")
    await page.get_by_label("filter by task").press("Enter")
    await expect(rows).to_have_count(1)
    await page.get_by_role("button", name="remove task resize").click()
    await page.get_by_label("filter by batch").fill("colour_batch_0")
    await page.get_by_label("filter by batch").press("Enter")
    await expect(rows).to_have_count(2)
    assert page.url.endswith("/?tag=colours&tag=red&batch=colour_batch_0")


async def test_a_token_opens_what_it_allows_and_nothing_else(visitor: Visitor, publisher: Publisher) -> None:
    """With a token for a tag the list is that of the tag; a run of another one is refused, and that is said."""
    publisher.create("export", id="mine_1", tags=["mine"])
    publisher.create("export", id="theirs_1", tags=["theirs"])
    await visitor.sign_in(token("read:tags:mine", "read:batch:mine_too"))
    page = visitor.page
    await expect(visitor.row("mine_1")).to_be_visible()
    assert page.url.endswith("/?tag=mine")
    await expect(page.locator(".row")).to_have_count(1)
    await expect(page.get_by_role("link", name="Gateway")).to_have_count(0)
    await page.get_by_role("link", name="batch mine_too").click()
    await expect(page).to_have_url(f"{visitor.url}/?batch=mine_too")
    await expect(page.get_by_role("link", name="batch mine_too")).to_have_attribute("aria-current", "page")
    await expect(page.locator(".row")).to_have_count(0)
    await visitor.go("/runs/theirs_1")
    await expect(page.locator(".connection")).to_have_attribute("data-state", "denied")
    await expect(page.get_by_text("The gateway says no")).to_be_visible()
    await expect(page.get_by_text("theirs_1").first).to_be_visible()
    assert "export" not in await page.locator("main").inner_text()


async def test_a_link_with_a_token_opens_the_run_and_loses_the_token(visitor: Visitor, publisher: Publisher) -> None:
    publisher.create("export", id="linked_1")
    await visitor.go(f"/runs/linked_1#token={token('read:runs:linked_1')}")
    await expect(visitor.page.locator(".status").first).to_have_text("queued")
    assert visitor.page.url == f"{visitor.url}/runs/linked_1"
    await visitor.page.get_by_role("link", name="Runs", exact=True).click()
    await expect(visitor.page).to_have_url(f"{visitor.url}/runs/linked_1")  # there is no list for this token


async def test_all_of_it_by_keyboard(visitor: Visitor, publisher: Publisher) -> None:
    """`/` filters, `j`, `k` and arrows move, Enter opens, Escape comes back to the list as it was."""
    for number in range(3):
        publisher.create("export", id=f"key_{number}", tags=["keys"])
    page = visitor.page
    await visitor.sign_in(SECRET, "/?tag=keys")
    await expect(page.locator(".row")).to_have_count(3)
    await page.keyboard.press("j")
    await expect(visitor.row("key_2")).to_be_focused()
    await page.keyboard.press("j")
    await page.keyboard.press("ArrowDown")
    await expect(visitor.row("key_0")).to_be_focused()
    await page.keyboard.press("k")
    await expect(visitor.row("key_1")).to_be_focused()
    publisher.create("export", id="key_3", tags=["keys"])
    await expect(page.locator(".row")).to_have_count(4)
    await expect(visitor.row("key_1")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(f"{visitor.url}/runs/key_1")
    await page.keyboard.press("Escape")
    await expect(page).to_have_url(f"{visitor.url}/?tag=keys")
    await page.keyboard.press("/")
    await page.keyboard.type("key_0")
    await expect(page.locator(".row")).to_have_count(1)
    await page.keyboard.press("Escape")
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await expect(page).to_have_url(f"{visitor.url}/?tag=keys&q=key_0")


async def test_whoever_has_scrolled_keeps_their_place(visitor: Visitor, publisher: Publisher) -> None:
    """New runs come in above what somebody reads, and say so; a press leads back to them."""
    for number in range(40):
        publisher.create("export", id=f"place_{number:02}", tags=["place"])
    page = visitor.page
    await visitor.sign_in(SECRET, "/?tag=place")
    await expect(page.locator(".summary")).to_have_text("40 runs")
    await page.locator(".window").evaluate("(list) => list.scrollTo(0, 400)")
    await expect(visitor.row("place_25")).to_be_in_viewport()
    before = await visitor.row("place_25").bounding_box()
    for number in range(3):
        publisher.create("export", id=f"place_new_{number}", tags=["place"])
    await expect(page.get_by_role("button", name="3 newer runs")).to_be_visible()
    assert await visitor.row("place_25").bounding_box() == before
    await page.get_by_role("button", name="3 newer runs").click()
    await expect(visitor.row("place_new_2")).to_be_in_viewport()


async def test_what_is_stale_looks_stale(visitor: Visitor, gateway: GatewayProcess, publisher: Publisher) -> None:
    """While the gateway is away the page says from when it is; back again it has what happened meanwhile."""
    run = publisher.create("export", id="away_1", tags=["away"])
    await visitor.sign_in(SECRET, "/?tag=away")
    await expect(visitor.row("away_1")).to_contain_text("queued")
    await visitor.is_live()
    gateway.kill()
    await expect(visitor.page.locator(".banner")).to_contain_text("There is no connection to the gateway")
    await expect(visitor.page.locator(".banner")).to_contain_text("as of")
    run.complete()
    await expect(visitor.row("away_1")).to_contain_text("queued")
    await asyncio.to_thread(gateway.start)
    await visitor.page.evaluate("dispatchEvent(new Event('online'))")
    await expect(visitor.row("away_1")).to_contain_text("completed")
    await visitor.is_live()
    await expect(visitor.page.locator(".banner")).to_be_hidden()
