"""
The official React hooks in a real browser: the page of examples/react, from another origin, against a real gateway.

Each test publishes as a Python worker does, and waits for what a person would see.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from gateway import Publisher
from tests.journeys import tabs
from tests.journeys.browser import chromium_browser
from tests.journeys.gateway_process import SECRET, GatewayProcess, running_gateway, token
from tests.journeys.proxy import Proxy
from tests.journeys.react_page import PageServer, build_for_developers, build_with_old_hooks
from tests.journeys.reports import Order, Shown
from tests.redis_server import RedisServer, binaries, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


# Whoever shares a browser shares its event loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")

#: The life of a token that ends while it is used; the page must have opened all it opens by then.
SHORT = "4s"


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_server(tmp_path_factory.mktemp("redis"), binaries()["valkey"]) as server:
        yield server


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, PageServer]]:
    """
    The page with the newest hooks and the oldest.

    That with the newest is as `npm run dev` has it: there React mounts every component twice, to find those that mind.
    How it is deployed is what test_triggerdev_page.py looks at.
    """
    builds = {"4.8.3": build_for_developers, "4.5.0": build_with_old_hooks}
    directory = tmp_path_factory.mktemp("pages")
    with ThreadPoolExecutor() as at_once, contextlib.ExitStack() as serving:
        made = {name: at_once.submit(make, directory / name) for name, make in builds.items()}
        yield {name: serving.enter_context(PageServer(page.result()).serving()) for name, page in made.items()}


@pytest.fixture(scope="module")
def site(sites: dict[str, PageServer]) -> PageServer:
    return sites["4.8.3"]


@pytest.fixture(params=["4.8.3", "4.5.0"])
def each_site(request: pytest.FixtureRequest, sites: dict[str, PageServer]) -> PageServer:
    """The test runs with both."""
    return sites[request.param]


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, redis: RedisServer, sites: dict[str, PageServer]
) -> Iterator[GatewayProcess]:
    """A gateway that lets the pages of all these origins ask."""
    log = tmp_path_factory.mktemp("gateway") / "log"
    origins = ",".join(site.url for site in sites.values())
    with running_gateway(log, redis.url, RUNCAST_ALLOWED_ORIGINS=origins) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def publisher(redis: RedisServer) -> Iterator[Publisher]:
    """What a Python worker has."""
    with Publisher(redis.url) as publisher:
        yield publisher


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium_browser() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A browser's page, in whose console nothing may be said about CORS, and no mistake of a script."""
    said: list[str] = []
    context = await browser.new_context()
    page = await context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(f"uncaught: {error}"))
    yield page
    await context.close()
    assert not [text for text in said if re.search(r"CORS|Access-Control|uncaught", text)], said


_numbers = itertools.count(1)


@pytest.fixture
def order(publisher: Publisher) -> Order:
    return Order(publisher, next(_numbers))


def watch(page: Page, pattern: str) -> list[int]:
    """The statuses that *page* is answered with for URLs that have *pattern*, as they come."""
    statuses: list[int] = []
    page.on("response", lambda answer: statuses.append(answer.status) if re.search(pattern, answer.url) else None)
    return statuses


async def test_each_hook_shows_a_run_and_its_changes(
    page: Page, gateway: GatewayProcess, each_site: PageServer, order: Order
) -> None:
    """From its creation to its end; `onComplete` is called once."""
    sales = order.create("Sales")
    each_site.session = {"baseURL": gateway.url, "accessToken": order.token(sales)}
    shown = await order.show(page, each_site, sales)
    await expect(shown.report).to_contain_text("queued")  # useRealtimeRun
    await expect(shown.line("Sales")).to_contain_text("queued")  # useRealtimeRunsWithTag
    await expect(shown.batch).to_contain_text("0 of 1 ended")  # useRealtimeBatch

    sales.start()
    sales.progress(3, 10, "reading orders")
    await shown.has_progress(30, "reading orders")
    await expect(shown.line("Sales")).to_contain_text("executing")
    await expect(shown.batch.get_by_role("progressbar")).to_have_js_property("value", 30)

    returns = order.create("Returns")
    await expect(shown.line("Returns")).to_contain_text("queued")
    await expect(shown.batch).to_contain_text("0 of 2 ended")
    returns.start()
    returns.fail(ValueError("no such year"))
    await expect(shown.line("Returns")).to_contain_text("failed")
    await expect(shown.batch).to_contain_text("1 of 2 ended")

    sales.stream("text").write("Sales ")  # useRealtimeStream
    await expect(shown.text).to_have_text("Sales")
    sales.stream("text").write("grew.")
    await expect(shown.text).to_have_text("Sales grew.")

    sales.complete({"words": 2})
    await expect(shown.report).to_contain_text("completed")
    await expect(shown.line("Sales")).to_contain_text("completed")
    await expect(shown.batch).to_contain_text("2 of 2 ended")
    await expect(shown.ended).to_have_text(["Sales completed"])
    await expect(shown.text).to_have_text("Sales grew.")
    await expect(page.get_by_role("alert")).to_have_count(0)
    await expect(shown.list.get_by_role("listitem")).to_have_count(2)


async def test_one_hook_shows_a_run_and_all_of_its_streams(
    page: Page, gateway: GatewayProcess, each_site: PageServer, order: Order
) -> None:
    """`useRealtimeRunWithStreams` opens a stream as soon as the run has it, and has all of it, once."""
    run = order.create("Stock")
    run.start()
    run.log("looking")
    each_site.session = {"baseURL": gateway.url, "accessToken": order.token()}
    shown = await order.show(page, each_site, run, "everything")
    await expect(shown.log.get_by_role("paragraph")).to_have_text([re.compile("looking")])
    for word in ("Enough ", "of ", "everything."):
        run.stream("text").write(word)
    await expect(shown.text).to_have_text("Enough of everything.")
    run.log("writing")
    run.progress(1, 2, "writing")
    await shown.has_progress(50, "writing")
    run.complete()
    await expect(shown.ended).to_have_text(["Stock completed"])
    await expect(shown.log.get_by_role("paragraph")).to_have_text([re.compile("looking"), re.compile("writing")])
    await expect(shown.text).to_have_text("Enough of everything.")


async def test_a_run_that_is_only_read_is_read_until_its_end(
    page: Page, gateway: GatewayProcess, site: PageServer, order: Order
) -> None:
    """`useRun` asks for a run, its output and its error, and stops asking when it has ended."""
    run = order.create("Sales")
    site.session = {"baseURL": gateway.url, "accessToken": order.token()}
    shown = await order.show(page, site, run, "record")
    await expect(shown.report).to_contain_text("queued")
    await expect(shown.output).to_contain_text("No output yet")
    run.start()
    run.complete({"words": 2})
    await expect(shown.report).to_contain_text("completed")
    await expect(shown.output).to_have_text('{ "words": 2 }')


async def test_a_list_has_every_run_there_is(
    page: Page, gateway: GatewayProcess, site: PageServer, order: Order
) -> None:
    """A snapshot of many, in the order in which they were created."""
    topics = [f"Number {number}" for number in range(60)]
    runs = [order.create(topic) for topic in topics]
    site.session = {"baseURL": gateway.url, "accessToken": order.token()}
    shown = await order.show(page, site, runs[0])
    await expect(shown.list.locator(".topic")).to_have_text(topics[::-1])
    await expect(shown.batch).to_contain_text("0 of 60 ended")


async def test_what_is_sent_from_the_page_reaches_the_worker(
    page: Page, gateway: GatewayProcess, each_site: PageServer, order: Order
) -> None:
    """`useInputStreamSend`: the worker asks, waits, and goes on with the answer."""
    run = order.create("Sales")
    run.start()
    each_site.session = {"baseURL": gateway.url, "accessToken": order.token(run)}
    shown = await order.show(page, each_site, run)
    answer = asyncio.create_task(asyncio.to_thread(run.input("approval").wait, timeout=20))
    run.set("question", "May this be sent?")
    await shown.report.get_by_role("button", name="Approve").click()
    assert await answer == {"approved": True}
    run.delete("question")
    await expect(shown.report.get_by_role("button", name="Approve")).to_have_count(0)
    run.complete()
    await expect(shown.report).to_contain_text("completed")


async def test_a_token_that_ends_does_not_stop_what_is_open(
    page: Page, gateway: GatewayProcess, each_site: PageServer, sites: dict[str, PageServer], order: Order
) -> None:
    """
    Feeds go on with the token that they began with, also when the connection is cut; a stream until it is.

    Then 4.8.3 asks the page for a new token, and 4.5.0 shows an error.
    """
    run = order.create("Sales")
    run.start()
    old = order.token(expires=SHORT)
    async with Proxy(gateway.port) as network:
        url = f"http://127.0.0.1:{network.port}"
        each_site.session = {"baseURL": url, "accessToken": old}
        shown = await order.show(page, each_site, run)
        run.stream("text").write("Sales ")
        await expect(shown.text).to_have_text("Sales")
        each_site.session = {"baseURL": url, "accessToken": order.token()}
        await until_refused(f"{gateway.url}/api/v3/runs/{run.id}", old)
        for step in range(1, 3):  # each is another poll
            run.progress(step, 4, f"step {step}")
            await shown.has_progress(step * 25, f"step {step}")
        run.stream("text").write("grew ")
        await expect(shown.text).to_have_text("Sales grew")
        order.create("Returns")
        await expect(shown.line("Returns")).to_contain_text("queued")
        await expect(page.get_by_role("alert")).to_have_count(0)

        await network.refuse()
        run.stream("text").write("much.")
        run.progress(3, 4, "while it was cut")
        await network.accept()
        await shown.has_progress(75, "while it was cut")
        refreshes = each_site is sites["4.8.3"]
        await expect(page.get_by_role("alert")).to_have_count(0 if refreshes else 1)
        await expect(shown.text).to_have_text("Sales grew much." if refreshes else "Sales grew")
        run.complete()
        await expect(shown.ended).to_have_text(["Sales completed"])
        await expect(shown.batch).to_contain_text("1 of 2 ended")


async def test_a_token_that_is_revoked_ends_what_is_open(
    page: Page, gateway: GatewayProcess, site: PageServer, order: Order
) -> None:
    """Somebody meant it to end, so there is no grace: the page says so, of everything it shows."""
    run = order.create("Sales")
    run.start()
    revoked = order.token()
    site.session = {"baseURL": gateway.url, "accessToken": revoked}
    shown = await order.show(page, site, run)
    run.stream("text").write("Sales")
    await expect(shown.text).to_have_text("Sales")
    async with httpx2.AsyncClient(trust_env=False) as client:
        key = {"Authorization": f"Bearer {SECRET}"}
        answer = await client.post(f"{gateway.url}/v1/tokens/revoke", headers=key, json={"token": revoked})
    assert answer.status_code == 200
    await expect(page.get_by_role("alert")).to_have_text([re.compile("401")] * 4)


async def until_refused(url: str, credential: str) -> None:
    """Wait until *credential* has expired."""
    async with asyncio.timeout(10), httpx2.AsyncClient(trust_env=False) as client:
        while (await client.get(url, headers={"Authorization": f"Bearer {credential}"})).status_code != 401:
            await asyncio.sleep(0.05)


async def test_a_page_that_knows_when_its_token_ends_renews_it_before(
    page: Page, gateway: GatewayProcess, site: PageServer, order: Order
) -> None:
    """What is asked after the first token ended is asked with the second."""
    run = order.create("Sales")
    run.start()
    first, second = order.token(expires=SHORT), order.token(run)
    site.session = {"baseURL": gateway.url, "accessToken": first, "expiresAt": (time.time() + 4) * 1000}
    shown = await order.show(page, site, run)
    await expect(shown.report).to_contain_text("executing")
    site.session = {"baseURL": gateway.url, "accessToken": second}
    async with asyncio.timeout(10):
        while site.told[-1] != second:
            await asyncio.sleep(0.02)
    await until_refused(f"{gateway.url}/api/v3/runs/{run.id}", first)
    run.set("question", "May this be sent?")
    await shown.report.get_by_role("button", name="Reject").click()
    assert await asyncio.to_thread(run.input("approval").wait, timeout=20) == {"approved": False}
    await expect(page.get_by_role("alert")).to_have_count(0)
    run.complete()


async def test_a_bad_token_is_an_error_once(
    page: Page, gateway: GatewayProcess, each_site: PageServer, sites: dict[str, PageServer], order: Order
) -> None:
    """The page says what is wrong, and nobody asks again and again."""
    run = order.create("Sales")
    run.start()
    each_site.session = {"baseURL": gateway.url, "accessToken": order.token() + "x"}
    feeds, streams = watch(page, r"/realtime/v1/(runs|batches)"), watch(page, "/realtime/v1/streams")
    shown = await order.show(page, each_site, run)
    # Of the list, the batch, the run and its stream.
    await expect(page.get_by_role("alert")).to_have_count(4)
    await expect(shown.list.get_by_role("alert")).to_have_text(re.compile("^401: "))
    await expect(shown.batch.get_by_role("alert")).to_have_text(re.compile("^401: "))
    await expect(shown.report.get_by_role("alert").first).to_have_text(re.compile("^401: "))
    # A client that came back would have done so ten times by then: it begins with a tenth of a second.
    await page.evaluate("() => new Promise((resolve) => setTimeout(resolve, 1000))")
    assert feeds == [401] * 3
    # 4.8.3 asks the page for another token, which is no better: once, or again for who is shown anew meanwhile.
    assert set(streams) == {401}
    assert len(streams) <= (3 if each_site is sites["4.8.3"] else 1)


async def test_a_token_for_something_else_is_an_error(
    page: Page, gateway: GatewayProcess, site: PageServer, order: Order
) -> None:
    """403 for what is there and not allowed, 404 for what is not there."""
    run = order.create("Sales")
    site.session = {"baseURL": gateway.url, "accessToken": token(f"read:tags:{order.tag}")}
    shown = await order.show(page, site, run)
    await expect(shown.batch.get_by_role("alert")).to_have_text(re.compile("^403: "))
    await expect(shown.report).to_contain_text("queued")
    await page.goto(f"{site.url}/?run=run_nowhere&tag={order.tag}")
    await expect(shown.report.get_by_role("alert").first).to_have_text(re.compile("^404: "))


async def test_a_page_of_another_origin_is_shown_nothing(
    browser: Browser, gateway: GatewayProcess, site: PageServer, order: Order
) -> None:
    """The hooks can't tell it from a network that is down; the browser's console can."""
    run = order.create("Sales")
    site.session = {"baseURL": gateway.url, "accessToken": order.token()}
    context = await browser.new_context()
    page = await context.new_page()
    stranger = site.url.replace("127.0.0.1", "localhost")
    async with page.expect_console_message(lambda message: "blocked by CORS policy" in message.text):
        await page.goto(f"{stranger}/?run={run.id}&batch={order.batch}&tag={order.tag}")
    await expect(Shown(page).list).to_contain_text("None yet.")
    await context.close()


async def test_a_stream_goes_on_after_a_cut_connection(
    page: Page, gateway: GatewayProcess, each_site: PageServer, order: Order
) -> None:
    """Every word once and in order, whatever is cut in between."""
    run = order.create("Sales")
    run.start()
    words = [f"word{number} " for number in range(200)]
    async with Proxy(gateway.port) as network:
        each_site.session = {"baseURL": f"http://127.0.0.1:{network.port}", "accessToken": order.token()}
        shown = await order.show(page, each_site, run)
        text = run.stream("text")
        for number, word in enumerate(words):
            text.write(word)
            if number in (50, 120):
                await expect(shown.text).to_contain_text(word)
                await network.refuse()
            if number in (80, 160):
                await network.accept()
                await expect(shown.text).to_contain_text(word)
        run.complete()
        await expect(shown.text).to_have_text("".join(words))
        await expect(shown.ended).to_have_text(["Sales completed"])


async def test_a_gateway_that_is_killed_comes_back_to_the_page(
    page: Page, gateway: GatewayProcess, each_site: PageServer, order: Order
) -> None:
    """What happened while it was away is shown when it is back, with no doing of anybody."""
    run = order.create("Sales")
    run.start()
    each_site.session = {"baseURL": gateway.url, "accessToken": order.token()}
    shown = await order.show(page, each_site, run)
    run.stream("text").write("before ")
    await expect(shown.text).to_have_text("before")
    gateway.kill()
    run.progress(1, 2, "while it was away")
    run.stream("text").write("during ")
    returns = order.create("Returns")
    await asyncio.to_thread(gateway.start)
    await shown.has_progress(50, "while it was away")
    await expect(shown.line("Returns")).to_contain_text("queued")
    run.stream("text").write("after")
    await expect(shown.text).to_have_text("before during after")
    returns.start()
    returns.complete()
    await expect(shown.line("Returns")).to_contain_text("completed")
    await expect(shown.batch).to_contain_text("1 of 2 ended")
    run.complete()
    await expect(shown.ended).to_have_text(["Sales completed"])


async def test_what_a_script_of_another_origin_can_read(
    page: Page, gateway: GatewayProcess, site: PageServer, order: Order
) -> None:
    """The headers that the clients need are exposed, on streams and feeds."""
    run = order.create("Sales")
    run.start()
    run.stream("text").write("word")
    run.complete()
    site.session = {"baseURL": gateway.url, "accessToken": order.token()}
    await order.show(page, site, run)
    script = """async ([url, token]) => {
        const answer = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
        return { status: answer.status, body: await answer.text(), ...Object.fromEntries(answer.headers) };
    }"""
    stream = await page.evaluate(script, [f"{gateway.url}/realtime/v1/streams/{run.id}/text", order.token()])
    assert (stream["status"], stream["x-stream-version"]) == (200, "v2")
    feed = await page.evaluate(script, [f"{gateway.url}/realtime/v1/runs/{run.id}?offset=-1", order.token()])
    assert feed["status"] == 200
    assert {"electric-handle", "electric-offset", "electric-schema"} <= feed.keys()
    refused = await page.evaluate(script, [f"{gateway.url}/realtime/v1/runs/{run.id}?offset=-1", "nonsense"])
    assert refused["status"] == 401


async def test_a_hidden_page_asks_for_nothing_and_comes_back_right(
    gateway: GatewayProcess, site: PageServer, order: Order, tmp_path: Path
) -> None:
    """Behind another tab no feed is asked for; in front again the page shows what happened meanwhile."""
    run = order.create("Sales")
    run.start()
    site.session = {"baseURL": gateway.url, "accessToken": order.token()}
    async with tabs.browser(tmp_path / "profile") as window:
        tab = await window.open(f"{site.url}/?run={run.id}&batch={order.batch}&tag={order.tag}")
        await tab.until("document.querySelector('.details .status')?.textContent === 'executing'")
        await tab.until_requests(lambda: len(feeds(tab.pending.values())) == 3)

        await window.open("about:blank")
        await tab.until_requests(lambda: not feeds(tab.pending.values()))
        asked = len(feeds(tab.asked))
        for step in range(1, 4):
            run.progress(step, 4, f"step {step}")
        order.create("Returns")
        await tab.until("document.visibilityState === 'hidden'")
        assert len(feeds(tab.asked)) == asked

        await tab.show()
        await tab.until("document.querySelector('.details progress')?.value === 75")
        await tab.until("document.querySelectorAll('.runs li').length === 2")
        run.complete()
        assert await tab.until("document.querySelector('.notices')?.textContent") == "Sales completed"


def feeds(urls: Any) -> list[str]:
    return [url for url in urls if re.search(r"/realtime/v1/(runs|batches)", url)]
