"""Runs uvicorn with our protocol classes, in one process or several."""

from __future__ import annotations

import logging
import resource
import signal
import socket
from typing import TYPE_CHECKING, Any, Final, NoReturn

import uvicorn
from uvicorn.supervisors import Multiprocess

from gateway.errors import Misconfigured
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


def listen(settings: Settings) -> socket.socket:
    """
    The socket that viewers come to; whoever connects from now on is served soon.

    Raises:
        Misconfigured: When the address can't be had; the text says which, and what to do.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]  # without Python's own words about the address
        raise Misconfigured(
            f"can't listen on {settings.host}:{settings.port}: {reason}. Stop what listens there, or choose another "
            "address with RUNCAST_HOST and RUNCAST_PORT"
        ) from error


def run(app: ASGIApp, settings: Settings, listening: socket.socket | None = None) -> None:
    """
    Serve *app* in this process until SIGTERM or SIGINT.

    Raises:
        Misconfigured: Without a *listening* socket, as `listen`.
        SystemExit: With 0 at the end.
    """
    raise_file_limit()
    listening = listening or listen(settings)
    # uvicorn stops gently and then raises the signal again, for whoever handled it before. The default would kill us
    # there, with all that our caller still has to close; and to stop when asked to is no failure.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    server = uvicorn.Server(server_config(app, settings))
    server.run([listening])
    if not server.started:
        raise SystemExit(1)


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(0)


def run_workers(settings: Settings, listening: socket.socket) -> None:
    """
    Serve in `settings.workers` processes, which share the port. Each makes its own app from the process environment.

    A worker that dies is replaced.
    """
    raise_file_limit()
    config = server_config("gateway.app:from_environment", settings, factory=True, workers=settings.workers)
    Multiprocess(config, sockets=[listening]).run()
