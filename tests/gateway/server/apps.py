"""Apps that worker processes make for themselves; they must be found by name."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING, Any

from gateway.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    App = Callable[[Any, Any, Any], Awaitable[None]]


def pid_app() -> App:
    """Answers everything with the number of its process, and /never not at all."""

    async def app(scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        if scope["type"] != "lifespan":
            if scope["path"] == "/never":
                await asyncio.Event().wait()
            body = str(os.getpid()).encode()
            headers = [(b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    return app


def misconfigured_app() -> App:
    raise Misconfigured("the planted mistake")


def failing_app() -> App:
    raise RuntimeError("the planted mistake")


def dying_app() -> App:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def sleeping_app() -> App:
    """One that takes its time to start."""
    time.sleep(60)
    raise AssertionError


def short_lived_app() -> App:
    """Starts well, and dies of the first request."""

    async def app(scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        if scope["type"] != "lifespan":
            os.kill(os.getpid(), signal.SIGKILL)

    return app


def blocking_app() -> App:
    """Starts well, and does nothing more from the first request on."""
    inner = pid_app()

    async def app(scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        if scope["type"] != "lifespan" and scope["path"] == "/block":
            time.sleep(60)
        await inner(scope, receive, send)

    return app
