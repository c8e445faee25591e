"""Numbers are never more than is known, and of what they are is said."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest
import pytest_asyncio
from playwright.async_api import expect

from gateway import Publisher
from gateway.feeds import EnvironmentId
from gateway.store.redis_keys import due_key, run_key
from tests.journeys.gateway_process import ENVIRONMENT, SECRET

if TYPE_CHECKING:
    from tests.dashboard.visitor import Visitor
    from tests.redis_server import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="package")

RUNS: Final = 2_500
#: Those that failed were created first, and others have changed since: no snapshot has them.
FAILED: Final = 300
COMPLETED: Final = 1_200
#: Tells the page that somebody looks at it again.
SEEN_AGAIN: Final = "document.dispatchEvent(new Event('visibilitychange'))"


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def batch(redis: RedisServer) -> str:
    """A batch of several thousand runs."""
    with Publisher(redis.url) as publisher, publisher.together():
        for number in range(RUNS):
            run = publisher.create("resize", id=f"many_{number:04}", batch="many", tags=["many"])
            if number < FAILED:
                run.fail("no such picture")
            elif number < FAILED + COMPLETED:
                run.complete()
    return "many"


async def test_a_batch_of_thousands_is_counted_by_the_gateway(visitor: Visitor, batch: str) -> None:
    """What the page has not loaded is in the bar and in the counts all the same, and it is said who counted."""
    page = visitor.page
    await visitor.sign_in(SECRET, f"/batches/{batch}")
    ended = FAILED + COMPLETED
    await expect(page.locator(".batch-head .said")).to_contain_text(f"{ended:,} of {RUNS:,} runs ended (60 %), counted")
    await expect(page.get_by_role("button", name=f"{FAILED} failed")).to_be_visible()
    await expect(page.get_by_role("button", name=f"{RUNS - ended:,} queued")).to_be_visible()
    await expect(page.locator(".counting .of")).to_contain_text("of the whole batch, counted at")
    await page.get_by_role("button", name=f"{FAILED} failed").click()
    await expect(page.locator(".row").first).to_contain_text("no such picture")


async def test_who_asks_for_what_failed_gets_it(visitor: Visitor, batch: str) -> None:
    """Though none of the runs that the page began with did. Of what the counts are is said beside them."""
    page = visitor.page
    await visitor.sign_in(SECRET, f"/?tag={batch}")
    await expect(page.locator(".summary")).to_have_text("The 1,000 runs that are loaded; there are older ones")
    await expect(page.locator(".counting .of")).to_have_text("of the 1,000 runs that are loaded")
    await page.get_by_role("button", name="0 failed").click()
    await expect(page.locator(".row").first).to_contain_text("no such picture")
    await expect(page.locator(".summary")).to_contain_text("100 of the 1,100 runs that are loaded")
    await page.get_by_role("button", name="Load older runs").click()
    await expect(page.locator(".summary")).to_have_text(f"{FAILED} runs")


async def test_what_ended_is_of_the_runs_that_pass_the_filters(visitor: Visitor, publisher: Publisher) -> None:
    for number in range(4):
        publisher.create(f"kind_{number % 2}", id=f"passing_{number}", tags=["passing"]).complete()
    await visitor.sign_in(SECRET, "/?tag=passing")
    ended = visitor.page.locator(".ended")
    await expect(ended).to_have_text("4 ended in 5 min")
    # The chart is as high as four that ended, in one bar or beside each other.
    assert await drawn(visitor, "good") == pytest.approx(27, abs=0.5)
    assert await drawn(visitor, "bad") == 0
    await visitor.page.get_by_label("filter by text").fill("kind_1")
    await expect(ended).to_have_text("2 ended in 5 min")
    publisher.create("kind_0", id="passing_4", tags=["passing"]).complete()
    publisher.create("kind_1", id="passing_5", tags=["passing"]).complete()
    await expect(ended).to_have_text("3 ended in 5 min")
    await visitor.page.get_by_label("filter by text").fill("")
    await expect(ended).to_have_text("6 ended in 5 min")
    publisher.create("kind_1", id="passing_6", tags=["passing"]).fail("no space left")
    await expect(ended).to_have_text("7 ended in 5 min, 1 failed or stopped")
    assert await drawn(visitor, "bad") > 1


async def drawn(visitor: Visitor, kind: str) -> float:
    """How high the bars of a kind are together; what is no higher than a line says that nothing ended."""
    bars = visitor.page.locator(f".sparkline [data-kind={kind}]")
    heights: list[float] = await bars.evaluate_all("(all) => all.map((bar) => Number(bar.getAttribute('height')))")
    return sum(height for height in heights if height > 1)


async def test_a_run_that_is_kept_no_longer_leaves_the_list(
    visitor: Visitor, publisher: Publisher, redis: RedisServer
) -> None:
    """Nothing tells that its time is over. The page asks, and counts and shows it no more; others stay."""
    page = visitor.page
    for number in range(3):
        publisher.create("kept", id=f"kept_{number}", tags=["kept"], batch="kept").complete()
        publisher.create("kept", id=f"gone_{number}", tags=["kept"], batch="kept").complete()
    publisher.create("kept", id="kept_3", tags=["kept"], batch="kept")
    await visitor.sign_in(SECRET, "/batches/kept")
    await expect(page.locator(".batch-head .said")).to_have_text("6 of 7 runs ended (85 %)")
    await be_forgotten(redis, "gone_0", "gone_1", "gone_2")
    await page.evaluate(SEEN_AGAIN)
    await expect(page.locator(".batch-head .said")).to_have_text("3 of 4 runs ended (75 %)")
    await expect(page.get_by_role("button", name="3 completed")).to_be_visible()
    await expect(page.locator(".summary")).to_have_text("4 runs")
    assert await visitor.shown_runs() == ["kept_3", "kept_2", "kept_1", "kept_0"]
    publisher.create("kept", id="gone_1", tags=["kept"], batch="kept")
    await expect(visitor.row("gone_1")).to_contain_text("queued")
    await visitor.is_live()


async def test_the_page_of_a_run_says_when_it_is_kept_no_longer(
    visitor: Visitor, publisher: Publisher, redis: RedisServer
) -> None:
    """What is on the page stays to be read, and is said to be all there is."""
    publisher.create("kept", id="gone_page").complete({"rows": 7})
    await visitor.sign_in(SECRET, "/runs/gone_page")
    await expect(visitor.card("Output")).to_contain_text("rows")
    await be_forgotten(redis, "gone_page")
    await visitor.page.evaluate(SEEN_AGAIN)
    await expect(visitor.page.get_by_text("The gateway does not keep this run any more.")).to_be_visible()
    await expect(visitor.card("Output")).to_contain_text("rows")


async def be_forgotten(redis: RedisServer, *runs: str) -> None:
    """Have the time of these runs be over, and wait until the gateway has removed them."""
    with redis.client() as client:
        client.zadd(due_key(EnvironmentId(ENVIRONMENT)), dict.fromkeys(runs, 1))
        while client.exists(*(run_key(EnvironmentId(ENVIRONMENT), run) for run in runs)):
            await asyncio.sleep(0.05)
