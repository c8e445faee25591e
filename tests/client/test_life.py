"""What happens to a page that is open for long: sleep, tunnels, tabs that are hidden, left, and come back to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.client.network import Network
from tests.journeys.gateway_process import token
from tests.journeys.in_process import until
from tests.journeys.jobs import LIFE

if TYPE_CHECKING:
    from tests.client.pages import Pages, Tab
    from tests.journeys.in_process import Inside
    from tests.journeys.jobs import Jobs

pytestmark = pytest.mark.asyncio(loop_scope="module")
#: How long the clock of a page has between two animation frames.
FRAME_MS = 16


async def assert_all_once(tab: Tab, run: str, count: int) -> None:
    """It was told so many statuses, and went on where it was."""
    seen = await tab.shown()
    assert (seen["statuses"], seen["replaced"]) == ({run: list(LIFE[:count])}, 1)


async def test_a_page_without_network(pages: Pages, gateway: Inside, jobs: Jobs, run: str) -> None:
    """It says so at once, with the time from which its data is; and comes back at once when the network does."""
    jobs.create(run)
    tab = await pages.follow(f"run({run!r})", share=False)
    await tab.until("now.state === 'live'")
    await pages.context.set_offline(True)
    await tab.until("now.state === 'offline' && now.asOf instanceof Date && now.reason")
    for status in LIFE[1:3]:
        jobs.say(run, status)
    await pages.context.set_offline(False)
    await tab.until("now.state === 'live'")
    await assert_all_once(tab, run, 3)


@pytest.mark.parametrize("transport", ["websocket", "sse", "poll"])
async def test_a_laptop_that_slept(pages: Pages, gateway: Inside, jobs: Jobs, run: str, transport: str) -> None:
    """Hours pass at once, and its connection is dead without a word: that is seen, and it comes back."""
    jobs.create(run)
    async with Network(gateway.port) as network:
        tab = await pages.follow(f"run({run!r})", clock=True, url=network.url, transports=[transport], share=False)
        await tab.until("now.state === 'live'")
        network.mute = {transport}
        jobs.say(run, "DEQUEUED")
        await tab.page.clock.fast_forward("08:00:00")
        await tab.until("['stale', 'offline'].includes(now.state)")
        network.mute = set()
        await tab.until("now.state === 'live' && seen.subscription.view.run.status === 'DEQUEUED'")
        await assert_all_once(tab, run, 2)


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_a_hidden_page(pages: Pages, quiet: Inside, jobs: Jobs, run: str, transport: str) -> None:
    """After ten seconds it lets go of a request that is held, never of a WebSocket; seen again it is up to date."""
    jobs.create(run)
    async with Network(quiet.port) as network:
        tab = await pages.follow(f"run({run!r})", clock=True, url=network.url, transports=[transport], share=False)
        await tab.until("now.state === 'live'")
        await hide(tab, hidden=True)
        await tab.page.clock.run_for(12_000)
        if transport == "websocket":
            await tab.until("now.state === 'live'")
            assert network.asked == ["websocket"]
        else:
            await until(lambda: not network.open(transport), "no request")
            await tab.until("now.state === 'stale' && now.reason === 'the page is hidden'")
        jobs.say(run, "DEQUEUED")
        await hide(tab, hidden=False)
        await tab.until("now.state === 'live' && seen.subscription.view.run.status === 'DEQUEUED'")
        await assert_all_once(tab, run, 2)


async def hide(tab: Tab, *, hidden: bool) -> None:
    await tab.page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


async def test_a_page_that_is_left_and_come_back_to(pages: Pages, gateway: Inside, jobs: Jobs, run: str) -> None:
    """It gives its connection back when it is left, so that the browser may keep it; and goes on where it was."""
    jobs.create(run)
    before = gateway.viewers
    tab = await pages.follow(f"run({run!r})")
    await tab.until("now.state === 'live'")
    await tab.page.evaluate("window.dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    await until(lambda: gateway.viewers == before, "a viewer less")
    for status in LIFE[1:3]:
        jobs.say(run, status)
    await tab.page.evaluate("window.dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    await tab.until("now.state === 'live'")
    await assert_all_once(tab, run, 3)


async def test_many_changes_make_few_views(pages: Pages, gateway: Inside, jobs: Jobs, run: str) -> None:
    """The newest state once per frame; who subscribes later to the same has it all, over the same connection."""
    jobs.create(run)
    before = gateway.viewers
    tab = await pages.open(clock=True)
    await tab.stop_clock()
    await pages.begin(tab, f"run({run!r})")
    await tab.until("now.state === 'live'")
    for frame in range(3):
        await tab.page.clock.run_for(FRAME_MS)
        views = await tab.page.evaluate("seen.views")
        for number in range(1, 5):
            jobs.say(run, ("WAITING", "EXECUTING")[number % 2], set={"tick": [frame, number]})
            await tab.until(f"seen.statuses[{run!r}].length === {1 + 4 * frame + number}")
        assert await tab.page.evaluate("seen.views") == views
        await tab.page.clock.run_for(FRAME_MS)
        shown = await tab.page.evaluate("[seen.views, seen.subscription.view.run.metadata.tick]")
        assert shown == [views + 1, [frame, 4]]
    await tab.page.clock.resume()
    await tab.page.evaluate(
        f"window.second = record(Runcast.connect({{ url: {gateway.url!r}, token: {token()!r} }}).run({run!r}))"
    )
    await tab.until("second.subscription.connection.state === 'live'")
    assert await tab.page.evaluate("second.statuses") == (await tab.seen())["statuses"]
    assert gateway.viewers == before + 1
    await tab.page.evaluate("runcast.close()")
