"""Somebody who uses the dashboard."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from playwright.async_api import expect

if TYPE_CHECKING:
    from playwright.async_api import CDPSession, ConsoleMessage, Locator, Page, ViewportSize

Look: TypeAlias = "tuple[ViewportSize, Literal['light', 'dark']]"
DESK: Final[ViewportSize] = {"width": 1280, "height": 800}
PHONE: Final[ViewportSize] = {"width": 360, "height": 740}
#: On a desk and in a hand, by night and by day.
LOOKS: Final[list[Look]] = [(DESK, "dark"), (PHONE, "light"), (DESK, "light"), (PHONE, "dark")]
AXE: Final = Path(__file__).parents[2] / "client" / "node_modules" / "axe-core" / "axe.min.js"
#: Machines are busy at times; what is expected comes long before.
expect.set_options(timeout=30_000)

#: What a browser says of every answer that refuses something, also where that is as it should be.
_REFUSED: Final = re.compile(r"Failed to load resource|WebSocket connection to .* failed")


async def picture(page: Page, name: str) -> None:
    """A page as it is, to be looked at: in the directory that RUNCAST_PICTURES names, if it does (`make pictures`)."""
    if directory := os.environ.get("RUNCAST_PICTURES"):
        await page.screenshot(path=Path(directory) / f"{name}.png", full_page=True)


class Effort:
    """How much a page works, in time of a processor: it gets no longer where a machine has other things to do, too."""

    def __init__(self, session: CDPSession) -> None:
        self._session = session
        self._before = (0.0, 0.0)

    @classmethod
    async def of(cls, page: Page) -> Effort:
        """From now on."""
        session = await page.context.new_cdp_session(page)
        await session.send("Performance.enable", {"timeDomain": "threadTicks"})
        effort = cls(session)
        effort._before = await effort._told()
        return effort

    async def share(self) -> float:
        """Of the time since then, how much scripts, styles, layout and all else took that holds up frames."""
        (worked_before, before), (worked, now) = self._before, await self._told()
        return (worked - worked_before) / (now - before)

    async def _told(self) -> tuple[float, float]:
        answer = await self._session.send("Performance.getMetrics")
        metrics = {metric["name"]: float(metric["value"]) for metric in answer["metrics"]}
        return metrics["TaskDuration"], metrics["Timestamp"]


class Visitor:
    """A page, and what its browser complained about."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.complaints: list[str] = []
        #: Everything that was written to the console, and every address that was asked for.
        self.console: list[str] = []
        self.addresses: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.addresses.append(request.url))
        page.on("websocket", lambda socket: self.addresses.append(socket.url))

    @property
    def elsewhere(self) -> list[str]:
        """What was asked of others than the gateway."""
        host = self.url.partition("//")[2]
        ours = tuple(f"{scheme}://{host}/" for scheme in ("http", "ws"))
        return [address for address in self.addresses if not address.startswith((*ours, "data:"))]

    def _hear(self, message: ConsoleMessage) -> None:
        self.console.append(message.text)
        if message.type in ("error", "warning") and not _REFUSED.search(message.text):
            self.complaints.append(message.text)

    async def sign_in(self, credential: str, path: str = "/") -> None:
        """Open the dashboard at *path*, and sign in as a person does."""
        await self.page.goto(self.url + path)
        await self.page.get_by_label("Secret key or token").fill(credential)
        await self.page.get_by_role("button", name="Sign in").click()
        await expect(self.page.get_by_role("button", name="Sign out")).to_be_visible()

    async def go(self, path: str) -> None:
        """To another address, as by hand. The tab stays, and so does who is signed in."""
        await self.page.goto(self.url + path)

    async def is_live(self) -> None:
        await expect(self.page.locator(".connection")).to_have_attribute("data-state", "live")

    def row(self, run: str) -> Locator:
        """The run in the list."""
        return self.page.locator(".row", has=self.page.get_by_text(run, exact=True))

    def card(self, name: str) -> Locator:
        return self.page.locator(".card", has=self.page.get_by_role("heading", name=name, exact=True))

    async def shown_runs(self) -> list[str]:
        """The ids in the list, from its top, as far as they can be seen."""
        return await self.page.locator(".rows .row .id").all_inner_texts()

    async def violations(self) -> list[str]:
        """What axe finds wrong with the page as it is."""
        if not await self.page.evaluate("'axe' in window"):
            await self.page.evaluate(AXE.read_text())
        found: dict[str, Any] = await self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{violation['id']}: {node['target']} {node['failureSummary']}"
            for violation in found["violations"]
            for node in violation["nodes"]
        ]

    async def overflows(self) -> bool:
        """Whether anything is wider than the screen."""
        wider: bool = await self.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        return wider
