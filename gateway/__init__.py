"""Runcast: a realtime run-status gateway. What your background jobs say, at once, to whoever may see it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gateway.app import create_app
    from gateway.changes import Limits, Outcome
    from gateway.errors import Cancelled, NoMoreInput
    from gateway.publisher import (
        AsyncPublisher,
        AsyncRun,
        Context,
        Publisher,
        Run,
        RunLogHandler,
        current_async_run,
        current_run,
        run_process,
    )
    from gateway.settings import Settings
    from gateway.store.redis_keys import Retention
    from gateway.viewer.blocking import BlockingViewer
    from gateway.viewer.streams import StreamChunk
    from gateway.viewer.viewed import ViewedRun
    from gateway.viewer.viewer import Viewer

__all__ = [
    "AsyncPublisher",
    "AsyncRun",
    "BlockingViewer",
    "Cancelled",
    "Context",
    "Limits",
    "NoMoreInput",
    "Outcome",
    "Publisher",
    "Retention",
    "Run",
    "RunLogHandler",
    "Settings",
    "StreamChunk",
    "ViewedRun",
    "Viewer",
    "create_app",
    "current_async_run",
    "current_run",
    "run_process",
]

# Loaded when first used: a worker that publishes has no need of the server, nor a server of the publisher.
_HOMES: Final = {
    "AsyncPublisher": "gateway.publisher",
    "AsyncRun": "gateway.publisher",
    "BlockingViewer": "gateway.viewer.blocking",
    "Cancelled": "gateway.errors",
    "Context": "gateway.publisher",
    "Limits": "gateway.changes",
    "NoMoreInput": "gateway.errors",
    "Outcome": "gateway.changes",
    "Publisher": "gateway.publisher",
    "Retention": "gateway.store.redis_keys",
    "Run": "gateway.publisher",
    "RunLogHandler": "gateway.publisher",
    "Settings": "gateway.settings",
    "StreamChunk": "gateway.viewer.streams",
    "ViewedRun": "gateway.viewer.viewed",
    "Viewer": "gateway.viewer.viewer",
    "create_app": "gateway.app",
    "current_async_run": "gateway.publisher",
    "current_run": "gateway.publisher",
    "run_process": "gateway.publisher",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
