"""A gateway in the test's own process and loop, to look inside."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvicorn

from auth import EnvironmentKeys, Keyring
from gateway.app import create_app
from gateway.server.run import server_config
from gateway.settings import Settings
from tests.gateway.serving import PromptServer
from tests.journeys.gateway_process import KEYS
from tests.journeys.model import PATIENCE_SECONDS
from tests.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from gateway.feed.hub import Hub
    from gateway.transports.viewing import Services


@dataclass(frozen=True)
class Inside:
    """What a test may look at."""

    port: int
    server: uvicorn.Server
    services: Services

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def hub(self) -> Hub:
        return self.services.hub

    @property
    def viewers(self) -> int:
        """Connections that the hub knows."""
        return sum(map(len, self.hub.connections()))

    def leftovers(self) -> dict[str, int]:
        """What there is of everything that belongs to viewers; all of it goes when they do."""
        hub, state = self.hub, self.server.server_state
        return {
            "viewers": self.viewers,
            "channels": len(hub._channels),
            "groups": sum(len(channel.groups) for channel in hub._channels.values()),
            "waves": len(hub._waves),
            "environments": len(hub._environments),
            "expirations": len(self.services.expirations._due) + len(self.services.expirations.viewers()),
            "server connections": len(state.connections),
            "server tasks": len(state.tasks),
        }


@contextlib.asynccontextmanager
async def serving(
    redis_url: str, *, plain: bool = False, keys: Sequence[EnvironmentKeys] = (KEYS,), **options: Any
) -> AsyncIterator[Inside]:
    """
    Serve for the duration of the block.

    Args:
        keys: Of the environments that are served.
        plain: With uvicorn's standard protocol classes, as anybody would run an ASGI app.
        options: Of Settings.
    """
    settings = Settings(redis_url=redis_url, port=free_port(), **options)
    app: Any = create_app(settings, Keyring(keys))
    standard = uvicorn.Config(app, port=settings.port, log_config=None, access_log=False, timeout_graceful_shutdown=2)
    server = PromptServer(standard if plain else server_config(app, settings))
    task = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started or task.done(), "a start")
        yield Inside(settings.port, server, app.app.state.services)
    finally:
        server.should_exit = True
        await task


async def until(holds: Callable[[], object], what: str, *, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until *holds*, for things that don't tell when they change."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come"
        await asyncio.sleep(0.01)
