"""Tabs with the client in them, and a record of what each was told."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.journeys.gateway_process import token

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Page

CLIENT = Path(__file__).parents[2] / "client"
ASSETS = Path(__file__).parents[2] / "gateway" / "web" / "assets"
PATIENCE_MS = 20_000

#: What a page does to follow something, and what it keeps of what it hears.
RECORD = """
window.record = (subscription) => {
  const seen = { statuses: {}, states: [], chunks: [], begins: [], errors: [], ends: [], views: 0 };
  subscription.on("transition", (run, { status }) => (seen.statuses[run.id] ??= []).push(status));
  subscription.on("connection", ({ state }) => seen.states.push(state));
  subscription.on("chunk", ({ index, value }) => seen.chunks.push([index, value]));
  subscription.on("begin", (first) => seen.begins.push(first));
  subscription.on("error", ({ code }) => seen.errors.push(code));
  subscription.on("end", (status) => seen.ends.push(status));
  subscription.on("change", () => (seen.views += 1));
  return Object.assign(seen, { subscription });
};
"""


class Tab:
    """One page, with what it follows in `window.seen`."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def until(self, condition: str) -> None:
        """Wait until *condition* holds of what was `seen`, and `now`, how the connection is."""
        script = f"() => {{ const seen = window.seen, now = seen.subscription.connection; return {condition}; }}"
        try:
            await self.page.wait_for_function(script, timeout=PATIENCE_MS, polling=20)
        except Exception:
            raise AssertionError(f"{condition} did not come: {await self.seen()}") from None

    async def seen(self) -> dict[str, Any]:
        script = "() => ({ ...window.seen, now: window.seen.subscription.connection, subscription: null })"
        found: dict[str, Any] = await self.page.evaluate(script)
        return found

    async def statuses(self, run: str) -> list[str]:
        told: list[str] = (await self.seen())["statuses"].get(run, [])
        return told


class Pages:
    """Tabs of one visitor of a site."""

    def __init__(self, context: BrowserContext, site: str, gateway: str) -> None:
        self.context, self.site, self.gateway = context, site, gateway
        #: What went wrong in any of them.
        self.errors: list[str] = []
        self._script = (ASSETS / "runcast.global.js").read_text()

    async def open(self, *, clock: bool = False) -> Tab:
        """A tab that follows nothing yet. With *clock* its time can be moved on."""
        page = await self.context.new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        if clock:
            await page.clock.install()
        await page.goto(self.site)
        await page.evaluate(f"() => {{ {self._script}; window.Runcast = Runcast; {RECORD} }}")
        return Tab(page)

    async def follow(self, what: str, *, clock: bool = False, **options: Any) -> Tab:
        """A tab that follows *what*: `run("run_1")`, `tags(["a"])`. Options are those of `connect`."""
        tab = await self.open(clock=clock)
        await self.begin(tab, what, **options)
        return tab

    async def begin(self, tab: Tab, what: str, **options: Any) -> None:
        given = {"url": self.gateway, "token": token()} | options
        script = f"(options) => {{ window.runcast = Runcast.connect(options); window.seen = record(runcast.{what}); }}"
        await tab.page.evaluate(script, given)


def run_node(*arguments: str | Path, seconds: float = 60, **environ: str) -> str:
    """What Node says, which must end well."""
    ended = subprocess.run(["node", *map(str, arguments)], capture_output=True, text=True, timeout=seconds)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
