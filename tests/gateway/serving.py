"""A gateway in this process that viewers reach over the network; it can stop, and come back at the same port."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import uvicorn

from auth import EnvironmentKeys, Keyring, generate_secret_key, mint
from gateway.app import create_app
from gateway.publisher import Publisher
from gateway.server.run import server_config
from gateway.settings import Settings
from tests.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from auth import Permissions
    from gateway.feed.hub import Hub
    from gateway.feeds import EnvironmentId
    from gateway.transports.viewing import Services
    from tests.redis_server import RedisServer


class PromptServer(uvicorn.Server):
    """uvicorn's, which notices soon that it is to end: tests end hundreds of them."""

    async def main_loop(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not await self.on_tick(int((loop.time() - began) * 10)):  # it counts tenths of a second
            await asyncio.sleep(0.005)


class ServedGateway:
    """One environment's gateway, and the publisher beside it. Runs for as long as an `async with` block lasts."""

    def __init__(self, redis: RedisServer, environment: EnvironmentId, **options: Any) -> None:
        self.keys = EnvironmentKeys.of(environment, generate_secret_key())
        self.settings = Settings(redis_url=redis.url, port=free_port(), **options)
        self.url = f"http://127.0.0.1:{self.settings.port}"
        self.publisher = Publisher(redis.url, environment=environment)
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def secret(self) -> str:
        return self.keys.current.secret

    def token(self, scopes: Permissions | list[str], **options: Any) -> str:
        return mint(scopes, self.keys, **options)

    async def start(self) -> None:
        """Serve, and return when it hears what is published."""
        app: Any = create_app(self.settings, Keyring([self.keys]))
        self._server = server = PromptServer(server_config(app, self.settings))
        self._serving = asyncio.create_task(server.serve(), name="gateway")
        self.routes: Sequence[Any] = app.app.routes
        self._services: Services = app.app.state.services
        self._hub: Hub = self._services.hub
        async with asyncio.timeout(10):
            while not (server.started and self._hub._subscription.connected):
                assert not self._serving.done(), "the gateway ended at once"
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """As a deployment does: viewers are told to come back."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving
            # Who came while it stopped was told nothing. With a process its sockets would go, too.
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()
            self._server = self._serving = None

    async def followed(self, feed: str) -> None:
        """Return when somebody who follows *feed* is live."""
        async with asyncio.timeout(10):
            while not any(self._is_live(feed, group) for group in self._groups()):
                await asyncio.sleep(0.01)

    def _groups(self) -> list[Any]:
        return [group for channel in self._hub._channels.values() for group in channel.groups.values()]

    @staticmethod
    def _is_live(feed: str, group: Any) -> bool:
        return str(group.view.feed) == feed and any(group.live.values())

    async def __aenter__(self) -> ServedGateway:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.publisher.close()
        await self.stop()
