"""Ten thousand runs, hundreds of changes a second: the list stays whole, right and smooth. How smooth is printed."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest
from playwright.async_api import expect

from tests.dashboard.visitor import Effort
from tests.journeys.gateway_process import SECRET

if TYPE_CHECKING:
    from playwright.async_api import Page

    from gateway import Publisher
    from tests.dashboard.visitor import Visitor

pytestmark = pytest.mark.asyncio(loop_scope="package")

RUNS: Final = 10_000
CHANGES_PER_SECOND: Final = 500
SECONDS: Final = 3.0
#: Of the time there is; about a fifth on two cores.
MOST_WORK: Final = 0.8

WORDS: Final = {"QUEUED": "queued", "EXECUTING": "running", "COMPLETED": "completed", "FAILED": "failed"}

#: How long frames take, by the page's own clock. It scrolls as it goes, as somebody would who looks for something.
WATCH_FRAMES: Final = """() => {
    window.frames_ = [];
    const list = document.querySelector(".window");
    let last = performance.now(), steps = 0;
    const frame = (now) => {
        window.frames_.push(now - last);
        last = now;
        if (++steps % 120 === 0) list.scrollTop = (steps * 37) % 20000;
        window.watching_ = requestAnimationFrame(frame);
    };
    window.watching_ = requestAnimationFrame(frame);
    window.longTasks_ = [];
    new PerformanceObserver((list) => list.getEntries().forEach(({duration}) => window.longTasks_.push(duration)))
        .observe({ type: "longtask" });
}"""


@dataclass
class Traffic:
    """Runs that move at a steady rate; knows how each of them stands."""

    publisher: Publisher
    statuses: dict[str, str] = field(default_factory=dict)
    said: int = 0

    def create(self, number: int) -> None:
        with self.publisher.together():
            for each in range(number):
                run = f"plenty_{each:05}"
                self.publisher.create(f"task_{each % 7}", id=run, tags=["plenty", f"customer:{each % 50}"])
                self.statuses[run] = "QUEUED"

    def move(self, seconds: float, stop: threading.Event) -> None:
        """Progress mostly, and now and then a status, at the rate above, in small steps."""
        chance = random.Random(7)
        unfinished = list(self.statuses)
        step = 0.02
        due = time.monotonic()
        end = due + seconds
        while time.monotonic() < end and not stop.is_set():
            with self.publisher.together():
                for _ in range(round(CHANGES_PER_SECOND * step)):
                    self._change(chance, unfinished)
            due += step
            time.sleep(max(0.0, due - time.monotonic()))

    def _change(self, chance: random.Random, unfinished: list[str]) -> None:
        place = chance.randrange(len(unfinished))
        run = self.publisher.run(unfinished[place])
        self.said += 1
        if self.statuses[run.id] == "QUEUED":
            run.start()
            self.statuses[run.id] = "EXECUTING"
        elif chance.random() < 0.5:
            run.progress(chance.randrange(100), 100)
        else:
            failed = chance.random() < 0.1
            run.fail("by chance") if failed else run.complete()
            self.statuses[run.id] = "FAILED" if failed else "COMPLETED"
            unfinished[place] = unfinished[-1]
            unfinished.pop()


async def test_ten_thousand_runs_stay_smooth_and_right(visitor: Visitor, publisher: Publisher) -> None:
    """
    A snapshot has a thousand runs, and the page does not pretend that there are no more; older ones are read when they
    are asked for. After seconds of many changes what is counted and listed is what was published; and the page had
    time left, or frames would have had to wait.
    """
    traffic = Traffic(publisher)
    await asyncio.to_thread(traffic.create, RUNS)
    page = visitor.page
    await visitor.sign_in(SECRET, "/?tag=plenty")
    await expect(page.locator(".summary")).to_have_text("The 1,000 runs that are loaded; there are older ones")
    await load_all(page)

    await page.evaluate(WATCH_FRAMES)
    effort = await Effort.of(page)
    stop = threading.Event()
    try:
        await asyncio.to_thread(traffic.move, SECONDS, stop)
    finally:
        stop.set()
    counts = Counter(traffic.statuses.values())
    assert counts["COMPLETED"], "nothing moved"
    frames: list[float] = await page.evaluate("(cancelAnimationFrame(window.watching_), window.frames_)")
    long_tasks: list[float] = await page.evaluate("window.longTasks_")
    worked = await effort.share()
    report(traffic, frames, long_tasks, worked)
    assert worked < MOST_WORK

    for status, word in WORDS.items():
        chip = page.get_by_role("button", name=f"{counts[status]:,} {word}")
        await expect(chip).to_be_visible()
    await expect(page.locator(".summary")).to_have_text(f"{RUNS:,} runs")
    await page.evaluate("document.querySelector('.window').scrollTop = 0")
    await the_end_is_as_published(page, traffic)
    # Few rows of the ten thousand are in the page.
    assert await page.locator(".row").count() < 100


async def load_all(page: Page) -> None:
    """Press the button until there are no older runs."""
    button = page.get_by_role("button", name="Load older runs")
    summary = page.locator(".summary")
    for thousands in range(2, RUNS // 1000 + 1):
        await button.click()
        await expect(summary).to_contain_text(f"{thousands},000 runs")
    await expect(summary).to_have_text(f"The {RUNS:,} runs that are loaded; there may be older ones")
    await button.click()
    await expect(summary).to_have_text(f"{RUNS:,} runs")


async def the_end_is_as_published(page: Page, traffic: Traffic) -> None:
    """What the rows say that can be seen, here and there in the list, is how their runs stand."""
    for top in (0, 100_000, 300_000):
        await page.evaluate("(top) => { document.querySelector('.window').scrollTop = top; }", top)
        await page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        rows: list[list[str]] = await page.evaluate(
            "[...document.querySelectorAll('.row')].map((row) => [row.querySelector('.id').textContent, "
            "row.querySelector('.status').textContent])"
        )
        assert len(rows) > 10
        assert rows == [[run, WORDS[traffic.statuses[run]]] for run, _ in rows]


def report(traffic: Traffic, frames: list[float], long_tasks: list[float], worked: float) -> None:
    frames = sorted(frames)
    told: dict[str, Any] = {
        "changes a second": round(traffic.said / SECONDS),
        "frames": len(frames),
        "median ms": round(frames[len(frames) // 2], 1),
        "p99 ms": round(frames[len(frames) * 99 // 100], 1),
        "longest ms": round(frames[-1], 1),
        "tasks over 50 ms": len(long_tasks),
        "% of a processor": round(100 * worked),
    }
    print("\n10,000 runs:", ", ".join(f"{name} {value}" for name, value in told.items()))
