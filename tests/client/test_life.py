"""What happens to a page that is open for long: tokens that end, gateways that restart, sleep, tunnels, hidden tabs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.client.network import Network
from tests.client.pages import PATIENCE_MS
from tests.journeys.gateway_process import SECRET, running_gateway, token
from tests.journeys.in_process import until
from tests.journeys.jobs import LIFE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.client.pages import Pages, Tab
    from tests.journeys.in_process import Inside
    from tests.journeys.jobs import Jobs
    from tests.redis_server import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="module")
TRANSPORTS = ("websocket", "sse", "poll")
#: How long tokens of three seconds are renewed; docs/tokens.md, "Proof".
RENEW_SECONDS = float(os.environ.get("RENEW_SECONDS", "5"))


@contextlib.asynccontextmanager
async def ticking(jobs: Jobs, run: str) -> AsyncIterator[None]:
    """Its metadata change all the time."""

    async def tick() -> None:
        number = 0
        while True:
            number += 1
            await asyncio.to_thread(jobs.say, run, set={"tick": number})
            await asyncio.sleep(0.05)

    task = asyncio.create_task(tick())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def mint_in(tab: Tab, *scopes: str, seconds: float) -> None:
    """The page can get tokens that live so long, by `mint()`; it counts them."""
    minted: list[str] = []

    def mint() -> str:
        minted.append(token(*scopes, expires=time.time() + seconds))
        return minted[-1]

    await tab.page.expose_function("mint", mint)
    await tab.page.evaluate("window.minted = 0")


async def test_tokens_are_renewed_without_a_seam(pages: Pages, gateway: Inside, jobs: Jobs) -> None:
    """On every transport: the connection stays, the state is live all the time, every status comes."""
    tabs: dict[str, Tab] = {}
    for transport in TRANSPORTS:
        run = f"renewed_{transport}"
        jobs.create(run)
        tabs[transport] = tab = await pages.open()
        await mint_in(tab, f"read:runs:{run}", seconds=3)
        await tab.page.evaluate(
            """([url, transport, run]) => {
                const getToken = () => (minted++, mint());
                window.runcast = Runcast.connect({ url, getToken, transports: [transport], share: false });
                window.seen = record(runcast.run(run));
            }""",
            [gateway.url, transport, run],
        )
    async with contextlib.AsyncExitStack() as changing:
        for transport in TRANSPORTS:
            await changing.enter_async_context(ticking(jobs, f"renewed_{transport}"))
        for status in LIFE[1:3]:
            await asyncio.sleep(RENEW_SECONDS / 2)
            for transport in TRANSPORTS:
                jobs.say(f"renewed_{transport}", status)
    for transport, tab in tabs.items():
        run = f"renewed_{transport}"
        jobs.say(run, "COMPLETED")
        await tab.until("seen.ends.length")
        seen = await tab.seen()
        assert seen["statuses"][run] == list(LIFE), transport
        assert set(seen["states"]) <= {"connecting", "live", "ended"}, (transport, seen["states"])
        assert seen["states"].count("live") == 1, (transport, seen["states"])
        assert await tab.page.evaluate("minted") >= 2, transport


async def test_a_token_that_has_run_out_is_replaced(pages: Pages, gateway: Inside, jobs: Jobs, run: str) -> None:
    """One call for all who wait, however many subscriptions there are; a backend that says no is believed."""
    jobs.create(run)
    ended = token(expires="1s", now=time.time() - 3600)
    for transport in TRANSPORTS:
        tab = await pages.open()
        await mint_in(tab, seconds=60)
        await tab.page.evaluate(
            """([url, token, transports, run]) => {
                const getToken = async () => ({ token: await (minted++, mint()) });
                window.runcast = Runcast.connect({ url, token, getToken, transports, share: false });
                window.seen = record(runcast.run(run));
                record(runcast.all());
            }""",
            [gateway.url, ended, [transport], run],
        )
        await tab.until("now.state === 'live' && minted === 1")
    tab = await pages.open()
    await tab.page.evaluate(
        """([url, run]) => {
            const getToken = async () => { throw Object.assign(new Error("sign in first"), { status: 401 }); };
            window.seen = record(Runcast.connect({ url, getToken }).run(run));
        }""",
        [gateway.url, run],
    )
    await tab.until("now.state === 'denied' && now.reason === 'sign in first' && seen.errors.length === 1")


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_a_revoked_token_is_believed(pages: Pages, gateway: Inside, jobs: Jobs, run: str, transport: str) -> None:
    """Somebody meant it to end: no other one is asked for."""
    jobs.create(run)
    tab = await pages.open()
    await mint_in(tab, seconds=60)
    await tab.page.evaluate(
        """([url, token, transports, run]) => {
            const getToken = () => (minted++, mint());
            window.seen = record(Runcast.connect({ url, token, getToken, transports, share: false }).run(run));
        }""",
        [gateway.url, token(subject=run), [transport], run],
    )
    await tab.until("now.state === 'live'")
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {SECRET}"}, trust_env=False) as backend:
        answer = await backend.post(f"{gateway.url}/v1/tokens/revoke", json={"subject": run})
    assert answer.status_code == 200
    await tab.until("now.state === 'denied' && seen.errors[0] === 'token_revoked' && minted === 0")


async def test_a_gateway_that_is_killed(
    pages: Pages, server: RedisServer, jobs: Jobs, run: str, site: str, tmp_path: Path
) -> None:
    """It is killed while a run goes on: pages on all transports, and tabs that share one, hear of every status."""
    jobs.create(run)
    with running_gateway(tmp_path / "log", server.url, RUNCAST_ALLOWED_ORIGINS=site) as gateway:
        tabs = [
            await pages.follow(f"run({run!r})", url=gateway.url, transports=[transport], share=False)
            for transport in TRANSPORTS
        ]
        tabs.append(await pages.follow(f"run({run!r})", url=gateway.url))
        await everybody(tabs, "now.state === 'live'")
        await asyncio.to_thread(gateway.kill)
        await everybody(tabs, "['stale', 'offline'].includes(now.state)")
        for status in LIFE[1:3]:
            jobs.say(run, status)
        await asyncio.to_thread(gateway.start)
        await everybody(tabs, "now.state === 'live' && seen.subscription.view.run.status === 'EXECUTING'")
        jobs.say(run, "COMPLETED")
        await everybody(tabs, "seen.ends.length")
        for tab in tabs:
            assert await tab.statuses(run) == list(LIFE)


async def everybody(tabs: list[Tab], condition: str) -> None:
    await asyncio.gather(*(tab.until(condition) for tab in tabs))


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
    assert await tab.statuses(run) == list(LIFE[:3])


async def test_a_laptop_that_slept(pages: Pages, gateway: Inside, jobs: Jobs, run: str) -> None:
    """Hours pass at once, and its connection is dead without a word: that is seen, and it comes back."""
    jobs.create(run)
    async with Network(gateway.port) as network:
        tab = await pages.follow(f"run({run!r})", clock=True, url=network.url, share=False)
        await tab.until("now.state === 'live'")
        network.mute = {"websocket"}
        jobs.say(run, "DEQUEUED")
        await tab.page.clock.fast_forward("08:00:00")
        network.mute = set()
        await tab.until("now.state === 'live' && seen.subscription.view.run.status === 'DEQUEUED'")
        assert (await tab.statuses(run)) == list(LIFE[:2])


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_a_hidden_page(pages: Pages, gateway: Inside, jobs: Jobs, run: str, transport: str) -> None:
    """After ten seconds it lets go of a request that is held, never of a WebSocket; seen again it is up to date."""
    jobs.create(run)
    async with Network(gateway.port) as network:
        tab = await pages.follow(f"run({run!r})", clock=True, url=network.url, transports=[transport], share=False)
        await tab.until("now.state === 'live'")
        await hide(tab, hidden=True)
        await tab.page.clock.run_for(12_000)
        if transport == "websocket":
            await tab.until("now.state === 'live'")
        else:
            await until(lambda: not network.open(transport), "no request")
            await tab.until("now.state === 'stale' && now.reason === 'the page is hidden'")
        jobs.say(run, "DEQUEUED")
        await hide(tab, hidden=False)
        await tab.until("now.state === 'live' && seen.subscription.view.run.status === 'DEQUEUED'")


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
    assert await tab.statuses(run) == list(LIFE[:3])


async def test_many_changes_make_few_views(pages: Pages, gateway: Inside, jobs: Jobs, run: str) -> None:
    """The newest state once per frame; who subscribes later to the same has it all, over the same connection."""
    jobs.create(run)
    before = gateway.viewers
    tab = await pages.follow(f"run({run!r})")
    await tab.until("now.state === 'live'")
    await asyncio.to_thread(lambda: [jobs.say(run, set={"tick": number}) for number in range(300)])
    await tab.until("seen.subscription.view.run.metadata?.tick === 299")
    frames: Any = await tab.page.evaluate("seen.views")
    assert frames < 300
    await tab.page.evaluate(
        f"window.second = record(Runcast.connect({{ url: {gateway.url!r}, token: {token()!r} }}).run({run!r}))"
    )
    await tab.page.wait_for_function("second.subscription.connection.state === 'live'", timeout=PATIENCE_MS)
    assert gateway.viewers <= before + 2
    await tab.page.evaluate("runcast.close()")
