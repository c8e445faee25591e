"""The feeds' routes on a real hub and a real Redis, without a server."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from starlette.applications import Starlette

from auth import EnvironmentKeys, Keyring, generate_secret_key, mint
from gateway.feed.hub import Hub
from gateway.limits import Quotas
from gateway.metrics.counters import Counters
from gateway.settings import Settings
from gateway.store.redis_store import RedisStore
from gateway.store.revocations import RevocationStore
from gateway.transports.admission import Admission
from gateway.transports.expirations import Expirations
from gateway.transports.origins import Origins
from gateway.transports.revoking import RevocationWatch
from gateway.transports.viewing import Services
from gateway.triggerdev import feeds
from tests.gateway.triggerdev.shape.folding import Answer, FoldingClient, ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.feeds import EnvironmentId
    from gateway.limits import Hearing
    from gateway.triggerdev.shape.shapes import Shapes
    from tests.redis_server import RedisServer


class Feeds:
    """One environment's feeds, and who may read them."""

    def __init__(
        self,
        redis: RedisServer,
        environment: EnvironmentId,
        *,
        store: RedisStore | None = None,
        hearing: Callable[[EnvironmentId], Hearing] | None = None,
        connections: int = 10_000,
        **options: Any,
    ) -> None:
        self.keys = EnvironmentKeys.of(environment, generate_secret_key())
        self.environment = environment
        settings = Settings(redis_url=redis.url, **options)
        self.store = store or RedisStore(redis.url, settings.retention)
        counters = Counters()
        quotas = Quotas(
            connections_per_environment=connections,
            connections_per_token=connections,
            requests_per_second=1000,
            token_requests_per_second=1000,
            changes_per_second=1000,
            hits=counters.limits_hit,
        )
        self.hub = Hub(self.store, redis.url, [], 0.06, hearing)
        self.expirations = Expirations()
        self.revocations = RevocationWatch(RevocationStore(self.store), self.hub, [environment], self.expirations)
        self.admission = Admission(Keyring([self.keys]), Origins(), self.store, self.revocations)
        nobody = cast("Any", None)
        self.services = Services(
            *(settings, self.store, self.hub, self.admission, self.expirations, self.revocations),
            *(nobody, nobody, nobody, quotas),
            counters=counters,
        )
        self.routes = feeds.routes(self.services)
        self.app = Starlette(routes=self.routes)

    @property
    def secret(self) -> str:
        return self.keys.current.secret

    @property
    def shapes(self) -> Shapes:
        return cast("Shapes", cast("Any", self.routes[0]).endpoint._shapes)

    def token(self, *scopes: str, **options: Any) -> str:
        return mint(list(scopes), self.keys, **options)

    def client(self, path: str, token: str | None = None, **query: str) -> FoldingClient:
        return FoldingClient(self.app, f"/realtime/v1/{path}", query, token or self.secret)

    def visitor(self, path: str, token: str | None = None, **query: str) -> FoldingClient:
        """A client whose requests come by the desk, as with our own server."""
        return replace(self.client(path, token, **query), desk=self.services.desk)

    async def get(self, path: str, query: dict[str, str], token: str | None = None) -> Answer:
        return await ask(self.app, f"/realtime/v1/{path}", query, token or self.secret)

    def stop(self) -> None:
        """As a server that stops: whoever waits is sent away."""
        lifecycle = self.services.lifecycle
        lifecycle.drain()
        for answer in lifecycle.waiting:
            lifecycle.send_away(answer)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Feeds]:
        tasks = [asyncio.create_task(self.hub.run()), asyncio.create_task(self.revocations.run())]
        try:
            await self.revocations.read_once(seconds=10)
            yield self
        finally:
            self.shapes.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.store.close()
