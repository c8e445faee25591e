"""A list of a thousand runs that change all the time ends with exactly what was published."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import pytest
from playwright.async_api import expect

from gateway import Publisher
from tests.dashboard.visitor import Effort
from tests.journeys.gateway_process import token
from tests.journeys.model import PATIENCE_SECONDS

if TYPE_CHECKING:
    from gateway.publisher import Run
    from tests.elements.host_page import HostPage
    from tests.redis_server import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="package")

RUNS: Final = 1000
ROUNDS: Final = 30
CHANGES: Final = 40  # in each round, which takes a tenth of a second
#: Of the time there is; about a quarter on two cores.
MOST_WORK: Final = 0.8
_MEASURE: Final = """() => {
    window.frames = [];
    let last = performance.now();
    const note = (now) => { frames.push(now - last); last = now; requestAnimationFrame(note); };
    requestAnimationFrame(note);
}"""
#: Each row as its run, its status and its progress.
_ROWS: Final = """() => Object.fromEntries(
    [...document.querySelector("run-list").shadowRoot.querySelectorAll(".rows .row")].map((row) => {
        const [status, run, progress] = row.children;
        const { lastElementChild: text, firstElementChild: bar } = progress;
        return [run.lastElementChild.textContent,
            [status.textContent, text.textContent, bar.hidden ? null : bar.firstElementChild.style.inlineSize]];
    })
)"""

#: Notes which runs have rows that are written to, and which elements are put in or taken out. Ages grow by themselves.
_WATCH: Final = """() => {
    window.touched = new Set();
    window.rows = 0;
    const body = document.querySelector("run-list").shadowRoot.querySelector(".rows");
    const idOf = (row) => row.querySelector(".id").textContent;
    new MutationObserver((records) => {
        for (const { target, addedNodes, removedNodes } of records) {
            const element = target.closest ? target : target.parentElement;
            if (element === body) rows += addedNodes.length + removedNodes.length;
            else if (!element.closest(".time")) touched.add(idOf(element.closest(".row")));
        }
    }).observe(body, { subtree: true, childList: true, characterData: true, attributes: true });
}"""
#: How many rows the browser lays out and paints.
_DRAWN: Final = """() => [...document.querySelector("run-list").shadowRoot.querySelectorAll(".rows .cell.run")]
    .filter((cell) => cell.checkVisibility({ contentVisibilityAuto: true })).length"""


class Work:
    """A thousand runs of one batch, what is published of them, and what a list should show of each."""

    def __init__(self, redis: RedisServer) -> None:
        self.redis = redis
        self.expected: dict[str, list[Any]] = {}
        self.runs: list[Run] = []
        self.publisher = Publisher(redis.url)

    def create(self) -> None:
        with self.publisher.together():
            for number in range(RUNS):
                run = self.publisher.create("resize", id=f"l_{number:04}", batch="l_batch")
                self.runs.append(run)
                self.expected[run.id] = ["Queued", "", None]
        self.publisher.flush()

    def change(self) -> None:
        """Rounds of changes, a tenth of a second each."""
        chance = random.Random(6)
        for _ in range(ROUNDS):
            began = time.monotonic()
            with self.publisher.together():
                for run in chance.sample(self.runs, CHANGES):
                    self._change(run, chance)
            time.sleep(max(0.0, 0.1 - (time.monotonic() - began)))
        assert self.publisher.flush()

    def _change(self, run: Run, chance: random.Random) -> None:
        match self.expected[run.id][0]:
            case "Queued":
                run.start()
                self.expected[run.id] = ["Running", "", None]
            case "Running" if chance.random() < 0.3:
                run.complete()
                self.expected[run.id] = ["Completed", "", "100%"]
            case "Running":
                done = chance.randrange(100)
                run.progress(done, 100)
                self.expected[run.id] = ["Running", f"{done}% · {done} of 100", f"{done}%"]


async def test_a_thousand_runs_end_as_they_were_published(host: HostPage, redis: RedisServer) -> None:
    """
    And has time left, or frames would have to wait. How long they take is printed, and judged by nobody: it depends on
    what else the machine does.
    """
    work = Work(redis)
    await asyncio.to_thread(work.create)
    await host.put("run-list", batch="l_batch", token=token())
    rows = host.page.locator("run-list .rows .row")
    await expect(rows).to_have_count(RUNS)
    await host.page.evaluate(_MEASURE)
    effort = await Effort.of(host.page)
    await asyncio.to_thread(work.change)
    worked = await effort.share()
    frames: list[float] = sorted(await host.page.evaluate("() => frames"))
    counts = Counter(status for status, *_ in work.expected.values())
    summary = f"{counts['Running']} running · {counts['Queued']} waiting · {counts['Completed']} completed"
    await expect(host.page.locator("run-list .summary")).to_have_text(summary)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await host.page.evaluate(_ROWS) != work.expected:
            await asyncio.sleep(0.05)
    await expect_little_work(host, work)
    work.publisher.close()
    middle, late = frames[len(frames) // 2], frames[len(frames) * 99 // 100]
    print(f"\nframes: {len(frames)}, median {middle:.1f} ms, p99 {late:.1f} ms, longest {frames[-1]:.1f} ms")
    print(f"worked {worked:.0%} of the time")
    assert worked < MOST_WORK


async def expect_little_work(host: HostPage, work: Work) -> None:
    """A change of one run is written to its row alone, none is made anew, and what is out of sight is not laid out."""
    await host.page.evaluate(_WATCH)
    run = next(run for run in work.runs if work.expected[run.id][0] == "Running")
    run.progress(1, 7, "the last change")
    row = host.page.locator("run-list .rows .row").filter(has_text=run.id)
    await expect(row.locator(".detail")).to_contain_text("the last change")
    assert await host.page.evaluate("() => [[...touched], rows]") == [[run.id], 0]
    assert await host.page.evaluate(_DRAWN) < RUNS / 4


async def test_runs_come_and_go(host: HostPage, publisher: Publisher) -> None:
    """New runs come first and push others out; nothing else moves."""
    for number in range(5):
        publisher.create("resize", id=f"m_{number}", tags=["many"])
    publisher.flush()
    await host.put("run-list", tag="many", limit="3", token=token())
    names = host.page.locator("run-list .rows .id")
    await expect(names).to_have_text(["m_4", "m_3", "m_2"])
    publisher.create("resize", id="m_5", tags=["many"])
    await expect(names).to_have_text(["m_5", "m_4", "m_3"])
    publisher.run("m_3").start()
    await expect(host.page.locator("run-list .rows .status")).to_have_text(["Queued", "Queued", "Running"])
    await expect(names).to_have_text(["m_5", "m_4", "m_3"])
    await expect(host.page.locator("run-list .summary")).to_contain_text("the newest 3")


async def test_an_empty_list_says_so(host: HostPage) -> None:
    await host.put("run-list", tag="nobody", token=token())
    await expect(host.page.locator("run-list .summary")).to_have_text("No runs yet")
    await expect(host.page.get_by_role("table")).to_have_count(0)
    assert await host.axe() == []
