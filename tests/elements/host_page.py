"""A page of somebody else that has our elements in it."""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import httpx2

from tests.dashboard.visitor import picture
from tests.journeys.gateway_process import token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.async_api import ConsoleMessage, Error, Page

_AXE: Final = Path(__file__).parents[2] / "client" / "node_modules" / "axe-core" / "axe.min.js"
_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="color-scheme" content="light dark">
<title>A page with runs</title>
<link rel="stylesheet" href="/page.css">
<script src="{script}" integrity="{integrity}" crossorigin="anonymous" defer></script>
<main><h1>Runs</h1></main>
</html>
"""
_SHEET: Final = """
body { background: Canvas; color: CanvasText; font: 15px/1.45 system-ui, sans-serif; }
main { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem 2rem; align-items: start; justify-items: start; }
main > * { min-inline-size: 0; }
main > :is([variant=bar], [variant=steps], [variant=log]) { inline-size: 100%; }
h1, run-list { grid-column: 1 / -1; inline-size: 100%; }
@media (max-width: 30em) { main { grid-template-columns: minmax(0, 1fr); } }
body.night { background: #1b1b1b; color: #ddd; }
body.pale { background: #fff; color: #333; }
"""


@dataclass(frozen=True, slots=True)
class Look:
    """How a page is looked at, and which of axe's rules hold there; none for all."""

    scheme: Literal["light", "dark"] = "light"
    forced: Literal["active", "none"] = "none"
    width: int = 900
    #: The class of its body: `night` is dark without having said so.
    page: str = ""
    rules: tuple[str, ...] = ()


_CONTRAST: Final = ("color-contrast",)
LOOKS: Final = {
    "light": Look(),
    "dark": Look(scheme="dark", rules=_CONTRAST),
    "night": Look(page="night", rules=_CONTRAST),
    "pale": Look(page="pale", rules=_CONTRAST),
    "forced": Look(forced="active"),
    "narrow": Look(width=320),
}
#: Neither inline styles nor inline scripts, no eval, and no markup made from text.
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src {gateway}; connect-src 'self' {gateway} {socket}; "
    "base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)


@contextlib.contextmanager
def strict_origin(gateway: str, asset: str = "run-list.js") -> Iterator[str]:
    """A web server whose every path is a page that loads *asset* of *gateway*, with a strict policy."""
    loaded = httpx2.get(f"{gateway}/_/v1/assets.json", trust_env=False).json()[asset]
    html = _PAGE.format(script=gateway + loaded["url"], integrity=loaded["integrity"])
    policy = _POLICY.format(gateway=gateway, socket=gateway.replace("http", "ws", 1))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, body = ("css", _SHEET) if self.path.endswith(".css") else ("html", html)
            self.send_response(200)
            self.send_header("Content-Type", f"text/{kind}; charset=utf-8")
            self.send_header("Content-Security-Policy", policy)
            self.end_headers()
            self.wfile.write(body.encode())

        def do_POST(self) -> None:
            """The site's backend: gives whoever has its cookie a token."""
            body = json.dumps({"token": token()} if "session=" in self.headers.get("Cookie", "") else {}).encode()
            self.send_response(200 if len(body) > 2 else 401)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

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


class HostPage:
    """One page, and what it complained about."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        #: Errors and violations of the policy; what the network says of a server that is gone is not among them.
        self.complaints: list[str] = []
        page.on("pageerror", self._on_error)
        page.on("console", self._on_console)

    def _on_error(self, error: Error) -> None:
        self.complaints.append(str(error))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and "ERR_CONNECTION" not in message.text and "503" not in message.text:
            self.complaints.append(message.text)

    async def open(self) -> None:
        await self.page.goto(self.url)

    async def put(self, name: str, /, *, content: str = "", **attributes: str) -> None:
        """Add an element to the page. `token_url` is the attribute `token-url`; *content* is text within."""
        await self.page.evaluate(
            """([tag, attributes, content]) => {
                const element = document.createElement(tag);
                for (const [name, value] of attributes) element.setAttribute(name, value);
                element.textContent = content;
                document.querySelector("main").append(element);
            }""",
            [name, [[key.replace("_", "-"), value] for key, value in attributes.items()], content],
        )

    async def give(self, selector: str, data: dict[str, Any] | list[dict[str, Any]]) -> None:
        """Set `.data` of an element, and return when that is painted."""
        await self.page.evaluate(
            "([selector, data]) => { document.querySelector(selector).data = data; }", [selector, data]
        )

    async def axe(self, *rules: str) -> list[str]:
        """What axe finds, of all its rules or of some: the rule, and where."""
        await self.page.evaluate(_AXE.read_text(encoding="utf-8"))
        run = "async (rules) => (await axe.run(rules.length ? { runOnly: rules } : {})).violations"
        found: list[dict[str, Any]] = await self.page.evaluate(run, list(rules))
        return [f"{rule['id']}: {json.dumps([node['html'][:200] for node in rule['nodes']])}" for rule in found]

    async def axe_in_looks(self, name: str, *looks: str) -> list[str]:
        """
        What axe finds in some looks or in all, and where the page is too wide for its window. Of each there is a
        picture for who wants it.
        """
        found = []
        for at in looks or LOOKS:
            look = LOOKS[at]
            await self.page.emulate_media(color_scheme=look.scheme, forced_colors=look.forced)
            await self.page.set_viewport_size({"width": look.width, "height": 900})
            await self.page.evaluate("(name) => { document.body.className = name; }", look.page)
            await picture(self.page, f"{name}-{at}")
            found += [f"{at}: {each}" for each in await self.axe(*look.rules)]
            if await self.page.evaluate("() => document.documentElement.scrollWidth > innerWidth"):
                found.append(f"{at}: wider than the window")
        return found
