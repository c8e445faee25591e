"""A backend of a site that makes tokens for its pages, and has its troubles with it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

from tests.journeys.gateway_process import token
from tests.soon import soon

if TYPE_CHECKING:
    from types import TracebackType

#: Makes an answer: a status and a body. None is none at all: the connection is cut.
Answer = Callable[[], tuple[int, str] | None]


def minting(*scopes: str, seconds: float) -> Answer:
    """Tokens that live so long at least, and for less than a second more."""
    return lambda: (200, json.dumps({"token": token(*scopes, expires=soon(seconds))}))


def saying(status: int, body: str) -> Answer:
    """The same every time."""
    return lambda: (status, body)


class Backend:
    """
    Answers at `url`, which is of another origin than the pages of *site*, for the duration of its block.

    What it answers can be another for each path; an answer is thought of for one request at a time.
    """

    def __init__(self, site: str) -> None:
        #: By path.
        self.answers: dict[str, Answer] = {}
        #: When each path was asked (monotonic, s), in order, and with which cookies.
        self.asked: dict[str, list[float]] = {}
        self.cookies: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, site))
        self._serving = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def times(self, path: str) -> int:
        """How often it was asked."""
        return len(self.asked.get(path, []))

    def __enter__(self) -> Self:
        self._serving.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._serving.join()
        self._server.server_close()


def _handler(backend: Backend, site: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            backend.asked.setdefault(self.path, []).append(time.monotonic())
            backend.cookies.append(self.headers.get("Cookie", ""))
            answer = backend.answers[self.path]()
            if answer is None:
                self.close_connection = True
                return
            status, body = answer
            self.send_response(status)
            # Whoever sends cookies along is only told what is meant for its origin by name.
            self.send_header("Access-Control-Allow-Origin", site)
            self.send_header("Access-Control-Allow-Credentials", "true")
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    return Handler
