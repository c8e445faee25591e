"""The gateway's app on servers that are not ours, as anybody may run an ASGI app."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

import uvicorn
from hypercorn.asyncio import serve
from hypercorn.config import Config as HypercornConfig
from uvicorn.server import ServerState

from auth import Keyring
from gateway.app import create_app
from gateway.settings import Settings
from tests.journeys.gateway_process import KEYS
from tests.journeys.in_process import Inside, serving, until
from tests.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: uvicorn with what it finds (httptools and websockets), uvicorn with what has no C in it, and another project's.
SERVERS: Final = ("uvicorn", "uvicorn-h11", "hypercorn")


@contextlib.asynccontextmanager
async def elsewhere(server: str, redis_url: str, **options: Any) -> AsyncIterator[Inside]:
    """Serve by one of SERVERS for the duration of the block; *options* are those of Settings."""
    if server == "uvicorn":
        async with serving(redis_url, plain=True, **options) as inside:
            yield inside
        return
    settings = Settings(redis_url=redis_url, port=free_port(), **options)
    app: Any = create_app(settings, Keyring([KEYS]))
    by = _by_h11 if server == "uvicorn-h11" else _by_hypercorn
    async with by(app, settings.port) as running:
        yield Inside(settings.port, running, app.app.state.services)


@contextlib.asynccontextmanager
async def _by_h11(app: Any, port: int) -> AsyncIterator[uvicorn.Server]:
    config = uvicorn.Config(
        app, port=port, http="h11", ws="wsproto", log_config=None, access_log=False, timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started or task.done(), "a start")
        yield server
    finally:
        server.should_exit = True
        await task


@contextlib.asynccontextmanager
async def _by_hypercorn(app: Any, port: int) -> AsyncIterator[uvicorn.Server]:
    config = HypercornConfig()
    config.bind = [f"127.0.0.1:{port}"]
    config.graceful_timeout = 2
    stop = asyncio.Event()
    task = asyncio.create_task(serve(app, config, shutdown_trigger=cast("Any", stop.wait)))
    try:
        async with asyncio.timeout(20):
            while not await _listens(port):
                assert not task.done(), "it ended at once"
                await asyncio.sleep(0.01)
        # What it has open it does not say.
        yield cast("uvicorn.Server", SimpleNamespace(server_state=ServerState()))
    finally:
        stop.set()
        await task


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
