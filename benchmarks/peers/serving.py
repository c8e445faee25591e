"""uvicorn as it is fastest, for the peers that are ASGI applications."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Final

import uvicorn

if TYPE_CHECKING:
    from collections.abc import Callable

#: uvicorn's default would let the kernel drop connections when thousands of viewers come at once.
BACKLOG: Final = 4096


def arguments(about: str | None) -> argparse.Namespace:
    """What every server of a peer is told: its port and its Redis."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--redis-url", required=True)
    return parser.parse_args()


def serve(app: Callable[..., Any], port: int) -> None:
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",  # the fastest of those it has
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        backlog=BACKLOG,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=1,
    )
