"""What those hear who can't see: not each tick, not what they have read already, and never too much at once."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from tests.elements.host_page import HostPage

pytestmark = pytest.mark.asyncio(loop_scope="package")

REST_MILLISECONDS: Final = 10_000
#: Notes each text that comes into a live region, and when by the page's clock.
_LISTEN: Final = """() => {
    window.heard = [];
    const { shadowRoot } = document.querySelector("run-status");
    for (const region of shadowRoot.querySelectorAll("[role=status], [role=alert]")) {
        new MutationObserver(() => {
            if (region.textContent) heard.push([region.role, region.textContent, Math.round(performance.now())]);
        }).observe(region, { childList: true, characterData: true, subtree: true });
    }
}"""


class Listener:
    """Somebody who hears one <run-status> whose run the test gives it; time goes on when the test says so."""

    def __init__(self, host: HostPage) -> None:
        self.host = host

    async def run(self, status: str, percent: float | None = None, **more: Any) -> None:
        progress = {} if percent is None else {"metadata": {"progress": {"percent": percent}}}
        data = {"id": "run_1", "taskIdentifier": "export", "status": status, "createdAt": "2026-01-31T10:00:00Z"}
        await self.host.give("run-status", data | progress | more)
        await self.wait(100)

    async def wait(self, milliseconds: int) -> None:
        await self.host.page.clock.run_for(milliseconds)

    async def heard(self) -> list[tuple[str, str]]:
        """By which role, and what; nothing polite came sooner after another than it may."""
        told: list[tuple[str, str, int]] = await self.host.page.evaluate("() => heard")
        polite = [at for role, _, at in told if role == "status"]
        pairs = itertools.pairwise(polite)
        assert all(after - before >= REST_MILLISECONDS - 1 for before, after in pairs), told  # timers count whole ones
        return [(role, text) for role, text, _ in told]


@pytest_asyncio.fixture(loop_scope="package")
async def listener(host: HostPage) -> Listener:
    await host.page.clock.install(time=0)
    await host.open()
    await host.page.clock.pause_at(1_000_000)
    await host.put("run-status")
    await host.page.evaluate(_LISTEN)
    return Listener(host)


async def test_what_the_page_began_with_is_not_said(listener: Listener) -> None:
    await listener.run("FAILED", error={"message": "no price"})
    await listener.wait(REST_MILLISECONDS)
    assert await listener.heard() == []


async def test_a_status_is_said_when_it_changes(listener: Listener) -> None:
    await listener.run("QUEUED")
    await listener.run("EXECUTING")
    assert await listener.heard() == [("status", "export · Running")]


async def test_progress_is_said_by_quarters(listener: Listener) -> None:
    """However often the bar moves; each with what is so at that moment."""
    await listener.run("EXECUTING", 0)
    for percent in range(1, 100):
        await listener.run("EXECUTING", percent)
        await listener.wait(2000)
    said = [text for _, text in await listener.heard()]
    assert said == [f"export · Running · {percent}%" for percent in (25, 50, 75)]


async def test_what_comes_quickly_is_said_once(listener: Listener) -> None:
    """The first at once, then the newest after a rest."""
    await listener.run("QUEUED")
    await listener.run("DEQUEUED")
    await listener.run("EXECUTING", 10)
    await listener.run("EXECUTING", 60)
    await listener.run("COMPLETED", 60)
    await listener.wait(REST_MILLISECONDS)
    assert await listener.heard() == [("status", "export · Starting"), ("status", "export · Completed")]


async def test_a_failure_is_an_alert_and_said_once(listener: Listener) -> None:
    await listener.run("EXECUTING", 10)
    for _ in range(3):
        await listener.run("FAILED", 10, error={"name": "ValueError", "message": "no price\nTraceback"})
        await listener.wait(REST_MILLISECONDS)
    assert await listener.heard() == [("alert", "export · Failed · ValueError: no price")]


async def test_what_was_said_does_not_stay(listener: Listener) -> None:
    """Whoever reads through the page later comes across what is so, not what was."""
    await listener.run("QUEUED")
    await listener.run("EXECUTING")
    await listener.wait(REST_MILLISECONDS)
    assert await listener.host.page.locator("run-status [role=status]").text_content() == ""
