"""How changes get in: the publisher for jobs and whoever starts them, its asynchronous twin, and the ambient run."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gateway.publisher.ambient import current_async_run, current_run
    from gateway.publisher.async_readers import AsyncInput
    from gateway.publisher.asynchronous import AsyncPublisher, AsyncRun
    from gateway.publisher.context import Context
    from gateway.publisher.logs import RunLogHandler, run_process
    from gateway.publisher.outbox import Statistics
    from gateway.publisher.publisher import Publisher, Run
    from gateway.publisher.readers import Input
    from gateway.publisher.streams import AsyncStream, Stream

__all__ = [
    "AsyncInput",
    "AsyncPublisher",
    "AsyncRun",
    "AsyncStream",
    "Context",
    "Input",
    "Publisher",
    "Run",
    "RunLogHandler",
    "Statistics",
    "Stream",
    "current_async_run",
    "current_run",
    "run_process",
]

# Loaded when first used: a synchronous job has no need of asyncio.
_HOMES: Final = {
    "AsyncInput": "async_readers",
    "AsyncPublisher": "asynchronous",
    "AsyncRun": "asynchronous",
    "AsyncStream": "streams",
    "Context": "context",
    "Input": "readers",
    "Publisher": "publisher",
    "Run": "publisher",
    "RunLogHandler": "logs",
    "run_process": "logs",
    "Stream": "streams",
    "Statistics": "outbox",
    "current_async_run": "ambient",
    "current_run": "ambient",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
