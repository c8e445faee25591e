"""`runcast assets --copy`, as docs/embedding.md has it: a page that loads nothing of the gateway but its data."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from playwright.async_api import expect

from gateway.transports.origins import Origins
from tests.gateway.serving import ServedGateway
from tests.journeys.browser import chromium_browser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.async_api import Browser

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer

#: Milliseconds; for a machine that has much else to do.
PATIENCE = 30_000


class Files(SimpleHTTPRequestHandler):
    """Static files, as any server has them."""

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextlib.contextmanager
def site(directory: Path) -> Iterator[str]:
    """What is in *directory*, at an origin of its own."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(directory))) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()


async def test_a_page_with_files_of_its_own_shows_a_run(
    tmp_path: Path, redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """By the short name and by that of the version; also without WebSockets, for which a file more is loaded."""
    command = [sys.executable, "-m", "gateway.cli", "assets", "--copy", str(tmp_path / "static")]
    subprocess.run(command, check=True, capture_output=True)
    with site(tmp_path) as address:
        async with (
            ServedGateway(redis_server, environment, origins=Origins.parse(address)) as gateway,
            chromium_browser() as browser,
        ):
            gateway.publisher.create("export", id="run_1").start()
            gateway.publisher.run("run_1").progress(40, 100)
            gateway.publisher.flush()
            token = gateway.token(["read:runs:run_1"])
            for number, name in enumerate(("run-status.js", "_/v1/run-status.*.js")):
                (script,) = (tmp_path / "static").glob(name)
                (tmp_path / f"page-{number}.html").write_text(
                    f'<!doctype html><title>A page</title><script src="{script.relative_to(tmp_path)}" defer></script>'
                    f'<run-status run="run_1" src="{gateway.url}" token="{token}"></run-status>'
                )
                asked = await scripts_of(browser, f"{address}/page-{number}.html")
                assert len(asked) > 1
                assert all(url.startswith(f"{address}/static/") for url in asked)


async def scripts_of(browser: Browser, url: str) -> list[str]:
    """What the page loads until its bar shows how far the run is, without WebSockets."""
    page = await browser.new_page()
    await page.add_init_script("delete window.WebSocket")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(url)
    await expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "40", timeout=PATIENCE)
    await page.close()
    return [url for url in asked if ".js" in url]
