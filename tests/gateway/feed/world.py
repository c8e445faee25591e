"""A hub on a real server, which can break, and its viewers."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.errors import Unavailable
from gateway.feed.hub import Hub
from gateway.feed.view import View
from gateway.feeds import ALL_RUNS, EnvironmentId, FeedId
from gateway.store.redis_keys import Retention
from gateway.store.redis_store import RedisStore
from tests.doubles import PATIENCE_SECONDS, Watcher
from tests.gateway.store.changing import Changing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import redis

    from tests.redis_server import RedisServer

RUN = View(FeedId.run("run_1"))
ALL = View(ALL_RUNS)
ENVIRONMENT = EnvironmentId("env_hub")


class ReluctantStore(RedisStore):
    """The real store, parts of which can be out of order."""

    def __init__(self, url: str) -> None:
        super().__init__(url, Retention())
        self.reads_fail = self.canaries_fail = False
        #: Canaries that could not be sent, and nobody had asked for that.
        self.lost_canaries = 0

    async def place(self, *args: Any, **words: Any) -> Any:
        if self.reads_fail:
            raise Unavailable
        return await super().place(*args, **words)

    async def canary(self, *args: Any, **words: Any) -> None:
        if self.canaries_fail:
            raise Unavailable
        try:
            await super().canary(*args, **words)
        except Unavailable:
            self.lost_canaries += 1
            raise


@dataclass
class World:
    """A running hub, a publisher, and the viewers."""

    hub: Hub
    store: ReluctantStore
    changing: Changing
    client: redis.Redis
    watchers: list[Watcher]

    def watch(self, *views: View, environment: EnvironmentId | None = None, limit: int = 100_000) -> Watcher:
        watcher = Watcher(self.hub, environment or self.changing.environment, *views, limit=limit).connect()
        self.watchers.append(watcher)
        return watcher

    def our_connections(self) -> list[dict[str, str]]:
        clients: list[dict[str, str]] = self.client.client_list()
        return [entry for entry in clients if entry["name"].startswith("runcast-gateway")]

    def kill_subscription(self) -> None:
        for entry in self.our_connections():
            if entry["name"] == "runcast-gateway-subscription":
                self.client.client_kill_filter(_id=entry["id"])


@contextlib.asynccontextmanager
async def running_world(
    server: RedisServer, environment: EnvironmentId, *, heartbeat_seconds: float = 60.0
) -> AsyncIterator[World]:
    store = ReluctantStore(server.url)
    hub = Hub(store, server.url, [], heartbeat_seconds)
    running = asyncio.create_task(hub.run())
    with server.client() as client:
        world = World(hub, store, Changing(client, environment), client, [])
        try:
            await eventually(lambda: hub._subscription.connected, "a subscription")
            yield world
        finally:
            for watcher in world.watchers:
                watcher.disconnect()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await store.close()


async def eventually(holds: Callable[[], object], what: str) -> None:
    """For what nobody announces."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():
            await asyncio.sleep(0.005)


async def until_state(watcher: Watcher, state: str) -> None:
    await watcher.until(lambda _: watcher.heartbeats and watcher.heartbeats[-1]["state"] == state, f"heartbeat {state}")
