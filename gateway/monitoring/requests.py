"""
Counts HTTP requests by route and status class, and times those that are no streams; a line in the log for each of those
that are for the API. Streams have theirs when they end (transports/viewing.py).
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gateway.metrics.counters import Counters

_log = logging.getLogger("runcast.http")

#: What anybody may ask for is not a label: a path without a route, or a method that is none.
_OTHER: Final = "other"
#: What is asked of the API begins with one of these: ours, or that of the official Trigger.dev clients.
API: Final = ("/v1/", "/api/")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class CountRequests:
    """Middleware around the routes: they leave in the scope which one it was."""

    def __init__(self, app: ASGIApp, counters: Counters) -> None:
        self.app = app
        self._counters = counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status, streams = time.monotonic(), 0, False

        async def noting(message: Message) -> None:
            nonlocal status, streams
            if message["type"] == "http.response.start":
                status, streams = message["status"], is_stream(message)
                self._count(scope, status)
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except Exception:
            if not status:
                status = 500  # what the server will answer
                self._count(scope, status)
            raise
        finally:
            if status and not streams:
                self._over(scope, status, time.monotonic() - began)

    def _over(self, scope: Scope, status: int, seconds: float) -> None:
        method, route = scope["method"][:20], route_of(scope)
        self._counters.request_took(route, seconds)
        if (route.startswith(API) or _writes(method, route)) and _log.isEnabledFor(logging.INFO):
            # Never with the query, in which a token may be.
            facts = {"method": method, "route": route, "status": status, "seconds": round(seconds, 4)}
            _log.info("%s %s: %d", method, scope["path"][:400], status, extra=facts)

    def _count(self, scope: Scope, status: int) -> None:
        method = scope["method"] if scope["method"] in _METHODS else _OTHER
        self._counters.requests[method, route_of(scope), f"{status // 100}xx"] += 1


def _writes(method: str, route: str) -> bool:
    """Whether it writes to a stream as the official clients do. Their polls beside it come without end."""
    return route.startswith("/realtime/") and method not in ("GET", "HEAD")


def is_stream(start: Message) -> bool:
    """Whether a response that begins so goes on until its viewer leaves."""
    return any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in start["headers"])


def route_of(scope: Scope) -> str:
    """As it is written down: /v1/runs/{id}."""
    route = scope.get("route")
    template = getattr(route, "template", None) or getattr(route, "path", None)
    return template if isinstance(template, str) and "{path:path}" not in template else _OTHER
