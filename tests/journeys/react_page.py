"""The page of examples/react, built, and served from an origin of its own to whoever the test says is signed in."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "react"
BUILD = Path(__file__).with_name("build_react.mjs")
OLD_HOOKS = ROOT / "tests" / "clients" / "node_modules" / "react-hooks-4.5.0"
BUILD_SECONDS = 120


def build_for_developers(directory: Path) -> Path:
    """The page with React's build for developers, which mounts every component twice."""
    return _run(["node", str(BUILD), str(directory), "development"], directory, NODE_ENV="development")


def build_with_old_hooks(directory: Path) -> Path:
    """The page with the hooks of 4.5.0."""
    return _run(["node", str(BUILD), str(directory), "production", str(OLD_HOOKS)], directory)


def _run(command: list[str], directory: Path, **environ: str) -> Path:
    result = subprocess.run(
        command, cwd=EXAMPLE, env=os.environ | environ, capture_output=True, text=True, timeout=BUILD_SECONDS
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return directory


class PageServer:
    """A web server with the page, and `/api/session` as the test would have it."""

    def __init__(self, directory: Path) -> None:
        #: What the page is told: `baseURL`, `accessToken`, and `expiresAt` when it shall renew the token itself.
        self.session: dict[str, Any] = {}
        #: The tokens that it was told, one for each time it asked.
        self.told: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self, directory=str(directory)))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def answer(self) -> bytes:
        session = self.session
        self.told.append(session["accessToken"])
        return json.dumps(session).encode()

    @contextlib.contextmanager
    def serving(self) -> Iterator[PageServer]:
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, page: PageServer, *arguments: Any, directory: str) -> None:
        self._page = page
        super().__init__(*arguments, directory=directory)

    def do_GET(self) -> None:
        if self.path != "/api/session":
            super().do_GET()
            return
        body = self._page.answer()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""
