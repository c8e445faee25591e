"""The pages of a run, of a batch, and of the gateway."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from tests.dashboard.visitor import Visitor
from tests.journeys.gateway_process import SECRET, token

if TYPE_CHECKING:
    from gateway import Publisher, Run

pytestmark = pytest.mark.asyncio(loop_scope="package")


def everything(publisher: Publisher) -> Run:
    """A run that has something for each part of its page, and is at work."""
    publisher.create("shop.nightly", id="parent_1")
    publisher.create("shop.export", id="sibling_1", tags=["customer:7"])
    run = publisher.create(
        "shop.export",
        id="whole/1",
        payload={"customer": 7, "formats": ["csv", "pdf"], "options": {}},
        tags=["customer:7"],
        batch="batch_of_one",
        parent="parent_1",
        metadata={"file": "report.csv", "steps": {"collect": "done", "write": "open"}},
    )
    run.start(context={"queue": {"name": "slow"}, "machine": {"name": "worker-3"}})
    run.progress(3, 10, "writing rows")
    run.log("begun", rows=10)
    run.stream("tokens").write("Hello ")
    run.stream("tokens").write("<b>world</b>")
    publisher.flush()
    return run


async def test_the_page_of_a_run_has_everything(visitor: Visitor, publisher: Publisher) -> None:
    run = everything(publisher)
    page = visitor.page
    await visitor.sign_in(SECRET, "/runs/whole%2F1")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("export running")
    await expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "30")
    await expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuetext", "3 of 10 · writing rows")
    for card, text in [
        ("Metadata", "report.csv"),
        ("Payload", "pdf"),
        ("Context", "worker-3"),
        ("Facts", "shop.export"),
        ("Watch in a terminal", f"runcast watch whole/1 --url {visitor.url}"),
    ]:
        await expect(visitor.card(card)).to_contain_text(text)
    await expect(visitor.card("Related runs").get_by_role("link", name="parent_1")).to_be_visible()
    await expect(visitor.card("Related runs").get_by_role("link", name="batch_of_one")).to_be_visible()
    await expect(visitor.card("Related runs").get_by_role("link", name="sibling_1")).to_be_visible()
    words = page.locator(".timeline .word")
    assert await words.all_inner_texts() == ["queued", "running"]
    run.fail(ValueError("no space left"))
    await expect(words).to_have_text(["queued", "running", "failed"])
    await expect(visitor.card("Error")).to_contain_text("ValueError: no space left")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("failed")


async def test_an_error_has_its_stack_and_output_is_shown(visitor: Visitor, publisher: Publisher) -> None:
    with pytest.raises(ZeroDivisionError), publisher.running("divide", id="stack_1"):
        _ = 1 / 0
    publisher.create("divide", id="good_1").complete({"quotient": 7, "rest": [1, 2, None, True]})
    await visitor.sign_in(SECRET, "/runs/stack_1")
    await expect(visitor.card("Error").locator("pre")).to_contain_text("1 / 0")
    await visitor.go("/runs/good_1")
    await expect(visitor.card("Output")).to_contain_text("quotient")
    await expect(visitor.card("Output")).to_contain_text("null")


async def test_streams_come_as_they_are_written(visitor: Visitor, publisher: Publisher) -> None:
    """A log as lines, tokens as a text; whatever is in them is text and never markup."""
    run = publisher.create("answer", id="streams_1")
    run.start()
    await visitor.sign_in(SECRET, "/runs/streams_1")
    run.log("asked", question="why?")
    publisher.flush()
    log = visitor.page.locator("[data-stream=log]")
    await expect(log.locator(".line")).to_have_count(1)
    await expect(log).to_contain_text("asked")
    tokens = visitor.page.locator("[data-stream=tokens] .chunks")
    for word in ["Because ", "<b>it</b> ", "is."]:
        run.stream("tokens").write(word)
        publisher.flush()
        await expect(tokens).to_contain_text(word.strip())
    await expect(tokens).to_have_text("Because <b>it</b> is.")
    await visitor.page.locator("[data-stream=tokens]").get_by_role("button", name="json").click()
    await expect(tokens.locator(".line")).to_have_count(3)
    await expect(visitor.page.locator("[data-stream=tokens] h3")).to_contain_text("3 chunks · open")
    run.complete()
    await expect(visitor.page.locator("[data-stream=tokens] h3")).not_to_contain_text("open")


async def test_what_changes_in_the_metadata_is_marked(visitor: Visitor, publisher: Publisher) -> None:
    run = publisher.create("export", id="marked_1", metadata={"same": 1, "steps": {"one": "done", "two": "open"}})
    await visitor.sign_in(SECRET, "/runs/marked_1")
    card = visitor.card("Metadata")
    await expect(card).to_contain_text("open")
    marked: asyncio.Queue[str] = asyncio.Queue()
    await visitor.page.expose_function("tellMarked", marked.put_nowait)
    await visitor.page.evaluate(
        """() => new MutationObserver((all) => all.forEach(({target}) =>
               "changed" in target.dataset && window.tellMarked(target.textContent)))
           .observe(document.querySelector("[data-column=metadata]"),
                    {subtree: true, attributes: true, attributeFilter: ["data-changed"]})"""
    )
    run.set("$.steps.two", "done")
    async with asyncio.timeout(10):
        assert await marked.get() == "twodone"
    await expect(card.locator("[data-changed]")).to_have_count(0)


async def test_a_run_that_does_not_exist_yet_is_waited_for(visitor: Visitor, publisher: Publisher) -> None:
    await visitor.sign_in(SECRET, "/runs/later_1")
    await expect(visitor.page.get_by_text("There is no such run.")).to_be_visible()
    publisher.create("export", id="later_1")
    await expect(visitor.page.get_by_role("heading", level=1)).to_contain_text("export queued")


async def test_a_token_for_the_run_is_minted_and_opens_it(visitor: Visitor, publisher: Publisher) -> None:
    """With the secret key only; and whoever follows the link sees this run."""
    publisher.create("export", id="minted_1")
    await visitor.sign_in(SECRET, "/runs/minted_1")
    await visitor.page.get_by_role("button", name="Mint a token").click()
    minted = visitor.card("Let somebody else see it").locator("dd code")
    await expect(minted).to_have_count(4)
    link = await minted.nth(1).inner_text()
    assert link.startswith(f"{visitor.url}/runs/minted_1#token=ey")
    assert re.fullmatch(
        rf"RUNCAST_TOKEN=ey\S+ runcast watch minted_1 --url {visitor.url}", await minted.nth(3).inner_text()
    )
    await visitor.page.get_by_role("button", name="Sign out").click()
    await visitor.page.goto(link)
    await expect(visitor.page.get_by_role("heading", level=1)).to_contain_text("export queued")
    await expect(visitor.page.get_by_text("Let somebody else see it")).to_have_count(0)


async def test_a_batch_shows_how_far_all_of_it_is(visitor: Visitor, publisher: Publisher) -> None:
    for number in range(8):
        run = publisher.create("resize", id=f"part_{number}", batch="pictures")
        if number < 5:
            run.complete()
        elif number < 6:
            run.start()
            run.progress(1, 2)
    page = visitor.page
    await visitor.sign_in(SECRET, "/batches/pictures")
    bar = page.get_by_role("progressbar", name="ended")
    await expect(bar).to_have_attribute("aria-valuenow", "62")
    await expect(page.locator(".batch-head .said")).to_have_text("5 of 8 runs ended (62 %)")
    await expect(page.locator(".batch-head")).to_contain_text("1 run at work, 50 % done on average")
    await expect(page.locator(".row")).to_have_count(8)
    await page.get_by_role("button", name="5 completed").click()
    await expect(page).to_have_url(f"{visitor.url}/batches/pictures?status=COMPLETED")
    await expect(page.locator(".row")).to_have_count(5)
    for number in range(5, 8):
        publisher.run(f"part_{number}").complete()
    await expect(page.locator(".batch-head .said")).to_have_text("8 of 8 runs ended (100 %)")


async def test_the_gateway_says_how_it_is(visitor: Visitor, publisher: Publisher) -> None:
    """Its numbers are those of `GET /v1/gateway`, asked again and again: of who looks on, and how late that is."""
    page = visitor.page
    run = publisher.create("export", id="watched_1")
    other = Visitor(await page.context.new_page(), visitor.url)
    await other.sign_in(SECRET, "/runs/watched_1")
    await other.is_live()
    await visitor.sign_in(SECRET)
    await visitor.is_live()
    run.start()
    await expect(other.page.get_by_role("heading", level=1)).to_contain_text("export running")
    await page.keyboard.press("g")
    await expect(page).to_have_url(f"{visitor.url}/gateway")
    await expect(visitor.card("Viewers")).to_contain_text(re.compile(r"WebSocket[1-9]"))
    await expect(visitor.card("Viewers")).to_contain_text(re.compile(r"Feeds followed[1-9]"))
    await expect(visitor.card("Delivery")).to_contain_text(re.compile(r"Lag, median[\d.]+ m?s"))
    await expect(visitor.card("Delivery")).to_contain_text(re.compile(r"Changes heard.*[1-9]"))
    await expect(visitor.card("Redis")).to_contain_text("Changes are heard✓ yes")
    await expect(visitor.card("Process")).to_contain_text("Workers1")
    await visitor.is_live()
    async with page.expect_response(f"{visitor.url}/v1/gateway") as answered:
        told = await (await answered.value).json()
    assert told["redis"]["up"] is True, json.dumps(told)


async def test_pages_for_those_who_may_not(visitor: Visitor) -> None:
    """The gateway's page is for secret keys; a path that is none of ours says so."""
    await visitor.sign_in(token("read:runs"), "/gateway")
    await expect(visitor.page.locator(".banner")).to_contain_text("only a secret key may do this")
    await expect(visitor.page.locator(".connection")).to_have_attribute("data-state", "denied")
