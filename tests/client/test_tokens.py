"""Pages show short tokens for as long as they like: renewed unnoticed, whatever troubles their backends have."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import pytest_asyncio

from tests.client.backend import Answer, Backend, minting, saying
from tests.client.network import Network
from tests.client.pages import LONG_PATIENCE_MS, PATIENCE_MS, Pages, everybody
from tests.journeys.gateway_process import SECRET, token
from tests.journeys.in_process import Inside, until
from tests.journeys.jobs import LIFE, Jobs
from tests.soon import soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from playwright.async_api import Browser, Route

    from tests.client.pages import Tab
    from tests.redis_server import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="module")
TRANSPORTS = ("websocket", "sse", "poll")
#: For how long pages show tokens that end in a few seconds; docs/tokens.md, "Proof".
RENEW_SECONDS = float(os.environ.get("RENEW_SECONDS", "60"))
TOKEN_SECONDS = 12
#: What is wrong with a backend, as it answers then.
TROUBLES: dict[str, Answer] = {
    "/fails": saying(500, "{}"),
    "/cut": lambda: None,
    "/page": saying(200, "<!doctype html><title>Sign in</title>"),
    "/null": saying(200, "null"),
    "/nothing": saying(200, "{}"),
    "/none": saying(200, '{"token": null}'),
}


@pytest.fixture
def backend(site: str) -> Iterator[Backend]:
    with Backend(site) as backend:
        yield backend


def states_of(seen: dict[str, Any]) -> list[str]:
    """Its states, one after the other; a connection is also told anew when something else about it is another."""
    return [state for state, _ in itertools.groupby(seen["states"])]


async def mint_in(tab: Tab, *, seconds: float) -> None:
    """The page can get tokens that live so long, by `mint()`; it counts them."""
    await tab.page.expose_function("mint", lambda: token(expires=soon(seconds)))
    await tab.page.evaluate("window.minted = 0")


class Renewing:
    """Pages that show token after token, while the runs of a tag live one after the other."""

    TAG = "renewing"

    def __init__(self, pages: Pages, network: Network, backend: Backend, jobs: Jobs) -> None:
        self.pages, self.network, self.backend = pages, network, backend
        #: By transport and way to get tokens; and two that share a connection.
        self.tabs: dict[str, Tab] = {}
        self._jobs = jobs
        self._living: asyncio.Task[list[str]] | None = None

    async def begin(self) -> None:
        for transport in TRANSPORTS:
            for way in ("getToken", "tokenUrl"):
                await self._follow(f"/{transport}-{way}", [transport])
        for name in ("/first", "/second"):
            await self._follow(name, None)
        self._living = asyncio.create_task(self._live())

    async def end(self) -> list[str]:
        """Wait until time is up. Returns the ids of the runs that lived."""
        assert self._living is not None
        return await self._living

    async def stop(self) -> None:
        """At once."""
        if self._living is not None:
            self._living.cancel()
            await asyncio.gather(self._living, return_exceptions=True)

    async def _follow(self, name: str, transports: list[str] | None) -> None:
        """The runs of the tag, and ten more with the same token."""
        self.tabs[name] = tab = await self.pages.open()
        await mint_in(tab, seconds=TOKEN_SECONDS)
        self.backend.answers[name] = minting(seconds=TOKEN_SECONDS)
        await tab.page.evaluate(
            """([url, tokenUrl, transports, tag]) => {
                // It waits half as long before it renews a token: that is in time also where everything takes its time.
                const later = setTimeout;
                window.setTimeout = (call, time = 0) => later(call, time > 4000 ? time / 2 : time);
                const getToken = async () => (minted++, { token: await mint() });
                const share = !transports;
                const way = tokenUrl.endsWith("getToken") ? { getToken } : { tokenUrl };
                const connect = () => Runcast.connect({ url, share, ...(transports && { transports }), ...way });
                window.seen = record(connect().tags([tag]));
                for (let number = 0; number < 10; number++) connect().run("other" + number);
            }""",
            [self.network.url, self.backend.url + name, transports, self.TAG],
        )
        await tab.until("now.state === 'live'")

    async def _live(self) -> list[str]:
        """Runs, until time is up and every tab has had as many tokens as end in that time."""
        lived: list[str] = []
        began = time.monotonic()
        # Of tabs that share only the one with the connection needs new ones.
        renewing = [name for name in self.tabs if "-" in name]
        while (
            time.monotonic() < began + RENEW_SECONDS
            or min([await self._had(name) for name in renewing]) < RENEW_SECONDS / TOKEN_SECONDS
        ):
            lived.append(f"{self.TAG}_{len(lived)}")
            await asyncio.to_thread(self._jobs.create, lived[-1], tags=[self.TAG])
            for status in LIFE[1:]:
                await asyncio.sleep(0.2)
                await asyncio.to_thread(self._jobs.say, lived[-1], status)
        return lived

    async def _had(self, name: str) -> int:
        if name.endswith("tokenUrl"):
            return self.backend.times(name)
        minted: int = await self.tabs[name].page.evaluate("minted")
        return minted


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def renewing(browser: Browser, site: str, quiet: Inside, server: RedisServer) -> AsyncIterator[Renewing]:
    """It goes on beside all tests of this file: the last one looks what became of it."""
    context = await browser.new_context()
    async with Network(quiet.port) as network:
        with Backend(site) as backend, Jobs(server.url) as jobs:
            renewing = Renewing(Pages(context, site, quiet.url), network, backend, jobs)
            await renewing.begin()
            yield renewing
            await renewing.stop()
            await context.close()


class TestRenewing:
    """A token that ends soon is replaced in time."""

    async def test_a_backend_that_fails_meanwhile(
        self, pages: Pages, quiet: Inside, backend: Backend, jobs: Jobs, run: str
    ) -> None:
        """As long as the old token holds nobody sees anything of it: it is asked again, and then all goes on."""
        jobs.create(run)
        backend.answers["/token"] = minting(seconds=60)
        async with Network(quiet.port) as network:
            tab = await pages.follow(
                f"run({run!r})", clock=True, url=network.url, token=None, tokenUrl=f"{backend.url}/token", share=False
            )
            await tab.until("now.state === 'live'")
            for trouble, answer in [*TROUBLES.items(), ("none", minting(seconds=3600))]:
                backend.answers["/token"] = answer
                await self.pass_until(tab, backend, backend.times("/token") + 1, trouble)
            jobs.say(run, "DEQUEUED")
            await tab.until(f"seen.statuses[{run!r}].length === 2")
            assert states_of(await tab.seen()) == ["connecting", "live"]
            assert network.asked == ["websocket"]

    async def pass_until(self, tab: Tab, backend: Backend, times: int, trouble: str) -> None:
        """Let the page's time pass, much faster than ours, until it has asked so often."""
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while backend.times("/token") < times:
            assert time.monotonic() < deadline, f"it did not ask again; the trouble was {trouble}"
            await tab.page.clock.run_for(1000)
            await asyncio.sleep(0.02)


class TestTroubles:
    """Tokens that are not to be had, or of no use."""

    async def test_a_backend_is_asked_until_it_can(
        self, pages: Pages, gateway: Inside, backend: Backend, jobs: Jobs, run: str
    ) -> None:
        """Whatever it answers: nothing is shown as known meanwhile, with the reason; nobody gives up."""
        jobs.create(run)
        tab = await pages.open()
        backend.answers |= TROUBLES
        await tab.page.evaluate(
            """([url, backend, paths, run]) => {
                window.all = paths.map((path) =>
                    record(Runcast.connect({ url, tokenUrl: backend + path, share: false }).run(run)));
                window.seen = all[0];
            }""",
            [gateway.url, backend.url, list(TROUBLES), run],
        )
        await until(lambda: all(backend.times(path) > 3 for path in TROUBLES), "another try of each")
        told = await tab.page.evaluate("all.map(({ errors, subscription }) => [errors, subscription.connection])")
        for path, (errors, now) in zip(TROUBLES, told, strict=True):
            assert (errors, now["asOf"]) == ([], None), path
            assert now["state"] in ("connecting", "offline"), path
        assert any(now["reason"] for _, now in told)
        for path in TROUBLES:
            backend.answers[path] = minting(seconds=60)
        await tab.until(
            "all.every(({ subscription }) => subscription.connection.state === 'live')", patience_ms=LONG_PATIENCE_MS
        )
        jobs.say(run, "COMPLETED")
        await tab.until("all.every(({ ends }) => ends.length)")

    async def test_a_token_ends_while_there_is_no_other(
        self, pages: Pages, gateway: Inside, backend: Backend, jobs: Jobs, run: str
    ) -> None:
        """It is over, and pages on every transport say so; with the next token they go on where they were."""
        jobs.create(run)
        tabs = []
        for transport in TRANSPORTS:
            path = f"/{transport}"
            backend.answers[path] = minting(seconds=1)
            tabs.append(
                await pages.follow(
                    *(f"run({run!r})",),
                    token=None,
                    tokenUrl=backend.url + path,
                    transports=[transport],
                    share=False,
                    url=gateway.url,
                )
            )
            await tabs[-1].until("now.state === 'live'")
            backend.answers[path] = TROUBLES["/fails"]
        await everybody(tabs, "['stale', 'offline'].includes(now.state) && now.reason")
        for status in LIFE[1:3]:
            jobs.say(run, status)
        for transport in TRANSPORTS:
            backend.answers[f"/{transport}"] = minting(seconds=60)
        await everybody(tabs, "now.state === 'live'")
        jobs.say(run, "COMPLETED")
        await everybody(tabs, "seen.ends.length")
        for tab in tabs:
            assert await tab.statuses(run) == list(LIFE)

    @pytest.mark.parametrize("transport", TRANSPORTS)
    async def test_a_backend_that_gives_what_has_ended(
        self, pages: Pages, gateway: Inside, backend: Backend, jobs: Jobs, run: str, transport: str
    ) -> None:
        """Another one is asked for; whose backend never has a good one asks three times, and says why it stopped."""
        jobs.create(run)
        ended = f'{{"token": "{token(expires="1s", now=time.time() - 3600)}"}}'
        answers = itertools.chain([(200, ended)], itertools.repeat(minting(seconds=60)()))
        backend.answers = {"/once": lambda: next(answers), "/always": saying(200, ended)}
        options: dict[str, Any] = {"token": None, "transports": [transport], "share": False}
        once = await pages.follow(f"run({run!r})", tokenUrl=f"{backend.url}/once", **options)
        always = await pages.follow(f"run({run!r})", tokenUrl=f"{backend.url}/always", **options)
        await once.until("now.state === 'live'")
        await always.until("now.state === 'denied' && seen.errors[0] === 'token_expired'")
        assert (backend.times("/once"), backend.times("/always")) == (2, 3)

    async def test_a_backend_that_needs_cookies(
        self, pages: Pages, gateway: Inside, backend: Backend, jobs: Jobs, run: str
    ) -> None:
        """They are sent to another origin, too; who is not signed in there is told so, and not asked again."""
        jobs.create(run)
        backend.answers["/token"] = lambda: minting(seconds=60)() if "session=7" in backend.cookies[-1] else (401, "{}")
        options: dict[str, Any] = {"token": None, "tokenUrl": f"{backend.url}/token", "share": False}
        stranger = await pages.follow(f"run({run!r})", **options)
        await stranger.until("now.state === 'denied' && now.reason && seen.errors.length === 1")
        assert backend.times("/token") == 1
        await pages.context.add_cookies([{"name": "session", "value": "7", "url": backend.url}])
        known = await pages.follow(f"run({run!r})", **options)
        await known.until("now.state === 'live'")


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


async def test_a_renewal_that_does_not_get_through_asks_for_no_more_tokens(
    pages: Pages, gateway: Inside, jobs: Jobs, run: str
) -> None:
    """What may be in the way of it can be there for long: the token that there is is shown again and again."""
    jobs.create(run)
    tab = await pages.open(hasty=True)
    shown = 0

    async def refuse(route: Route) -> None:
        nonlocal shown
        shown += 1
        await route.abort("connectionrefused")

    await tab.page.route("**/v1/connections/**", refuse)
    await mint_in(tab, seconds=60)
    await tab.page.evaluate(
        """([url, token, run]) => {
            const getToken = () => (minted++, mint());
            window.seen = record(Runcast.connect({ url, token, getToken, transports: ["sse"], share: false }).run(run));
        }""",
        [gateway.url, token(expires="30s"), run],
    )
    await tab.until("now.state === 'live'")
    await until(lambda: shown > 3, "the fourth time that it was shown")
    assert await tab.page.evaluate("minted") == 1


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


async def test_a_minute_without_a_seam(renewing: Renewing) -> None:
    """
    Tokens end every few seconds, on every transport, with `tokenUrl` and `getToken`, and for tabs that share.

    Live all the time, on one connection where the transport has one, with every status of every run; and there is one
    request for a token at a time, however many subscriptions there are.
    """
    lived = await renewing.end()
    for name, tab in renewing.tabs.items():
        await tab.until(f"seen.statuses[{lived[-1]!r}]?.length === {len(LIFE)}")
        seen = await tab.shown()
        assert seen["statuses"] == {each: list(LIFE) for each in lived}, name
        assert (states_of(seen), seen["replaced"], seen["errors"]) == (["connecting", "live"], 1, []), name
    assert [renewing.network.asked.count(transport) for transport in ("websocket", "sse")] == [3, 2]
    for path, asked in renewing.backend.asked.items():
        assert all(later - earlier > 1 for earlier, later in itertools.pairwise(asked)), path
    assert renewing.pages.errors == []
