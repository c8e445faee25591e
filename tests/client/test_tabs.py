"""Tabs of one visitor have one connection; whatever becomes of the tab that has it, nothing is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.client.network import Network
from tests.client.pages import PATIENCE_MS, everybody
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


async def leader_of(tabs: list[Tab]) -> Tab:
    """The tab that has the connection."""
    using = [(await tab.seen())["now"]["transport"] for tab in tabs]
    assert using.count("tab") == len(tabs) - 1, using
    return next(tab for tab, transport in zip(tabs, using, strict=True) if transport != "tab")


async def test_twelve_tabs_over_http_1_1(pages: Pages, quiet: Inside, jobs: Jobs, run: str) -> None:
    """A browser has six connections for all of them: they share one, also after its tab was closed."""
    jobs.create(run)
    async with Network(quiet.port) as network:
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


async def test_what_each_tab_follows(pages: Pages, quiet: Inside, publisher: Publisher, run: str) -> None:
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
    tabs = [await pages.follow(wish, url=quiet.url) for wish in wishes]
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
    await until(lambda: quiet.viewers == 2, "two connections")


async def test_others_have_connections_of_their_own(pages: Pages, quiet: Inside, jobs: Jobs, run: str) -> None:
    """A token that claims something else, and who does not want to share."""
    jobs.create(run)
    tabs = [
        await pages.follow(f"run({run!r})", url=quiet.url, token=token(f"read:runs:{run}")),
        await pages.follow(f"run({run!r})", url=quiet.url, token=token("read:runs", subject="user_7")),
        await pages.follow(f"run({run!r})", url=quiet.url, share=False),
    ]
    await everybody(tabs, "now.transport === 'websocket' && now.state === 'live'")
    await until(lambda: quiet.viewers == 3, "a connection for each")


async def test_a_tab_is_told_what_is_refused_to_it_alone(pages: Pages, quiet: Inside, jobs: Jobs, run: str) -> None:
    """Also when another tab has the connection, and asks for nothing like it; and the others go on."""
    jobs.create(run)
    other = f"{run}_of_others"
    options: dict[str, Any] = {"url": quiet.url, "token": token(f"read:runs:{run}")}
    tabs = [await pages.follow(f"run({run!r})", **options) for _ in range(2)]
    await everybody(tabs, "now.state === 'live'")
    leader = await leader_of(tabs)
    (follower,) = (tab for tab in tabs if tab is not leader)
    await pages.begin(follower, f"run({other!r})", **options)
    await follower.until("now.state === 'denied' && seen.errors[0] === 'not_allowed' && now.transport === 'tab'")
    jobs.say(run, "COMPLETED")
    await leader.until("seen.ends.length")


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


async def test_a_leader_whose_process_dies_is_followed_by_another(
    pages: Pages, quiet: Inside, jobs: Jobs, run: str
) -> None:
    """The browser kills what takes too much memory, without a word to the page: nobody else misses anything."""
    jobs.create(run)
    tabs = [await pages.follow(f"run({run!r})", url=quiet.url) for _ in range(4)]
    await everybody(tabs, "now.state === 'live'")
    for status in LIFE[1:3]:
        leader = await leader_of(tabs)
        await crash(leader)
        tabs.remove(leader)
        jobs.say(run, status)
        await everybody(tabs, f"now.state === 'live' && seen.statuses[{run!r}].at(-1) === {status!r}")
    jobs.say(run, "COMPLETED")
    await everybody(tabs, "seen.ends.length")
    for tab in tabs:
        assert await tab.statuses(run) == list(LIFE)


async def crash(tab: Tab) -> None:
    """Its process ends."""
    debugger = await tab.page.context.new_cdp_session(tab.page)
    crashed = asyncio.Event()
    tab.page.on("crash", lambda _: crashed.set())
    dying = asyncio.create_task(debugger.send("Page.crash"))  # which nobody will answer
    try:
        await asyncio.wait_for(crashed.wait(), PATIENCE_MS / 1000)
    finally:
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)


class TestOnePage:
    """What follows something in the same page has one connection, too."""

    async def test_those_who_ask_with_the_same_token(self, pages: Pages, quiet: Inside, jobs: Jobs, run: str) -> None:
        """However often they connect, and also where tabs don't share; the last one who leaves closes it."""
        jobs.create(run)
        same = token()
        tab = await pages.follow(f"run({run!r})", url=quiet.url, token=same, share=False)
        await tab.page.evaluate(
            """([url, token, run]) => {
                window.others = [];
                for (let number = 0; number < 10; number++) {
                    const runcast = Runcast.connect({ url, token, share: false });
                    others.push(record(number % 2 ? runcast.run(run) : runcast.tags(["tag" + number])));
                }
            }""",
            [quiet.url, same, run],
        )
        await tab.until("now.state === 'live'")
        await tab.until("others.every(({ subscription }) => subscription.connection.state === 'live')")
        await until(lambda: quiet.viewers == 1, "one connection")
        await tab.page.evaluate("others.forEach(({ subscription }) => subscription.close())")
        jobs.say(run, "DEQUEUED")
        await tab.until(f"seen.statuses[{run!r}].length === 2")
        assert (quiet.viewers, (await tab.seen())["now"]["state"]) == (1, "live")
        await tab.page.evaluate("runcast.close()")
        await until(lambda: not quiet.viewers, "no connection")

    async def test_two_versions_of_the_script(self, pages: Pages, quiet: Inside, jobs: Jobs, run: str) -> None:
        """The page has loaded one, and part of it another: both go on, and share a connection as two tabs would."""
        jobs.create(run)
        tab = await pages.follow(f"run({run!r})", url=quiet.url)
        await tab.until("now.state === 'live'")
        await tab.page.evaluate("window.Before = Runcast")
        await tab.page.add_script_tag(url=f"{quiet.url}/runcast.global.js?another")
        await tab.page.evaluate(
            "([url, token, run]) => { window.second = record(Runcast.connect({ url, token }).run(run)); }",
            [quiet.url, token(), run],
        )
        await tab.until("Before !== Runcast && second.subscription.connection.transport === 'tab'")
        await tab.until("second.subscription.connection.state === 'live' && now.state === 'live'")
        await until(lambda: quiet.viewers == 1, "one connection")
        jobs.say(run, "DEQUEUED")
        await tab.until(f"[seen, second].every(({{ statuses }}) => statuses[{run!r}].length === 2)")
        await tab.page.evaluate("runcast.close()")
        for status in LIFE[2:]:
            jobs.say(run, status)
        await tab.until("second.ends.length")
        assert await tab.page.evaluate("second.statuses") == {run: list(LIFE)}
