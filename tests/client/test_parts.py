"""What a page loads of the client, and when: the core always, its parts where they are needed, and never in vain."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.client.network import Network
from tests.client.pages import RECORD, Tab
from tests.journeys.browser import origin
from tests.journeys.gateway_process import token
from tests.journeys.in_process import until
from tests.journeys.jobs import LIFE

if TYPE_CHECKING:
    from playwright.async_api import Page, Route

    from tests.client.pages import Pages
    from tests.journeys.in_process import Inside
    from tests.journeys.jobs import Jobs

pytestmark = pytest.mark.asyncio(loop_scope="module")
BROWSER, NETWORKS = "runcast.browser.js", "runcast.networks.js"


class Loads:
    """The scripts that a page asks for, in order, each without its hash."""

    def __init__(self, page: Page) -> None:
        self.addresses: list[str] = []
        page.on("request", lambda request: self.addresses.append(request.url))

    @property
    def names(self) -> list[str]:
        names = [urlsplit(address).path.rpartition("/")[2] for address in self.addresses]
        return [re.sub(r"\.[0-9a-f]{12}\.js", ".js", name) for name in names if name.endswith(".js")]


async def served(gateway: Inside, name: str) -> str:
    """Where this file is for ever."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        listed = (await client.get(f"{gateway.url}/_/v1/assets.json")).json()
    return f"{gateway.url}{listed[name]['url']}"


async def module(pages: Pages, script: str, run: str, url: str, **options: object) -> tuple[Tab, Loads]:
    """A page that imports the module at *script*, and follows *run* at *url*."""
    page = await pages.context.new_page()
    page.on("pageerror", lambda error: pages.errors.append(str(error)))
    loads = Loads(page)
    await page.goto(pages.site)
    await page.evaluate(f"() => {{ {RECORD} }}")
    await page.evaluate(
        """async ([script, run, options]) => {
            const { connect } = await import(script);
            window.seen = record(connect(options).run(run));
        }""",
        [script, run, {"url": url, "token": token()} | options],
    )
    return Tab(page), loads


@pytest.mark.parametrize("name", ["alias", "hashed"])
async def test_a_good_network_takes_the_core_and_what_browsers_have(
    pages: Pages, gateway: Inside, jobs: Jobs, run: str, name: str
) -> None:
    """From another origin; the connection is made, and shared, with no other request."""
    jobs.create(run)
    script = f"{gateway.url}/runcast.js" if name == "alias" else await served(gateway, "runcast.js")
    tab, loads = await module(pages, script, run, gateway.url)
    await tab.until("now.state === 'live' && now.transport === 'websocket'")
    other, _ = await module(pages, script, run, gateway.url)
    await other.until("now.state === 'live' && now.transport === 'tab'")
    assert loads.names == ["runcast.js", BROWSER]


async def test_a_plain_script_finds_its_parts(pages: Pages, gateway: Inside, jobs: Jobs, run: str) -> None:
    """Where it came from, also when it is told to follow runs elsewhere."""
    jobs.create(run)
    async with Network(gateway.port) as network:
        tab = await pages.open()
        loads = Loads(tab.page)
        await pages.begin(tab, f"run({run!r})", url=network.url, transports=["sse"])
        await tab.until("now.state === 'live' && now.transport === 'sse'")
    assert loads.names == [BROWSER, NETWORKS]
    assert all(address.startswith(gateway.url) for address in loads.addresses if address.endswith(".js"))


async def test_a_network_without_websockets_takes_one_part_more(
    pages: Pages, gateway: Inside, jobs: Jobs, run: str
) -> None:
    """Once, however often the connection is cut; the page lives on events, and misses nothing."""
    jobs.create(run)
    async with Network(gateway.port) as network:
        network.refused = {"websocket"}
        tab, loads = await module(pages, f"{gateway.url}/runcast.js", run, network.url, share=False)
        await tab.until("now.transport === 'sse' && now.state === 'live'")
        for status in LIFE[1:]:
            network.cut()
            jobs.say(run, status)
            await tab.until(f"seen.statuses[{run!r}]?.includes({status!r})")
        await tab.until("seen.ends.length")
        assert await tab.statuses(run) == list(LIFE)
    assert sorted(loads.names) == [BROWSER, "runcast.js", NETWORKS]


class TestMissingParts:
    """A part that can't be had, in a network without internet or after an upgrade of the gateway."""

    async def test_other_transports(self, pages: Pages, gateway: Inside, jobs: Jobs, run: str) -> None:
        """The page says what is wrong, and goes on trying: the part, under another address, and the WebSocket."""
        jobs.create(run)
        missing = True

        async def answer(route: Route) -> None:
            await (route.fulfill(status=404, body="") if missing else route.continue_())

        await pages.context.route("**/_/v1/runcast.networks.*", answer)
        async with Network(gateway.port) as network:
            network.refused = {"websocket"}
            script, options = f"{gateway.url}/runcast.js", {"share": False, "transports": ["websocket", "sse"]}
            tab, loads = await module(pages, script, run, network.url, **options)
            await tab.until("/runcast\\.networks\\.\\w+\\.js/.test(now.reason) && now.state === 'offline'")
            tried = network.asked.count("websocket")
            await until(lambda: network.asked.count("websocket") > tried, "another try")
            missing = False
            await tab.until("now.transport === 'sse' && now.state === 'live'")
        asked = [address for address in loads.addresses if "networks" in address]
        assert len(set(asked)) == len(asked) > 1
        assert [address.count("?") for address in asked[:2]] == [0, 1]

    async def test_what_browsers_have(self, pages: Pages, gateway: Inside, jobs: Jobs, run: str) -> None:
        """The page has a connection of its own; with the next one it is asked for again."""
        jobs.create(run)
        first = await pages.follow(f"run({run!r})")
        await first.until("now.state === 'live'")
        await pages.context.route("**/_/v1/runcast.browser.*", lambda route: route.abort())
        async with Network(gateway.port) as network:
            tab, _ = await module(pages, f"{gateway.url}/runcast.js", run, network.url)
            await tab.until("now.state === 'live' && now.transport === 'websocket'")
            await pages.context.unroute("**/_/v1/runcast.browser.*")
            other, _ = await module(pages, f"{gateway.url}/runcast.js", run, network.url)
            await other.until("now.state === 'live'")
            network.cut()
            for each in (tab, other):
                await each.until("now.state !== 'live' || seen.states.filter((state) => state === 'live').length > 1")
            for status in LIFE[1:]:
                jobs.say(run, status)
            for each in (tab, other):
                await each.until("seen.ends.length")
                assert await each.statuses(run) == list(LIFE)

    async def test_one_that_never_comes(self, pages: Pages, gateway: Inside, jobs: Jobs, run: str) -> None:
        """Nobody waits for it for long."""
        jobs.create(run)
        await pages.context.route("**/_/v1/runcast.browser.*", lambda route: None)
        tab, _ = await module(pages, f"{gateway.url}/runcast.js", run, gateway.url)
        await tab.until("now.state === 'live' && now.transport === 'websocket'")


async def test_a_policy_with_nonces_only(pages: Pages, gateway: Inside, jobs: Jobs, run: str) -> None:
    """What a script loads has its nonce."""
    jobs.create(run)
    policy = "default-src 'none'; script-src 'nonce-once'; connect-src *"
    script = f'<script nonce="once" src="{gateway.url}/runcast.global.js"></script>'
    html = f'<!doctype html><meta http-equiv="Content-Security-Policy" content="{policy}"><title>A page</title>{script}'
    with origin(html) as site:
        page = await pages.context.new_page()
        loads = Loads(page)
        await page.goto(site)
        options = {"url": gateway.url, "token": token(), "transports": ["sse"]}
        await page.evaluate(
            f"([run, options]) => {{ {RECORD}; window.seen = record(Runcast.connect(options).run(run)); }}",
            [run, options],
        )
        for _ in range(400):
            if await page.evaluate("seen.subscription.connection.state === 'live'"):
                break
            await page.wait_for_timeout(50)
        assert await page.evaluate("seen.subscription.connection.transport") == "sse"
        await page.close()
    assert loads.names == ["runcast.global.js", BROWSER, NETWORKS]
