"""
docs/quickstart.md from its first box to a bar that has moved, as somebody new would go through it.

`python -m tests.examples.quickstart` (`make quickstart`) does so twice, with a watch, and prints how long each step
took: in an empty directory, where pip finds the wheel of this tree beside what the registry has; and with `make dev` in
a fresh clone. Nothing that was downloaded before is used.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from playwright.async_api import Error, expect

from tests.examples.walking import Terminal, is_ready, steps_of
from tests.journeys.browser import chromium_browser
from tests.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from playwright.async_api import Browser, Page

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "quickstart.md"
#: Milliseconds; for a machine that has much else to do.
PATIENCE: Final = 30_000
_PORT: Final = "8787"
#: What the watch is looked at for, and the last of it, which is all of it.
ROWS: Final = ("1. Install, 2. A gateway", "3. A page", "4. A job, until its bar has moved", "all")
#: Whether the bar in the list has been seen at two places.
_MOVED: Final = """() => {
  const fill = document.querySelector("run-list").shadowRoot.querySelector("[part~=fill]");
  if (fill?.getBoundingClientRect().width) (window.widths ??= new Set()).add(fill.getBoundingClientRect().width);
  return window.widths?.size > 1;
}"""


class Walk:
    """One walk through the page, in *directory*, which is the place where it begins."""

    def __init__(self, directory: Path, browser: Browser, **environ: str) -> None:
        self._steps = [step.commands for step in steps_of(PAGE)]
        self._directory, self._browser = directory, browser
        # Somebody else may have the port that everybody has.
        self._port = str(free_port())
        self._environ = environ
        #: How long the steps took, in seconds.
        self.seconds: list[float] = []

    async def go(self, begin: Callable[[Terminal, str], None] | None = None) -> list[float]:
        """
        All of it; nothing goes on afterwards.

        Args:
            begin: What is done in place of the first two steps; it has pasted what serves when it returns.
        """
        with ExitStack() as terminals:
            first, second = (
                terminals.enter_context(Terminal(self._directory, name, **self._environ, RUNCAST_PORT=self._port))
                for name in ("first", "second")
            )
            await self._clocked(asyncio.to_thread(self._serve, first, begin or self._install))
            page = await self._browser.new_page()
            said: list[str] = []
            page.on("console", lambda message: said.append(message.text))
            try:
                await self._clocked(self._open(page, second))
                await self._clocked(self._work(page, second))
            except (AssertionError, Error) as error:
                error.add_note("\n".join([first.log.read_text(), second.log.read_text(), *said]))
                raise
            await page.close()
            assert said == []
        return [*self.seconds, sum(self.seconds)]

    async def _clocked(self, step: Awaitable[None]) -> None:
        began = time.monotonic()
        await step
        self.seconds.append(time.monotonic() - began)

    def _install(self, terminal: Terminal, serve: str) -> None:
        terminal.run(self._steps[0])
        terminal.paste(serve)

    def _serve(self, terminal: Terminal, begin: Callable[[Terminal, str], None]) -> None:
        begin(terminal, self._steps[1])
        url, keys = f"http://127.0.0.1:{self._port}", self._directory / ".runcast" / "dev.env"
        terminal.until(lambda: is_ready(url) and keys.exists())

    async def _open(self, page: Page, terminal: Terminal) -> None:
        await asyncio.to_thread(terminal.run, self._steps[2].replace(_PORT, self._port))
        await page.goto((self._directory / "page.html").as_uri())
        await expect(page.locator("run-list")).to_contain_text("No runs", timeout=PATIENCE)

    async def _work(self, page: Page, terminal: Terminal) -> None:
        terminal.paste(self._steps[3])
        await page.wait_for_function(_MOVED, timeout=PATIENCE)


def build_wheel(directory: Path) -> Path:
    """The wheel of this tree."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (found,) = directory.glob("*.whl")
    return found


def install_offline(wheel: Path, directory: Path) -> None:
    """
    What the first step of the page leaves in *directory*, without a network: the wheel in an environment of its own,
    and what it needs from the one that we run in.
    """
    environment = directory / ".venv"
    venv.create(environment)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib"))
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python")]
    # It sees the tree itself among what is needed, and shall not take that for what is to be installed.
    options = ["--no-index", "--no-deps", "--ignore-installed", "--quiet"]
    subprocess.run([*pip, "install", *options, str(wheel)], check=True, capture_output=True)


async def from_wheel(directory: Path, browser: Browser) -> list[float]:
    """In an empty directory, with the registry."""
    wheel = build_wheel(directory / "dist")
    empty = directory / "empty"
    empty.mkdir()
    walk = Walk(empty, browser, PIP_FIND_LINKS=str(wheel.parent), PIP_CACHE_DIR=str(directory / "pip"))
    return await walk.go()


async def from_clone(directory: Path, browser: Browser) -> list[float]:
    """With `make dev`, of what was committed."""
    clone = directory / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    walk = Walk(clone, browser, PIP_CACHE_DIR=str(directory / "pip-of-clone"))
    return await walk.go(lambda terminal, _: _done(terminal.paste("make dev")))


def _done(_: object) -> None:
    """What was pasted goes on."""


def table(*columns: list[float]) -> str:
    """Seconds by step, in Markdown."""
    lines = ["| seconds | with `pip install` | with `make dev` |", "| --- | ---: | ---: |"]
    for name, *seconds in zip(ROWS, *columns, strict=True):
        lines.append(f"| {name} | {' | '.join(f'{each:.1f}' for each in seconds)} |")
    return "\n".join(lines)


async def _main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with chromium_browser() as browser:
            columns = [await way(Path(directory), browser) for way in (from_wheel, from_clone)]
    print(table(*columns))


if __name__ == "__main__":
    asyncio.run(_main())
