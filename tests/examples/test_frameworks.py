"""
The examples of docs/frameworks.md: real servers, a real gateway and Redis, and a browser that holds their policies.

A job takes as long as it is long: a long one goes on for as long as a test looks at it, and is then canceled.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

import httpx2
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.examples.sites import ROOT, Example, Site, running_sites
from tests.journeys.browser import chromium_browser
from tests.journeys.gateway_process import SECRET, GatewayProcess, running_gateway
from tests.redis_server import RedisServer, binaries, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from playwright.async_api import Locator, Response

#: Rows of an export that goes on for forty seconds.
LONG: Final = 400
#: Milliseconds; for a machine that has much else to do.
PATIENCE: Final = 30_000
# Whoever shares a browser shares its event loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES: Final = (Example("fastapi"), Example("flask"), Example("django", port_option="{}"), Example("htmx"))
#: Those whose page has `<run-status>`.
ELEMENTS: Final = ("fastapi", "flask", "django")


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Site]:
    """Not started yet: the gateway has to know where they will be."""
    directory = tmp_path_factory.mktemp("checkout")
    (directory / "examples").symlink_to(ROOT / "examples")
    return {example.name: Site(example, directory) for example in EXAMPLES}


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_server(tmp_path_factory.mktemp("redis"), binaries()["valkey"]) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, redis: RedisServer, sites: dict[str, Site]
) -> Iterator[GatewayProcess]:
    """A gateway that lets the pages of all examples ask, and those."""
    log = tmp_path_factory.mktemp("gateway") / "log"
    origins = ",".join(site.url for site in sites.values())
    with (
        running_gateway(log, redis.url, RUNCAST_ALLOWED_ORIGINS=origins) as gateway,
        running_sites(list(sites.values()), gateway.url, redis.url),
    ):
        yield gateway


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium_browser() as browser:
        yield browser


class Visitors:
    """People with a browser each, whose consoles are listened to."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.said: list[str] = []
        #: Patterns of what may be said.
        self.expected: list[str] = []

    async def come(self) -> Page:
        """Somebody new."""
        context = await self._browser.new_context()
        context.set_default_timeout(PATIENCE)
        self._contexts.append(context)
        page = await context.new_page()
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(f"uncaught: {error}"))
        return page

    async def leave(self) -> None:
        for context in self._contexts:
            await context.close()


@pytest_asyncio.fixture(loop_scope="module")
async def visitors(browser: Browser) -> AsyncIterator[Visitors]:
    """
    Of no page anything is said in the console, of a mistake or of what is against its policy, but for what a test
    expects.
    """
    visitors = Visitors(browser)
    yield visitors
    await visitors.leave()
    assert [text for text in visitors.said if not any(re.search(each, text) for each in visitors.expected)] == []


@pytest.fixture(params=ELEMENTS)
def site(request: pytest.FixtureRequest, gateway: GatewayProcess, sites: dict[str, Site]) -> Site:
    """Each with a `<run-status>`."""
    return sites[request.param]


def holds_a_policy(answer: Response | None) -> None:
    """Whether a page came with one that allows nothing but what it names, and nothing inline."""
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in policy


async def begin(page: Page, site: Site, *, rows: int = LONG) -> str:
    """Have something exported, as a person does, and return the id of its run once its page is there."""
    holds_a_policy(await page.goto(site.url))
    await page.evaluate("(rows) => (document.forms[0].action += `?rows=${rows}`)", rows)
    await page.get_by_role("button", name="Export").click()
    await page.wait_for_url(re.compile("/exports/run_"))
    return page.url.rpartition("/")[2]


async def cancel(gateway: GatewayProcess, run: str) -> None:
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client:
        headers = {"Authorization": f"Bearer {SECRET}"}
        answer = await client.post(f"/v1/runs/{run}/cancel", headers=headers, json={})
    assert answer.status_code in (202, 200), answer.text  # 200: its job has heard of it and stopped already


async def opens(gateway: GatewayProcess, token: str, run: str) -> bool:
    """Whether the gateway lets whoever has *token* see *run*."""
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client:
        answer = await client.get(f"/v1/runs/{run}", headers={"Authorization": f"Bearer {token}"})
    return {200: True, 403: False}[answer.status_code]


async def moved(bar: Locator, attribute: str) -> None:
    """Return when *bar* has been at two places."""
    await expect(bar).to_have_attribute(attribute, re.compile("^[1-9]"), timeout=PATIENCE)
    before = await bar.get_attribute(attribute)
    assert before is not None
    await expect(bar).to_have_attribute(attribute, re.compile(f"^(?!{re.escape(before)}$)[1-9]"), timeout=PATIENCE)


async def test_the_bar_moves_and_says_how_it_ended(visitors: Visitors, gateway: GatewayProcess, site: Site) -> None:
    """One press of a button; nothing else is done, and nothing else is on the page."""
    page = await visitors.come()
    run = await begin(page, site)
    await moved(page.get_by_role("progressbar"), "aria-valuenow")
    await cancel(gateway, run)
    await expect(page.locator("run-status")).to_contain_text("Canceled", timeout=PATIENCE)


async def test_nobody_sees_what_others_started(visitors: Visitors, gateway: GatewayProcess, site: Site) -> None:
    """Neither in the page, nor with a token that is theirs; and who is not signed in gets none."""
    owner, other = await visitors.come(), await visitors.come()
    run, theirs = await asyncio.gather(*(begin(page, site, rows=1) for page in (owner, other)))
    tokens = f"{site.url}/exports/{{}}/token" if site.example.name == "flask" else f"{site.url}/token"
    assert await opens(gateway, await token_of(owner, tokens.format(run)), run)
    assert not await opens(gateway, await token_of(other, tokens.format(theirs)), run)
    assert httpx2.post(tokens.format(run), trust_env=False).status_code in (401, 403)

    if site.example.name == "flask":
        visitors.expected.append("status of 403")
    await other.goto(owner.url)
    await expect(owner.locator("run-status")).to_contain_text("Completed", timeout=PATIENCE)
    await expect(other.locator("run-status")).to_contain_text("Access denied", timeout=PATIENCE)
    await expect(other.locator("run-status")).not_to_contain_text("Completed")


async def token_of(page: Page, url: str) -> str:
    answer = await page.request.post(url)
    token: str = (await answer.json())["token"]
    return token


@pytest.fixture
def htmx(gateway: GatewayProcess, sites: dict[str, Site]) -> Site:
    return sites["htmx"]


async def press(page: Page, *, rows: int = LONG) -> str:
    """Have something exported, and return the id of its run."""
    button = page.get_by_role("button", name="Export")
    await button.evaluate("(button, rows) => button.setAttribute('hx-post', `/exports?rows=${rows}`)", rows)
    async with page.expect_response("**/exports?*") as answer:
        await button.click()
    return await (await answer.value).text()


async def test_the_list_of_htmx_keeps_itself_up_to_date(
    visitors: Visitors, gateway: GatewayProcess, htmx: Site
) -> None:
    """A run that begins is put on top, one that goes on changes where it is, and the end of both shows."""
    page = await visitors.come()
    holds_a_policy(await page.goto(htmx.url))
    items = page.locator(".runcast-run")
    await expect(page.locator(".runcast-connection")).to_have_attribute("data-state", "live", timeout=PATIENCE)
    await expect(items).to_have_count(0, timeout=PATIENCE)

    short = await press(page, rows=2)
    await expect(page.locator(f"[data-run={short}]")).to_have_attribute("data-state", "completed", timeout=PATIENCE)
    long = await press(page)
    await moved(page.get_by_role("progressbar"), "value")
    await expect(items).to_have_count(2, timeout=PATIENCE)
    assert [await item.get_attribute("data-run") for item in await items.all()] == [long, short]
    await cancel(gateway, long)
    await expect(items.first).to_have_attribute("data-state", "canceled", timeout=PATIENCE)
    await expect(page.get_by_role("progressbar")).to_have_count(0, timeout=PATIENCE)


async def test_the_page_of_htmx_gets_new_tokens_and_says_when_it_is_signed_out(
    visitors: Visitors, gateway: GatewayProcess, htmx: Site
) -> None:
    """What is on the list stays there meanwhile, and what comes later comes over the new connection."""
    page = await visitors.come()
    await page.clock.install()
    await page.goto(htmx.url)
    first = await press(page, rows=1)
    await expect(page.locator(f"[data-run={first}]")).to_have_attribute("data-state", "completed", timeout=PATIENCE)

    async with page.expect_response("**/v1/events?*") as renewed:
        await page.clock.fast_forward("10:00")
    await renewed.value
    await expect(page.locator("[data-run]")).to_have_count(1, timeout=PATIENCE)
    second = await press(page, rows=1)
    await expect(page.locator(f"[data-run={second}]")).to_have_attribute("data-state", "completed", timeout=PATIENCE)

    visitors.expected.append("status of 401|htmx:response:error")
    await page.context.clear_cookies()
    await page.clock.fast_forward("10:00")
    await expect(page.get_by_text("You are signed out.")).to_be_visible(timeout=PATIENCE)


async def test_the_page_of_htmx_tries_again_when_it_can_not_connect(
    visitors: Visitors, gateway: GatewayProcess, htmx: Site
) -> None:
    """Twenty seconds later, where htmx itself would not: it tries again only what was connected once."""
    visitors.expected.append("ERR_FAILED|htmx:error")
    page = await visitors.come()
    await page.clock.install()
    await page.route("**/v1/events?*", lambda route: route.abort())
    async with page.expect_console_message(lambda message: "htmx:error" in message.text):
        await page.goto(htmx.url)
    await page.unroute("**/v1/events?*")
    await page.clock.fast_forward("00:20")
    await expect(page.locator(".runcast-connection")).to_have_attribute("data-state", "live", timeout=PATIENCE)


async def test_a_list_of_htmx_that_hears_nothing_does_not_look_new(
    visitors: Visitors, gateway: GatewayProcess, htmx: Site
) -> None:
    """Each heartbeat begins the minute anew, after which the page says that it heard nothing."""
    page = await visitors.come()
    await page.goto(htmx.url)
    await expect(page.locator(".runcast-connection")).to_have_attribute("data-state", "live", timeout=PATIENCE)
    visibility = "() => getComputedStyle(document.querySelector('.runcast-connection'), '::after').visibility"
    assert await page.evaluate(visibility) == "hidden"
    assert await page.evaluate("() => document.getAnimations().map((each) => each.effect.getTiming().delay)") == [60000]
    await page.evaluate("() => document.getAnimations().forEach((each) => each.finish())")
    assert await page.evaluate(visibility) == "visible"


async def test_nobody_sees_the_list_of_others(gateway: GatewayProcess, htmx: Site) -> None:
    """The token in the page is for the runs of its visitor; and who is not signed in gets none."""
    clients = [httpx2.AsyncClient(base_url=htmx.url, trust_env=False) for _ in range(3)]
    owner, other, nobody = clients
    tokens = []
    for client in (owner, other):
        await client.get("/")
        tokens += re.findall(r"Bearer ([\w.-]+)", (await client.get("/connection")).text)
    run = (await owner.post("/exports", params={"rows": 1})).text
    assert [await opens(gateway, token, run) for token in tokens] == [True, False]
    assert (await nobody.get("/connection")).status_code == 401
    assert (await nobody.post("/exports")).status_code == 401
    for client in clients:
        await client.aclose()
