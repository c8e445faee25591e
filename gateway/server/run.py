"""Runs uvicorn with our protocol classes, in one process or several."""

from __future__ import annotations

import errno
import logging
import os
import resource
import signal
import socket
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from gateway.errors import Misconfigured
from gateway.metrics.workers import shared_directory
from gateway.server.draining import DrainingServer
from gateway.server.heap import settle_heap
from gateway.server.protocols import HttpProtocol
from gateway.server.websocket_protocol import WebSocketProtocol
from gateway.server.workers import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp

    from gateway.settings import Settings

_log = logging.getLogger("runcast.server")

#: Connections that may wait to be accepted: after a restart thousands come at once.
_BACKLOG: Final = 4096
#: Of a server that does not drain (in tests): what open viewers get to say goodbye before they are cut.
_SHUTDOWN_SECONDS: Final = 10
_FILES_WANTED: Final = 65_536
#: With fewer an operator should know.
_FEW_FILES: Final = 10_000


def server_config(app: ASGIApp | Callable[[], ASGIApp], settings: Settings, **options: Any) -> uvicorn.Config:
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
    if wanted < _FEW_FILES:
        _log.warning("at most about %d viewers: the limit of open files is that low (ulimit -Hn)", wanted)


def listen(settings: Settings) -> socket.socket:
    """
    The socket that viewers come to; whoever connects from now on is served soon.

    Raises:
        Misconfigured: When the address can't be had; the text says which, and what to do.
    """
    if settings.uds is not None:
        return _listen_at_path(settings.uds)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]  # without Python's own words about the address
        raise Misconfigured(
            f"can't listen on {settings.host}:{settings.port}: {reason}. Stop what listens there, or choose another "
            "address with --host and --port (RUNCAST_HOST, RUNCAST_PORT)"
        ) from error


def listen_privately(settings: Settings) -> list[socket.socket]:
    """
    The socket of whoever watches the gateway (gateway/monitoring), where it has one of its own.

    Raises:
        Misconfigured: When it can't be had.
    """
    if settings.metrics_port is None:
        return []
    try:
        return [listen(replace(settings, port=settings.metrics_port, uds=None))]
    except Misconfigured as error:
        raise Misconfigured(f"the port of RUNCAST_METRICS_PORT can't be had: {error}") from error


def _listen_at_path(path: str) -> socket.socket:
    """Who may connect is decided by the file's permissions, and those by our umask."""
    listening = socket.socket(socket.AF_UNIX)
    try:
        try:
            listening.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _was_left(path):
                raise
            os.unlink(path)  # left by one that was killed
            listening.bind(path)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise Misconfigured(
            f"can't listen at {path}: {error.strerror}. Stop what listens there, or choose another path"
        ) from error
    return listening


def _was_left(path: str) -> bool:
    """Whether *path* is a socket, and of nobody: connecting to a plain file is refused just the same."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == errno.ECONNREFUSED


def run(
    app: ASGIApp,
    settings: Settings,
    listening: socket.socket | None = None,
    *private: socket.socket,
    reloads: bool = True,
) -> None:
    """
    Serve *app* in this process until SIGTERM or SIGINT, which drain it (draining.py). SIGHUP reloads keys and origins.

    Args:
        private: What `listen_privately` returned.
        reloads: False for what ends with its terminal, which says so by SIGHUP.

    Raises:
        Misconfigured: Without a *listening* socket, as `listen`.
        SystemExit: With 0 at the end, with 1 when it could not start.
    """
    raise_file_limit()
    sockets = [listening, *private] if listening else [listen(settings), *listen_privately(settings)]
    server = DrainingServer(server_config(app, settings), settings.drain_seconds)
    settle_heap()
    # uvicorn stops gently and then raises the signal again, for whoever handled it before. The default would kill us
    # there, with all that our caller still has to close; and to stop when asked to is no failure.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.end)
    signal.signal(signal.SIGHUP, lambda number, frame: server.reload() if reloads else server.stop(quickly=True))
    server.run(sockets)
    if not server.started:
        raise SystemExit(1)


def run_workers(
    make_app: Callable[[], ASGIApp], settings: Settings, listening: socket.socket, *private: socket.socket
) -> None:
    """
    Serve in `settings.workers` processes, which share the port, until SIGTERM or SIGINT; signals as with `run`.

    Each is sent *make_app*, pickled, and makes an app of its own with it. A worker that dies is replaced.

    Raises:
        SystemExit: With 0 at the end, with 1 when the workers could not start, or not stop.
    """
    raise_file_limit()
    config = server_config(make_app, settings, factory=True)
    with shared_directory():  # what each counts, for the others to show
        status = Supervisor(config, settings, [listening, *private]).run()
    raise SystemExit(status)
