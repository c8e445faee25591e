"""Tabs of one visitor have one connection; whatever becomes of the tab that has it, nothing is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.client.network import Network
from tests.journeys.gateway_process import token
from tests.journeys.in_process import until
from tests.journeys.jobs import LIFE

if TYPE_CHECKING:
    from gateway.publisher import Publisher
    from tests.client.pages import Pages, Tab
    from tests.journeys.in_process import Inside
    from tests.journeys.jobs import Jobs

pytestmark = pytest.mark.asyncio(loop_scope="module")
TABS = 12


async def everybody(tabs: list[Tab], condition: str) -> None:
    await asyncio.gather(*(tab.until(condition) for tab in tabs))


async def leader_of(tabs: list[Tab]) -> Tab:
    """The tab that has the connection."""
    using = [(await tab.seen())["now"]["transport"] for tab in tabs]
    assert using.count("tab") == len(tabs) - 1, using
    return next(tab for tab, transport in zip(tabs, using, strict=True) if transport != "tab")


async def test_twelve_tabs_over_http_1_1(pages: Pages, gateway: Inside, jobs: Jobs, run: str) -> None:
    """A browser has six connections for all of them: they share one, also after its tab was closed."""
    jobs.create(run)
    async with Network(gateway.port) as network:
        tabs = [
            await pages.follow(f"run({run!r})", url=network.url, transports=["sse"], token=token("read:runs"))
            for _ in range(TABS)
        ]
        await everybody(tabs, "now.state === 'live'")
        assert network.open("sse") == 1
        jobs.say(run, "DEQUEUED")
        await everybody(tabs, "seen.subscription.view.run?.status === 'DEQUEUED'")
        leader = await leader_of(tabs)
        tabs.remove(leader)
        await leader.page.close()
        jobs.say(run, "EXECUTING")
        await everybody(tabs, "seen.subscription.view.run?.status === 'EXECUTING'")
        await until(lambda: network.open("sse") == 1, "one connection")
        jobs.say(run, "COMPLETED")
        await everybody(tabs, "seen.ends.length")
        for tab in tabs:
            assert await tab.statuses(run) == list(LIFE)


async def test_what_each_tab_follows(pages: Pages, gateway: Inside, publisher: Publisher, run: str) -> None:
    """Runs, tags and streams of their own, some of which another tab follows too, or in another way."""
    publisher.create("write", id=run, tags=[run]).start()
    working = publisher.run(run)
    stream = working.stream("log")
    stream.write_all(range(3))
    publisher.flush()
    wishes = [
        f"stream({run!r}, 'log')",
        f"tags([{run!r}])",
        f"tags([{run!r}], {{limit: 5}})",
        f"stream({run!r}, 'log')",
    ]
    tabs = [await pages.follow(wish) for wish in wishes]
    await everybody(tabs, "now.state === 'live'")
    await everybody([tabs[0], tabs[3]], "seen.chunks.length === 3")
    stream.write_all(range(3, 6))
    working.complete()
    publisher.flush()
    await everybody(tabs[1:3], f"seen.statuses[{run!r}]?.includes('COMPLETED')")
    await everybody([tabs[0], tabs[3]], "seen.ends.length")
    for tab in (tabs[0], tabs[3]):
        assert (await tab.seen())["chunks"] == [[number, number] for number in range(6)]
    # Two ways to follow the same tag don't go together on one connection.
    assert gateway.viewers == 2


async def test_others_have_connections_of_their_own(pages: Pages, gateway: Inside, jobs: Jobs, run: str) -> None:
    """A token that claims something else, and who does not want to share."""
    jobs.create(run)
    before = gateway.viewers
    tabs = [
        await pages.follow(f"run({run!r})", token=token(f"read:runs:{run}")),
        await pages.follow(f"run({run!r})", token=token("read:runs", subject="user_7")),
        await pages.follow(f"run({run!r})", share=False),
    ]
    await everybody(tabs, "now.transport === 'websocket' && now.state === 'live'")
    assert gateway.viewers == before + 3


async def test_a_leader_that_is_frozen_is_followed_by_another(pages: Pages, jobs: Jobs, run: str) -> None:
    """A page that the browser freezes hands over; woken it is one of the others, and lacks nothing."""
    jobs.create(run)
    tabs = [await pages.follow(f"run({run!r})") for _ in range(3)]
    await everybody(tabs, "now.state === 'live'")
    frozen = await leader_of(tabs)
    others = [tab for tab in tabs if tab is not frozen]
    await frozen.page.evaluate("document.dispatchEvent(new Event('freeze'))")
    for status in LIFE[1:3]:
        jobs.say(run, status)
    await everybody(others, "seen.subscription.view.run?.status === 'EXECUTING'")
    assert (await frozen.seen())["now"]["state"] == "stale"
    await frozen.page.evaluate("document.dispatchEvent(new Event('resume'))")
    await frozen.until("now.state === 'live' && now.transport === 'tab'")
    jobs.say(run, "COMPLETED")
    await everybody(tabs, "seen.ends.length")
    for tab in tabs:
        assert await tab.statuses(run) == list(LIFE)


async def test_a_leader_that_hangs_loses_the_connection(pages: Pages, jobs: Jobs, run: str) -> None:
    """A debugger, a script without an end: the others hear nothing, ask once, and take it."""
    jobs.create(run)
    tabs = [await pages.follow(f"run({run!r})") for _ in range(2)]
    await everybody(tabs, "now.state === 'live'")
    hanging = await leader_of(tabs)
    (other,) = [tab for tab in tabs if tab is not hanging]
    debugger = await pages.context.new_cdp_session(hanging.page)
    await debugger.send("Debugger.enable")
    await debugger.send("Debugger.pause")
    await other.until("now.transport === 'websocket' && now.state === 'live'")
    for status in LIFE[1:]:
        jobs.say(run, status)
    await other.until("seen.ends.length")
    await debugger.send("Debugger.disable")
    await hanging.until("seen.ends.length")
    for tab in tabs:
        assert await tab.statuses(run) == list(LIFE)
