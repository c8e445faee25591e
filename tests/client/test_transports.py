"""Pages follow runs on every transport, and find the one that a network lets through."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.client.network import Network
from tests.journeys.gateway_process import token
from tests.journeys.jobs import LIFE

if TYPE_CHECKING:
    from gateway.publisher import Publisher
    from tests.client.pages import Pages, Tab
    from tests.journeys.in_process import Inside
    from tests.journeys.jobs import Jobs

pytestmark = pytest.mark.asyncio(loop_scope="module")
TRANSPORTS = ("websocket", "sse", "poll")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_page_sees_every_status_and_the_end(pages: Pages, jobs: Jobs, run: str, transport: str) -> None:
    """A page of another origin: each status in order, the state live and then ended, the run as it ended."""
    jobs.create(run)
    tab = await pages.follow(f"run({run!r})", transports=[transport], share=False)
    await tab.until("now.state === 'live'")
    for status in LIFE[1:]:
        jobs.say(run, status)
    await tab.until("seen.ends.length")
    assert await tab.statuses(run) == list(LIFE)
    seen = await tab.seen()
    assert (seen["ends"], seen["now"]["state"], seen["errors"]) == (["COMPLETED"], "ended", [])
    assert seen["states"][:2] == ["connecting", "live"]
    assert await tab.page.evaluate("async () => (await seen.subscription.ended).status") == "COMPLETED"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_chunks_come_once_and_in_order(pages: Pages, publisher: Publisher, run: str, transport: str) -> None:
    """Also for a second reader on the same connection, and with a run that is followed beside."""
    publisher.create("write", id=run).start()
    working = publisher.run(run)
    stream = working.stream("log")
    stream.write_all(range(5))
    publisher.flush()
    tab = await pages.follow(f"stream({run!r}, 'log')", transports=[transport], share=False)
    await tab.until("seen.chunks.length === 5")
    await tab.page.evaluate(f"window.beside = record(runcast.run({run!r}))")
    await tab.page.evaluate(f"window.second = record(runcast.stream({run!r}, 'log'))")
    await tab.until("second.chunks.length === 5")
    stream.write_all(range(5, 9))
    working.complete()
    publisher.flush()
    await tab.until("seen.ends.length && second.ends.length && beside.ends.length")
    wanted = [[number, number] for number in range(9)]
    assert (await tab.seen())["chunks"] == wanted
    assert await tab.page.evaluate("[second.chunks, beside.errors, seen.begins]") == [wanted, [], [0]]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_cuts_lose_nothing(pages: Pages, gateway: Inside, jobs: Jobs, run: str, transport: str) -> None:
    """The connection is cut between any two statuses; the page is told each of them, of every run of a tag, once."""
    runs = [f"{run}_{number}" for number in range(3)]
    async with Network(gateway.port) as network:
        tab = await pages.follow(f"tags([{run!r}])", url=network.url, transports=[transport], share=False)
        await tab.until("now.state === 'live'")
        for each in runs:
            jobs.create(each, tags=[run])
        for status in LIFE[1:]:
            network.cut()
            for each in runs:
                jobs.say(each, status)
        await tab.until("[...seen.subscription.view.runs.values()].filter((run) => run.isCompleted).length === 3")
        await tab.until("now.state === 'live'")
        assert (await tab.seen())["statuses"] == {each: list(LIFE) for each in runs}


async def test_one_feed_that_is_refused_leaves_the_others(pages: Pages, jobs: Jobs, run: str) -> None:
    """On SSE, where they share a request that is refused as a whole."""
    jobs.create(run)
    only = token(f"read:runs:{run}")
    for transport in TRANSPORTS:
        tab = await pages.follow(f"run({run!r})", token=only, transports=[transport], share=False)
        await tab.page.evaluate("window.other = record(runcast.run('another'))")
        await tab.until("other.errors.length && now.state === 'live'")
        assert await tab.page.evaluate("[other.errors, other.subscription.connection.state]") == [
            ["not_allowed"],
            "denied",
        ]


async def test_the_gateway_serves_it(pages: Pages, gateway: Inside, jobs: Jobs, run: str) -> None:
    """As a module and as a script, which find their gateway by themselves; and for a worker."""
    jobs.create(run)
    tab = await pages.open()
    await tab.page.evaluate(
        """async ([url, token, run]) => {
            const { connect } = await import(url + "/runcast.js");
            window.seen = record(connect({ token, share: false }).run(run));
            await new Promise((resolve) => {
                const script = document.createElement("script");
                script.src = url + "/runcast.global.js";
                script.onload = resolve;
                document.head.append(script);
            });
            window.script = record(Runcast.connect({ token }).run(run));
            const work = `importScripts("${url}/runcast.global.js");
                const run = Runcast.connect({ url: "${url}", token: "${token}" }).run("${run}");
                run.on("transition", (_, { status }) => postMessage(status));`;
            const worker = new Worker(URL.createObjectURL(new Blob([work])));
            window.worked = [];
            worker.onmessage = ({ data }) => worked.push(data);
        }""",
        [gateway.url, token(), run],
    )
    await tab.until("now.state === 'live' && script.subscription.connection.state === 'live' && worked.length")
    jobs.say(run, "COMPLETED")
    await tab.until("seen.ends.length && script.ends.length && worked.join() === 'QUEUED,COMPLETED'")


class TestSwitching:
    """A transport that is bad is left for the next one, and comes to be used again when it is good."""

    async def test_a_refused_one(self, pages: Pages, gateway: Inside, jobs: Jobs, run: str) -> None:
        """Nothing but polls comes through; later everything does, and the page goes back."""
        jobs.create(run)
        async with Network(gateway.port) as network:
            network.refused = {"websocket", "sse"}
            tab = await pages.follow(f"run({run!r})", clock=True, url=network.url, share=False)
            await self.pass_until(tab, "now.transport === 'poll' && now.state === 'live'")
            jobs.say(run, "DEQUEUED")
            network.refused = set()
            await self.pass_until(tab, "now.transport === 'websocket'")
            for status in LIFE[2:]:
                jobs.say(run, status)
            await tab.until("seen.ends.length")
            assert await tab.statuses(run) == list(LIFE)

    @pytest.mark.parametrize("fault", ["mute", "short"])
    async def test_a_bad_one(self, pages: Pages, gateway: Inside, jobs: Jobs, run: str, fault: str) -> None:
        """One that connects and says nothing, and one that is cut whenever it said something."""
        jobs.create(run)
        async with Network(gateway.port) as network:
            setattr(network, fault, {"websocket"})
            tab = await pages.follow(f"run({run!r})", clock=True, url=network.url, share=False)
            await self.pass_until(tab, "now.transport === 'sse' && now.state === 'live'")
            for status in LIFE[1:]:
                jobs.say(run, status)
            await tab.until("seen.ends.length")
            assert await tab.statuses(run) == list(LIFE)

    async def test_one_that_goes_silent(self, pages: Pages, gateway: Inside, jobs: Jobs, run: str) -> None:
        """Two heartbeats are missed: it is given up, without waiting for its end."""
        jobs.create(run)
        async with Network(gateway.port) as network:
            tab = await pages.follow(f"run({run!r})", url=network.url, share=False)
            await tab.until("now.state === 'live'")
            network.mute = {"websocket"}
            await tab.until("now.transport === 'sse' && now.state === 'live'")

    async def pass_until(self, tab: Tab, condition: str) -> None:
        """Let the page's time pass, much faster than ours, until *condition*."""
        holds = f"() => {{ const seen = window.seen, now = seen.subscription.connection; return {condition}; }}"
        async with asyncio.timeout(20):
            while not await tab.page.evaluate(holds):
                await tab.page.clock.run_for(500)
                await asyncio.sleep(0.02)
