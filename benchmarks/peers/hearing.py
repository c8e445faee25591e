"""How the peers in Python hear events: redis-py with its parser in C, one subscription per feed for all its viewers."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

from redis.asyncio import Redis

from benchmarks.peers.ceiling import CHANNEL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

V = TypeVar("V")


class Feeds(Generic[V]):
    """Who follows which feed. What a viewer is, is up to the peer."""

    def __init__(self, redis_url: str) -> None:
        self._pubsub = Redis.from_url(redis_url).pubsub(ignore_subscribe_messages=True)
        self._viewers: dict[str, set[V]] = {}

    async def connect(self) -> None:
        """Before anyone comes: two who subscribe first would make two connections, and one would be lost."""
        await self._pubsub.subscribe(CHANNEL)

    @asynccontextmanager
    async def joined(self, feed: str, viewer: V) -> AsyncIterator[None]:
        """*viewer* follows *feed* for as long as the block lasts."""
        viewers = self._viewers.setdefault(CHANNEL + feed, set())
        viewers.add(viewer)
        if len(viewers) == 1:
            await self._pubsub.subscribe(CHANNEL + feed)
        try:
            yield
        finally:
            viewers.discard(viewer)  # the subscription stays: nobody measures what leaving costs

    async def heard(self) -> AsyncIterator[tuple[set[V], bytes]]:
        """Each event as it comes, with those who follow its feed."""
        async for message in self._pubsub.listen():
            yield self._viewers[message["channel"].decode()], message["data"]
