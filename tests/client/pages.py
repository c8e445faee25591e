"""Tabs with the client in them, and a record of what each was told."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.journeys.gateway_process import token

if TYPE_CHECKING:
    from collections.abc import Iterable

    from playwright.async_api import BrowserContext, Page

CLIENT = Path(__file__).parents[2] / "client"
ASSETS = Path(__file__).parents[2] / "gateway" / "web" / "assets"
PATIENCE_MS = 20_000
#: For pages that try again by and by: on a slow machine their gateway was away for long, and so they wait for long.
LONG_PATIENCE_MS = 90_000

#: What a page does to follow something, and what it keeps of what it hears.
RECORD = """
window.record = (subscription) => {
  const seen = { statuses: {}, told: {}, states: [], chunks: [], begins: [], errors: [], ends: [], views: 0 };
  subscription.on("transition", (run, { status }) => {
    (seen.statuses[run.id] ??= []).push(status);
    seen.told[status] = Date.now();
    seen.behind = true;
  });
  subscription.on("connection", ({ state }) => {
    seen.states.push(state);
    seen.behind = true;
  });
  subscription.on("chunk", ({ index, value }) => seen.chunks.push([index, value]));
  subscription.on("begin", (first) => seen.begins.push(first));
  subscription.on("error", ({ code }) => seen.errors.push(code));
  subscription.on("end", (status) => seen.ends.push(status));
  subscription.on("change", () => {
    seen.views += 1;
    seen.behind = false; // what is shown is what was told
  });
  return Object.assign(seen, { subscription });
};
"""

#: Whatever a page waits for takes a tenth of its time.
HASTE = "const later = setTimeout; window.setTimeout = (call, time = 0) => later(call, time / 10);"
#: What there is to know of a `subscription`, in a form that leaves the page.
SEEN = """({
  ...seen, subscription: null, now: subscription.connection, replaced: subscription.view.resyncs,
})"""


class Tab:
    """One page, with what it follows in `window.seen`."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def until(self, condition: str, *, patience_ms: float = PATIENCE_MS) -> None:
        """Wait until *condition* holds of what was `seen`, and `now`, how the connection is."""
        script = f"() => {{ const seen = window.seen, now = seen.subscription.connection; return {condition}; }}"
        try:
            await self.page.wait_for_function(script, timeout=patience_ms, polling=20)
        except Exception:
            raise AssertionError(f"{condition} did not come: {await self.seen()}") from None

    async def seen(self) -> dict[str, Any]:
        """Also `now`, and how often all that was known was `replaced`: once, where the cursor was kept."""
        script = f"() => {{ const {{ subscription }} = window.seen; return {SEEN}; }}"
        found: dict[str, Any] = await self.page.evaluate(script)
        return found

    async def shown(self) -> dict[str, Any]:
        """What was `seen`, as soon as it is also shown."""
        await self.until("!seen.behind")
        return await self.seen()

    async def stop_clock(self) -> None:
        """Its time, which can be moved on, stands still from now on."""
        ahead = await self.page.evaluate("Date.now()") / 1000 + 60  # nobody can go back
        await self.page.clock.pause_at(ahead)

    async def statuses(self, run: str) -> list[str]:
        told: list[str] = (await self.seen())["statuses"].get(run, [])
        return told


class Pages:
    """Tabs of one visitor of a site."""

    def __init__(self, context: BrowserContext, site: str, gateway: str) -> None:
        self.context, self.site, self.gateway = context, site, gateway
        #: What went wrong in any of them.
        self.errors: list[str] = []

    async def open(self, *, clock: bool = False, hasty: bool = False) -> Tab:
        """A tab that follows nothing yet. With *clock* its time can be moved on; *hasty* ones wait a tenth as long."""
        page = await self.context.new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        if clock:
            await page.clock.install()
        await page.goto(self.site)
        await page.add_script_tag(url=f"{self.gateway}/runcast.global.js")
        await page.evaluate(f"() => {{ {RECORD} }}")
        if hasty:
            await page.evaluate(f"() => {{ {HASTE} }}")
        return Tab(page)

    async def follow(self, what: str, *, clock: bool = False, hasty: bool = False, **options: Any) -> Tab:
        """A tab that follows *what*: `run("run_1")`, `tags(["a"])`. Options are those of `connect`."""
        tab = await self.open(clock=clock, hasty=hasty)
        await self.begin(tab, what, **options)
        return tab

    async def begin(self, tab: Tab, what: str, **options: Any) -> None:
        given = {"url": self.gateway, "token": token()} | options
        script = f"(options) => {{ window.runcast = Runcast.connect(options); window.seen = record(runcast.{what}); }}"
        await tab.page.evaluate(script, given)


async def everybody(tabs: Iterable[Tab], condition: str, *, patience_ms: float = PATIENCE_MS) -> None:
    """Wait until *condition* holds in each of them."""
    await asyncio.gather(*(tab.until(condition, patience_ms=patience_ms) for tab in tabs))
