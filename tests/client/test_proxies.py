"""What stands between pages and a gateway: nginx that buffers, and proxies that cut whatever is silent for long."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.client.pages import everybody
from tests.journeys.jobs import LIFE
from tests.nginx import RIGHT, running_nginx

if TYPE_CHECKING:
    from pathlib import Path

    from tests.client.pages import Pages, Tab
    from tests.journeys.in_process import Inside
    from tests.journeys.jobs import Jobs

pytestmark = pytest.mark.asyncio(loop_scope="module")
TRANSPORTS = ("websocket", "sse", "poll")
#: nginx with all that a WebSocket needs, but for the time after which it takes the gateway for dead.
IMPATIENT = RIGHT.replace("proxy_read_timeout 1h", "proxy_read_timeout 2s")
#: How often it is tried whether all that happens to a run comes in time: this machine may be busy with something else.
TRIES = 10


async def test_nginx_with_default_settings(pages: Pages, quiet: Inside, jobs: Jobs, run: str, tmp_path: Path) -> None:
    """
    As Debian has it, it lets no WebSocket through, and buffers: pages follow by events and polls all the same.

    Each event comes in less than a second, although nothing comes after it that could push it along.
    """
    async with running_nginx(tmp_path, quiet.port, location="") as port:
        url = f"http://127.0.0.1:{port}"
        tabs = [await pages.follow(f"tags([{run!r}])", url=url, share=False)]
        tabs += [
            await pages.follow(f"tags([{run!r}])", url=url, transports=[transport], share=False)
            for transport in ("sse", "poll")
        ]
        await everybody(tabs, "now.state === 'live' && now.transport !== 'websocket'")
        lived: list[str] = []
        late = tabs
        while late and len(lived) < TRIES:
            lived.append(f"{run}_{len(lived)}")
            said = {}
            for status in LIFE:
                said[status] = time.time() * 1000
                jobs.say(lived[-1], status, create=status == LIFE[0], tags=[run])
                await everybody(tabs, f"seen.statuses[{lived[-1]!r}]?.includes({status!r})")
            late = [tab for tab in late if await longest(tab, said) >= 1000]
        assert not late
        for tab in tabs:
            seen = await tab.shown()
            assert (seen["statuses"], seen["replaced"]) == ({each: list(LIFE) for each in lived}, 1)


async def longest(tab: Tab, said: dict[str, float]) -> float:
    """How long it took at most until the tab was told what was said (ms)."""
    told: dict[str, float] = (await tab.seen())["told"]
    return max(told[status] - moment for status, moment in said.items())


async def test_a_proxy_that_cuts_what_is_silent(
    pages: Pages, quiet: Inside, jobs: Jobs, run: str, tmp_path: Path
) -> None:
    """
    After two seconds, again and again: nothing is lost, nothing comes twice, and each time the page is back.

    Polls learn how long they may wait, and are then hardly cut any more.
    """
    jobs.create(run)
    async with running_nginx(tmp_path, quiet.port, IMPATIENT) as port:
        url = f"http://127.0.0.1:{port}"
        tabs = {
            transport: await pages.follow(f"run({run!r})", url=url, transports=[transport], share=False)
            for transport in TRANSPORTS
        }
        cut = [tabs["websocket"], tabs["sse"]]
        for times, status in enumerate(LIFE[1:3], start=1):
            await everybody(cut, f"seen.states.filter((state) => state === 'stale').length >= {times}")
            jobs.say(run, status)
            await everybody(tabs.values(), f"now.state === 'live' && seen.statuses[{run!r}].length === {times + 1}")
        jobs.say(run, "COMPLETED")
        await everybody(tabs.values(), "seen.ends.length")
        seams = {}
        for name, tab in tabs.items():
            seen = await tab.shown()
            assert (seen["statuses"][run], seen["ends"], seen["errors"]) == (list(LIFE), ["COMPLETED"], []), name
            assert seen["replaced"] == 1, name
            assert "offline" not in seen["states"], name  # there was always somebody who answered
            seams[name] = seen["states"].count("stale")
        assert seams["poll"] < seams["websocket"]
        assert seams["poll"] < seams["sse"]
