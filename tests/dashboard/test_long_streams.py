"""Streams of any length: a text is whole, a log shows its end, and what is left out is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from tests.journeys.gateway_process import SECRET

if TYPE_CHECKING:
    from gateway import Publisher
    from tests.dashboard.visitor import Visitor

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_a_long_text_is_whole_and_a_long_log_shows_its_end(visitor: Visitor, publisher: Publisher) -> None:
    """Of five thousand of each. Few of them are elements of the page."""
    run = publisher.create("answer", id="long_1")
    run.start()
    run.stream("answer").write_all([f"word{number} " for number in range(5_000)])
    for number in range(2_500):
        run.log(f"line {number}")
    publisher.flush()
    page = visitor.page
    await visitor.sign_in(SECRET, "/runs/long_1")
    text, log = page.locator("[data-stream=answer]"), page.locator("[data-stream=log]")
    await expect(text.locator("h3")).to_have_text("answer5,000 chunks · open")
    shown = await text.locator(".chunks").inner_text()
    assert shown.split() == [f"word{number}" for number in range(5_000)]
    await expect(log.locator("h3")).to_have_text("log2,500 chunks, shown from number 500 on · open")
    await expect(log.locator(".line")).to_have_count(2_000)
    await expect(log.locator(".line").last).to_contain_text("line 2499")
    await text.get_by_role("button", name="json").click()
    await expect(text.locator("h3")).to_have_text("answer5,000 chunks, shown from number 3,000 on · open")
    await expect(text.locator(".line")).to_have_count(2_000)
    await text.get_by_role("button", name="text").click()
    assert (await text.locator(".chunks").inner_text()).split() == shown.split()


async def test_whoever_reads_what_was_written_before_is_not_moved_away(visitor: Visitor, publisher: Publisher) -> None:
    """Whoever is at the end stays at the end; whoever has scrolled up stays there."""
    run = publisher.create("answer", id="read_1")
    run.start()
    for number in range(60):
        run.log(f"line {number}")
    publisher.flush()
    await visitor.sign_in(SECRET, "/runs/read_1")
    box = visitor.page.locator("[data-stream=log] .chunks")
    await expect(box.get_by_text("line 59", exact=True)).to_be_in_viewport()
    run.log("line 60")
    publisher.flush()
    await expect(box.get_by_text("line 60", exact=True)).to_be_in_viewport()
    await box.evaluate("(box) => box.scrollTo(0, 100)")
    run.log("line 61")
    publisher.flush()
    await expect(box.get_by_text("line 61", exact=True)).to_be_attached()
    assert await box.evaluate("(box) => box.scrollTop") == 100


async def test_a_stream_goes_on_with_another_attempt(visitor: Visitor, publisher: Publisher) -> None:
    """It is over with the run, and open again when that is."""
    run = publisher.create("answer", id="again_1")
    run.start()
    run.log("first")
    publisher.flush()
    run.fail("no answer")
    await visitor.sign_in(SECRET, "/runs/again_1")
    title = visitor.page.locator("[data-stream=log] h3")
    await expect(title).to_have_text("log1 chunk")
    run.start(attempt=2)
    run.log("second")
    publisher.flush()
    await expect(title).to_have_text("log2 chunks · open")
    await expect(visitor.page.locator("[data-stream=log] .line")).to_have_count(2)


async def test_a_stream_is_there_with_its_first_chunk(visitor: Visitor, publisher: Publisher) -> None:
    """The run tells which streams it has, as it tells everything else: nobody asks again and again."""
    run = publisher.create("answer", id="streams_later")
    run.start()
    await visitor.sign_in(SECRET, "/runs/streams_later")
    await visitor.is_live()
    before = len(visitor.addresses)
    run.stream("answer").write("Hello")
    publisher.flush()
    await expect(visitor.page.locator("[data-stream=answer] .chunks")).to_have_text("Hello")
    assert visitor.addresses[before:] == []
