"""Runs uvicorn with our protocol classes, in one process or several."""

from __future__ import annotations

import logging
import resource
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from gateway.server.protocols import HttpProtocol, WebSocketProtocol

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from gateway.settings import Settings

_log = logging.getLogger("runcast.server")

#: Connections that may wait to be accepted: after a restart thousands come at once.
_BACKLOG: Final = 4096
#: What open viewers get to say goodbye before they are cut.
_SHUTDOWN_SECONDS: Final = 10
_FILES_WANTED: Final = 65_536


def server_config(app: ASGIApp | str, settings: Settings, **options: Any) -> uvicorn.Config:
    """How uvicorn runs *app* for us; *options* are uvicorn's own."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_per_message_deflate=False,  # a context per viewer costs more memory than all the rest of it
        access_log=False,  # it would have tokens in it, and a line for each of ten thousand streams
        log_config=None,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        **options,
    )


def raise_file_limit() -> None:
    """Each viewer is an open file; take as many as we are allowed, and say when that is few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_WANTED if hard == resource.RLIM_INFINITY else min(_FILES_WANTED, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < _FILES_WANTED:
        _log.warning("at most about %d viewers: the limit of open files is that low (ulimit -Hn)", wanted)
