"""A real browser, and pages of other origins for it."""

from __future__ import annotations

import contextlib
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from playwright.async_api import Browser, Page, async_playwright

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-proxy-server"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Page]:
    """A page of a browser of its own."""
    async with chromium_browser() as browser:
        yield await browser.new_page()


@contextlib.asynccontextmanager
async def chromium_browser() -> AsyncIterator[Browser]:
    """A browser for several pages, each with a context of its own."""
    executable = shutil.which("chromium")
    assert executable, "chromium is missing; scripts/system-packages installs it"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=list(OPTIONS))
        try:
            yield browser
        finally:
            await browser.close()


@contextlib.contextmanager
def origin(html: str = "<!doctype html><title>A page</title>") -> Iterator[str]:
    """A web server of another origin, whose every path is *html*."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()
