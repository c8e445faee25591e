"""
Browsers put pages to sleep: in the background, frozen, kept for when their visitor comes back, or with the laptop.

As it really happens, and not as an event that a test makes up: Playwright's pages believe that they are always seen,
and its browser keeps none, so most of this speaks to a Chromium of its own (tests/journeys/tabs.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.client.network import Network
from tests.client.pages import HASTE, RECORD, SEEN, everybody
from tests.journeys import tabs
from tests.journeys.browser import origin
from tests.journeys.gateway_process import token
from tests.journeys.in_process import until
from tests.journeys.jobs import LIFE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from playwright.async_api import Browser

    from tests.client.pages import Pages
    from tests.journeys.in_process import Inside
    from tests.journeys.jobs import Jobs

pytestmark = pytest.mark.asyncio(loop_scope="module")
TRANSPORTS = ("websocket", "sse", "poll")
#: Longer than two heartbeats of the gateway, after which its silence is noticed.
SLEEP_SECONDS = 3


class Tab:
    """A real tab that follows a run."""

    def __init__(self, tab: tabs.Tab, site: str) -> None:
        self._tab, self._site = tab, site

    async def follow(self, url: str, run: str, **options: Any) -> None:
        await self._tab.until("document.readyState === 'complete'")
        given = {"url": url, "token": token()} | options
        await self.value(
            f"window.runcast = Runcast.connect({json.dumps(given)}), window.seen = record(runcast.run('{run}')), 0"
        )
        await self.until("now.state === 'live'")

    async def value(self, expression: str) -> Any:
        """What it is now, also in a page that is frozen."""
        answer = await self._tab.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, condition: str) -> None:
        """As in `pages.Tab`."""
        try:
            await self._tab.until(
                f"(() => {{ const seen = window.seen, now = seen.subscription.connection; return {condition}; }})()"
            )
        except TimeoutError:
            raise AssertionError(f"{condition} did not come: {await self.seen()}") from None

    async def seen(self) -> dict[str, Any]:
        """As in `pages.Tab`."""
        found: dict[str, Any] = await self.value(f"(({{ subscription }}) => {SEEN})(seen)")
        return found

    async def shown(self) -> dict[str, Any]:
        """As in `pages.Tab`."""
        await self.until("!seen.behind")
        return await self.seen()

    async def show(self) -> None:
        await self._tab.show()

    async def leave(self) -> None:
        """For another page of the same site."""
        await self._tab.send("Page.navigate", url=f"{self._site}/elsewhere")
        await self._tab.until("location.pathname === '/elsewhere' && document.readyState === 'complete'")

    async def come_back(self) -> None:
        await self.value("history.back()")
        await self._tab.until("location.pathname === '/'")

    async def freeze(self, *, frozen: bool) -> None:
        await self._tab.send("Page.setWebLifecycleState", state="frozen" if frozen else "active")


class RealTabs:
    """Opens them."""

    def __init__(self, browser: tabs.Browser, site: str) -> None:
        self._browser, self._site = browser, site
        self._open: list[Tab] = []

    async def open(self) -> Tab:
        """In front; what was in front is hidden from now on."""
        self._open.append(Tab(await self._browser.open(f"{self._site}/"), self._site))
        return self._open[-1]

    async def close(self) -> None:
        """They follow nothing any more."""
        for tab in self._open:
            await tab.value("window.runcast?.close()")


@pytest.fixture(scope="module")
def real_site(gateway: Inside) -> Iterator[str]:
    """Pages with the client in them."""
    script = f"<script src='{gateway.url}/runcast.global.js'></script><script>{RECORD}</script>"
    with origin(f"<!doctype html><title>A page</title>{script}") as url:
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def real_browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tabs.Browser]:
    async with tabs.browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def real_tabs(real_browser: tabs.Browser, real_site: str, gateway: Inside) -> AsyncIterator[RealTabs]:
    opened = RealTabs(real_browser, real_site)
    yield opened
    await opened.close()
    await until(lambda: not gateway.viewers, "the end of all connections")


def assert_all_once(seen: dict[str, Any], run: str, *, replaced: int = 1) -> None:
    """A page was told every status, and went on where it was: what it knew was not replaced."""
    assert (seen["statuses"], seen["replaced"]) == ({run: list(LIFE)}, replaced)


class TestBackAndForward:
    """A page that is left is kept by the browser as it is, if it lets go of its connections."""

    @pytest.mark.parametrize("transport", TRANSPORTS)
    async def test_on_every_transport(
        self, real_tabs: RealTabs, quiet: Inside, jobs: Jobs, run: str, transport: str
    ) -> None:
        """Its visitor comes back to a page that says it is stale, and then shows what it missed."""
        jobs.create(run)
        tab = await real_tabs.open()
        await tab.follow(quiet.url, run, transports=[transport], share=False)
        await self.leave_and_come_back(tab, quiet, jobs, run, others=0)

    async def test_with_tabs_that_share(self, real_tabs: RealTabs, quiet: Inside, jobs: Jobs, run: str) -> None:
        """The tab that is left has the connection: the other one takes it over, and it is one of the others then."""
        jobs.create(run)
        first, second = await real_tabs.open(), await real_tabs.open()
        for tab in (first, second):
            await tab.follow(quiet.url, run)
        assert [await tab.value("seen.subscription.connection.transport") for tab in (first, second)] == [
            "websocket",
            "tab",
        ]
        await first.show()
        await self.leave_and_come_back(first, quiet, jobs, run, others=1)
        assert await first.value("seen.subscription.connection.transport") == "tab"
        await second.until("seen.ends.length")
        assert_all_once(await second.shown(), run)

    async def leave_and_come_back(self, tab: Tab, quiet: Inside, jobs: Jobs, run: str, *, others: int) -> None:
        await tab.value(
            "window.shown = [], addEventListener('pageshow', ({ persisted }) =>"
            " shown.push([persisted, seen.subscription.connection.state])), 0"
        )
        await tab.leave()
        await until(lambda: quiet.viewers == others, "the connection's end")
        for status in LIFE[1:3]:
            jobs.say(run, status)
        await tab.come_back()
        reasons = "performance.getEntriesByType('navigation')[0].notRestoredReasons?.toJSON()"
        assert await tab.value("window.shown"), await tab.value(reasons)
        await tab.until("shown.length && now.state === 'live'")
        assert await tab.value("shown") == [[True, "stale"]]
        jobs.say(run, "COMPLETED")
        await tab.until("seen.ends.length")
        # Another tab tells it all that there is, a gateway only what is new.
        assert_all_once(await tab.shown(), run, replaced=1 + others)


async def test_pages_are_frozen(real_tabs: RealTabs, gateway: Inside, jobs: Jobs, run: str) -> None:
    """Before that they let go, and say so as long as it lasts; then they go on where they were."""
    jobs.create(run)
    frozen = {transport: await real_tabs.open() for transport in TRANSPORTS}
    for transport, tab in frozen.items():
        await tab.follow(gateway.url, run, transports=[transport], share=False)
        await tab.freeze(frozen=True)
    await until(lambda: not gateway.viewers, "the end of all connections")
    for status in LIFE[1:]:
        jobs.say(run, status)
    for tab in frozen.values():
        assert (await tab.seen())["now"]["state"] == "stale"
        await tab.freeze(frozen=False)
        await tab.show()
        await tab.until("seen.ends.length")
        assert_all_once(await tab.shown(), run)


async def test_tabs_in_the_background(real_tabs: RealTabs, gateway: Inside, jobs: Jobs, run: str) -> None:
    """
    A WebSocket goes on. Of the six requests a browser has, none is held for long; in front it is up to date.

    What pages wait for takes a tenth of its time here.
    """
    jobs.create(run)
    hidden = {transport: await real_tabs.open() for transport in TRANSPORTS}
    for transport, tab in hidden.items():
        await tab.value(f"{{ {HASTE} }}")
        await tab.follow(gateway.url, run, transports=[transport], share=False)
    await real_tabs.open()
    for transport, tab in hidden.items():
        await tab.until("document.hidden")
        if transport != "websocket":
            await tab.until("now.state === 'stale' && now.reason === 'the page is hidden'")
    await until(lambda: gateway.viewers == 1, "one connection")
    for status in LIFE[1:3]:
        jobs.say(run, status)
    await hidden["websocket"].until(f"now.state === 'live' && seen.statuses[{run!r}].length === 3")
    for tab in hidden.values():
        await tab.show()
        await tab.until(f"now.state === 'live' && seen.statuses[{run!r}].length === 3")
    jobs.say(run, "COMPLETED")
    for tab in hidden.values():
        await tab.show()
        await tab.until("seen.ends.length")
        assert_all_once(await tab.shown(), run)


class TestLaptop:
    """Every process of a browser stands still for longer than the gateway may be silent."""

    async def test_its_connections_are_dead_when_it_wakes(
        self, browser: Browser, pages: Pages, gateway: Inside, jobs: Jobs, run: str
    ) -> None:
        """
        Nobody tells it so. It says stale, and live only when it has the truth again.

        A poll is silent for long by its nature; test_life.py wakes pages that poll after a night.
        """
        jobs.create(run)
        async with Network(gateway.port) as network:
            following = [
                await pages.follow(f"run({run!r})", url=network.url, transports=[transport], share=False)
                for transport in ("websocket", "sse")
            ]
            following.append(await pages.follow(f"run({run!r})", url=network.url))
            await everybody(following, "now.state === 'live'")
            async with asleep(browser):
                network.mute = set(TRANSPORTS)
                for status in LIFE[1:3]:
                    jobs.say(run, status)
                await asyncio.sleep(SLEEP_SECONDS)
            await everybody(following, "['stale', 'offline'].includes(now.state)")
            network.mute = set()
            await everybody(following, "now.state === 'live'")
            for tab in following:
                assert await tab.statuses(run) == list(LIFE[:3])
            jobs.say(run, "COMPLETED")
            await everybody(following, "seen.ends.length")
            for tab in following:
                assert_all_once(await tab.shown(), run)

    async def test_its_connections_waited_for_it(
        self, browser: Browser, pages: Pages, gateway: Inside, jobs: Jobs, run: str
    ) -> None:
        """What was sent meanwhile is there, and comes once, whether they are used again or not."""
        jobs.create(run)
        following = [
            await pages.follow(f"run({run!r})", transports=[transport], share=False) for transport in TRANSPORTS
        ]
        await everybody(following, "now.state === 'live'")
        async with asleep(browser):
            for status in LIFE[1:3]:
                jobs.say(run, status)
            await asyncio.sleep(SLEEP_SECONDS)
        await everybody(following, f"now.state === 'live' && seen.statuses[{run!r}].length === 3")
        jobs.say(run, "COMPLETED")
        await everybody(following, "seen.ends.length")
        for tab in following:
            assert_all_once(await tab.shown(), run)


@contextlib.asynccontextmanager
async def asleep(browser: Browser) -> AsyncIterator[None]:
    """All of it stands still while the block lasts."""
    session = await browser.new_browser_cdp_session()
    processes = (await session.send("SystemInfo.getProcessInfo"))["processInfo"]
    # Who waits for the others comes to stand still last, and goes on last.
    pids = [process["id"] for process in sorted(processes, key=lambda process: process["type"] == "browser")]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        await session.detach()
