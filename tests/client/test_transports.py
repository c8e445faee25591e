"""Pages follow runs on every transport, and find the one that a network lets through."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.client.network import Network
from tests.client.pages import PATIENCE_MS
from tests.journeys.gateway_process import token
from tests.journeys.jobs import LIFE

if TYPE_CHECKING:
    from gateway.publisher import Publisher
    from tests.client.pages import Pages, Tab
    from tests.journeys.in_process import Inside
    from tests.journeys.jobs import Jobs

pytestmark = pytest.mark.asyncio(loop_scope="module")
TRANSPORTS = ("websocket", "sse", "poll")
#: The most that is waited before another attempt (ms), one failure after the other; and which part of that, in turn.
PAUSES = (250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000)
LOTS = (0.1, 0.5, 0.9)
#: What a page tells of its attempts to connect, once it draws `lots`.
COUNT_ATTEMPTS = """(lots) => {
    const { WebSocket } = window;
    Object.assign(window, { tried: 0, welcomed: 0, lost: 0 });
    window.WebSocket = class extends WebSocket {
        constructor(...given) {
            super(...given);
            tried += 1;
            this.addEventListener("message", ({ data }) => (welcomed += JSON.parse(data).type === "welcome"));
            this.addEventListener("close", () => (lost += 1));
        }
    };
    Math.random = () => lots[lost % lots.length];
}"""


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
async def test_batch_task_and_all(pages: Pages, jobs: Jobs, run: str, transport: str) -> None:
    """On one connection: each brings the runs that belong to it, those that were there and those that come."""
    before, batch, task, both = (f"{run}_{name}" for name in ("before", "batch", "task", "both"))
    jobs.create(before, batch=run)
    tab = await pages.follow(f"batch({run!r})", transports=[transport], share=False)
    await tab.page.evaluate(f"window.task = record(runcast.task({run!r})), window.every = record(runcast.all()), 0")
    await tab.until("[seen, task, every].every(({ subscription }) => subscription.connection.state === 'live')")
    jobs.create(batch, batch=run)
    jobs.say(task, "QUEUED", create=True, initial={"taskIdentifier": run})
    jobs.say(both, "QUEUED", create=True, initial={"taskIdentifier": run, "batchId": run})
    for status in LIFE[1:]:
        for each in (before, batch, task, both):
            jobs.say(each, status)
    await tab.until(
        "[[seen, 3], [task, 2], [every, 4]].every(([{ subscription }, count]) =>"
        f" [...subscription.view.runs.values()].filter(({{ id, status }}) => id.startsWith('{run}_')"
        " && status === 'COMPLETED').length === count)"
    )
    of_batch, of_task, of_all = await tab.page.evaluate("[seen, task, every].map(({ statuses }) => statuses)")
    assert of_batch == {each: list(LIFE) for each in (before, batch, both)}
    assert of_task == {each: list(LIFE) for each in (task, both)}
    assert of_all.items() >= (of_batch | of_task).items()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_chunks_come_once_and_in_order(
    pages: Pages, gateway: Inside, publisher: Publisher, run: str, transport: str
) -> None:
    """
    Also for a second reader on the same connection, and with a run that is followed beside.

    The connection breaks in the middle of a chunk, and later between two: they come from where the page was on.
    """
    publisher.create("write", id=run).start()
    working = publisher.run(run)
    stream = working.stream("log")
    values = [str(number) * 1000 for number in range(9)]
    stream.write_all(values[:5])
    publisher.flush()
    async with Network(gateway.port) as network:
        network.cut_after(3000)
        options: dict[str, Any] = {"url": network.url, "transports": [transport], "share": False}
        tab = await pages.follow(f"stream({run!r}, 'log')", hasty=True, **options)
        await tab.until("seen.chunks.length === 5")
        assert network.cut_short == 1
        await tab.page.evaluate(f"window.beside = record(runcast.run({run!r}))")
        await tab.page.evaluate(f"window.second = record(runcast.stream({run!r}, 'log'))")
        await tab.until("second.chunks.length === 5 && beside.subscription.view.run")
        network.cut()
        stream.write_all(values[5:])
        working.complete()
        publisher.flush()
        await tab.until("seen.ends.length && second.ends.length && beside.ends.length && !beside.behind")
        wanted = [[index, value] for index, value in enumerate(values)]
        assert (await tab.seen())["chunks"] == wanted
        assert await tab.page.evaluate("[second.chunks, seen.begins, second.begins]") == [wanted, [0], [0]]
        assert await tab.page.evaluate("[beside.errors, beside.subscription.view.resyncs]") == [[], 1]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_cuts_lose_nothing(pages: Pages, gateway: Inside, jobs: Jobs, run: str, transport: str) -> None:
    """The connection is cut before each status; the page goes on where it was, and is told each of every run once."""
    runs = [f"{run}_{number}" for number in range(3)]
    async with Network(gateway.port) as network:
        options: dict[str, Any] = {"url": network.url, "transports": [transport], "share": False}
        tab = await pages.follow(f"tags([{run!r}])", hasty=True, **options)
        await tab.until("now.state === 'live'")
        for each in runs:
            jobs.create(each, tags=[run])
        for status in LIFE[1:]:
            network.cut()
            for each in runs:
                jobs.say(each, status)
            told = f"Object.values(seen.statuses).filter((told) => told.at(-1) === {status!r}).length === 3"
            await tab.until(f"{told} && now.state === 'live'")
        seen = await tab.shown()
        assert (seen["statuses"], seen["replaced"]) == ({each: list(LIFE) for each in runs}, 1)


async def test_it_tries_again_after_pauses(pages: Pages, gateway: Inside, jobs: Jobs, run: str) -> None:
    """
    Each is any part of twice what the one before was at most, and of half a minute in the end.

    That begins anew when data come, not when somebody answers who has none; and when there may be a network again.
    """
    jobs.create(run)
    tab = await pages.open(clock=True)
    await tab.stop_clock()
    await tab.page.evaluate(COUNT_ATTEMPTS, LOTS)
    lost = 0

    async def it_fails() -> None:
        nonlocal lost
        lost += 1
        await tab.page.wait_for_function(f"lost === {lost}", timeout=PATIENCE_MS, polling=20)

    async def it_tries_again(*, most: int) -> None:
        """After its part of so many milliseconds, and not before."""
        await tab.page.clock.run_for(round(most * LOTS[lost % len(LOTS)]) - 1)
        assert await tab.page.evaluate("tried") == lost, most
        await tab.page.clock.run_for(2)
        await tab.page.wait_for_function(f"tried === {lost + 1}", timeout=PATIENCE_MS, polling=20)

    async with Network(gateway.port) as network:
        network.refused = {"websocket"}
        await pages.begin(tab, f"run({run!r})", url=network.url, transports=["websocket"], share=False)
        await it_fails()
        for most in PAUSES[:4]:
            await it_tries_again(most=most)
            await it_fails()
        network.refused, network.deaf = set(), {"websocket"}
        for most in PAUSES[4:]:
            await it_tries_again(most=most)
            await tab.page.wait_for_function("welcomed > 0 && welcomed--", timeout=PATIENCE_MS, polling=20)
            network.cut()
            await it_fails()
        network.deaf = set()
        await it_tries_again(most=PAUSES[-1])
        await tab.until("now.state === 'live'")
        network.refused = {"websocket"}
        network.cut()
        await it_fails()
        for most in PAUSES[:2]:
            await it_tries_again(most=most)
            await it_fails()
        await tab.page.evaluate("dispatchEvent(new Event('online'))")
        await tab.page.wait_for_function(f"tried === {lost + 1}", timeout=PATIENCE_MS, polling=20)
        await it_fails()
        await it_tries_again(most=PAUSES[0])


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
            await self.assert_all_once(tab, run)

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
            await self.assert_all_once(tab, run)

    async def test_one_that_goes_silent(self, pages: Pages, gateway: Inside, jobs: Jobs, run: str) -> None:
        """Two heartbeats are missed: it is given up, without waiting for its end."""
        jobs.create(run)
        async with Network(gateway.port) as network:
            tab = await pages.follow(f"run({run!r})", url=network.url, share=False)
            await tab.until("now.state === 'live'")
            network.mute = {"websocket"}
            jobs.say(run, "DEQUEUED")
            await tab.until("now.transport === 'sse' && now.state === 'live'")
            for status in LIFE[2:]:
                jobs.say(run, status)
            await tab.until("seen.ends.length")
            await self.assert_all_once(tab, run)

    async def assert_all_once(self, tab: Tab, run: str) -> None:
        """Every status was told, and each transport went on where the one before it was."""
        seen = await tab.shown()
        assert (seen["statuses"], seen["replaced"]) == ({run: list(LIFE)}, 1)

    async def pass_until(self, tab: Tab, condition: str) -> None:
        """Let the page's time pass, much faster than ours, until *condition*."""
        holds = f"() => {{ const seen = window.seen, now = seen.subscription.connection; return {condition}; }}"
        async with asyncio.timeout(20):
            while not await tab.page.evaluate(holds):
                await tab.page.clock.run_for(500)
                await asyncio.sleep(0.02)
