"""Runcast: a realtime run-status gateway. What your background jobs say, at once, to whoever may see it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gateway.changes import Limits, Outcome
    from gateway.publisher import AsyncPublisher, AsyncRun, Context, Publisher, Run, current_async_run, current_run
    from gateway.store.redis_keys import Retention

__all__ = [
    "AsyncPublisher",
    "AsyncRun",
    "Context",
    "Limits",
    "Outcome",
    "Publisher",
    "Retention",
    "Run",
    "current_async_run",
    "current_run",
]

# Loaded when first used: a worker that publishes has no need of the server, nor a server of the publisher.
_HOMES: Final = {
    "AsyncPublisher": "gateway.publisher",
    "AsyncRun": "gateway.publisher",
    "Context": "gateway.publisher",
    "Limits": "gateway.changes",
    "Outcome": "gateway.changes",
    "Publisher": "gateway.publisher",
    "Retention": "gateway.store.redis_keys",
    "Run": "gateway.publisher",
    "current_async_run": "gateway.publisher",
    "current_run": "gateway.publisher",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
