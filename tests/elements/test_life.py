"""Elements that are loaded twice, moved, changed, taken away: one subscription for each, nothing lost, nothing kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.journeys.gateway_process import token

if TYPE_CHECKING:
    from playwright.async_api import WebSocket

    from gateway import Publisher
    from tests.elements.host_page import HostPage

pytestmark = pytest.mark.asyncio(loop_scope="package")

ASSETS = Path(__file__).parents[2] / "gateway" / "web" / "assets"


class Line:
    """What a page sends over its WebSockets."""

    def __init__(self, host: HostPage) -> None:
        self.sockets: list[WebSocket] = []
        self.sent: list[dict[str, Any]] = []
        host.page.on("websocket", self._on_socket)

    def _on_socket(self, socket: WebSocket) -> None:
        self.sockets.append(socket)
        socket.on("framesent", lambda data: self.sent.append(json.loads(data)))

    @property
    def subscriptions(self) -> list[str]:
        """The runs that were asked for, in order."""
        return [message["run"] for message in self.sent if message["type"] == "subscribe"]


@pytest_asyncio.fixture(loop_scope="package")
async def line(host: HostPage) -> Line:
    return Line(host)


async def test_loaded_twice_the_first_stays(host: HostPage, line: Line, publisher: Publisher) -> None:
    """Another version, and a script with both elements: no error, one connection, the words of the first."""
    for name in ("run-status.js", "run-list.js"):
        other = (ASSETS / name).read_text(encoding="utf-8")
        assert "No such run" in other
        await host.page.evaluate(other.replace("No such run", "another version"))
    publisher.create("export", id="y_1").start()
    publisher.flush()
    for run in ("y_1", "y_1", "y_nowhere"):
        await host.put("run-status", run=run, token=token())
    await host.put("run-list", tag="y_none", token=token())
    await expect(host.page.locator("run-status[run=y_1] .status")).to_have_text(["Running", "Running"])
    await expect(host.page.locator("run-status[run=y_nowhere] .status")).to_have_text("No such run")
    await expect(host.page.locator("run-list .summary")).to_have_text("No runs yet")
    assert len(line.sockets) == 1


async def test_moved_it_goes_on(host: HostPage, line: Line, publisher: Publisher) -> None:
    """To another place in the page: it shows what it showed at every moment, and asks for nothing again."""
    run = publisher.create("export", id="y_2")
    run.start()
    publisher.flush()
    await host.put("run-status", run="y_2", token=token())
    await expect(host.page.locator("run-status .status")).to_have_text("Running")
    await host.page.evaluate("""async () => {
        const element = document.querySelector("run-status");
        const frame = element.shadowRoot.querySelector(".frame");
        window.gone = 0;
        window.ends = 0;
        new MutationObserver(() => (gone += frame.hidden)).observe(frame, { attributes: true });
        document.addEventListener("run-end", () => (ends += 1));
        for (const place of [document.body, document.querySelector("main"), document.body]) place.append(element);
    }""")
    run.complete()
    await expect(host.page.locator("run-status .status")).to_have_text("Completed")
    assert await host.page.evaluate("() => [gone, ends]") == [0, 1]
    assert line.subscriptions == ["y_2"]


async def test_taken_away_it_lets_go(host: HostPage, line: Line, publisher: Publisher) -> None:
    """Of its run, and with the last one of the connection; put back, it follows again."""
    for number in (3, 4):
        publisher.create("export", id=f"y_{number}").start()
    publisher.flush()
    for number in (3, 4):
        await host.put("run-status", run=f"y_{number}", token=token())
    await expect(host.page.locator("run-status .status")).to_have_text(["Running", "Running"])
    (socket,) = line.sockets
    async with socket.expect_event("framesent", lambda data: json.loads(data)["type"] == "unsubscribe"):
        await host.page.evaluate("() => { window.kept = document.querySelector('run-status'); kept.remove(); }")
    async with socket.expect_event("close"):
        await host.page.evaluate("() => document.querySelector('run-status').remove()")
    publisher.run("y_3").complete()
    publisher.flush()
    await host.page.evaluate("() => document.querySelector('main').append(kept)")
    await expect(host.page.locator("run-status .status")).to_have_text("Completed")
    await expect(host.page.locator("run-status .note")).to_be_hidden()


async def test_closed_by_the_page_it_stays_closed_wherever_it_goes(host: HostPage, publisher: Publisher) -> None:
    publisher.create("export", id="y_5").start()
    publisher.flush()
    await host.put("run-status", run="y_5", token=token())
    await expect(host.page.locator("run-status .status")).to_have_text("Running")
    await host.page.evaluate("""() => {
        const element = document.querySelector("run-status");
        element.close();
        document.body.append(element);
    }""")
    await expect(host.page.locator("run-status .note")).to_contain_text("Not connected")
    await expect(host.page.locator("run-status .status")).to_have_text("Running")


async def test_what_changes_at_once_is_followed_once(host: HostPage, line: Line, publisher: Publisher) -> None:
    """Several attributes, and properties that change nothing of what is followed."""
    for number in (6, 7):
        publisher.create("export", id=f"y_{number}").start()
    publisher.flush()
    await host.put("run-status", run="y_6", token=token())
    await expect(host.page.locator("run-status .status")).to_have_text("Running")
    await host.page.evaluate("""() => {
        const element = document.querySelector("run-status");
        element.setAttribute("run", "nobody");
        element.setAttribute("run", "y_7");
        element.setAttribute("variant", "badge");
        element.setAttribute("label", "Mine");
        element.words = { EXECUTING: "Busy" };
    }""")
    await expect(host.page.locator("run-status .status")).to_have_text("Busy")
    await expect(host.page.locator("run-status .label")).to_have_text("Mine")
    assert line.subscriptions == ["y_6", "y_7"]
