"""Many readers of one long stream: what they cost, and what has been found to go wrong between them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.cursors import Cursor
from gateway.feed.group import MAX_HEARD_BYTES
from gateway.feed.hub import Hub
from gateway.feed.stream_view import StreamView
from gateway.feeds import FeedId
from gateway.store.redis_store import PAGE_BYTES
from tests.gateway.feed.acting import HeldStore
from tests.gateway.feed.test_stream_properties import KEYS, RUN, StreamModel, StreamWatcher, run_schedule
from tests.gateway.store.test_streams import Streaming

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.feeds import EnvironmentId
    from gateway.store.pages import StreamPage
    from tests.doubles import Watcher
    from tests.redis_server import RedisServer

FEED = FeedId.stream(RUN, KEYS[0])
CHUNK = '"' + "x" * 60_000 + '"'


class CountingStore(HeldStore):
    """Knows how many pages were read, and how many at the same time."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.pages = self._now = self.most_at_once = 0

    async def read_stream(self, *args: Any, **words: Any) -> StreamPage:
        self.pages += 1
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            return await super().read_stream(*args, **words)
        finally:
            self._now -= 1


class Reading:
    """A hub whose readers follow one stream."""

    def __init__(self, server: RedisServer, environment: EnvironmentId, client: Any) -> None:
        self.store = CountingStore(server.url)
        self.hub = Hub(self.store, server.url, [], heartbeat_seconds=60)
        self.environment = environment
        self.streaming = Streaming(client, self.store, environment)
        self.readers: list[StreamWatcher] = []

    def reader(self, after: Cursor | None = None, *, knows: int | None = None) -> StreamWatcher:
        """One that comes back with a cursor and the index that comes next, or begins."""
        reader = StreamWatcher(self.hub, self.environment, StreamView(FEED))
        model = self.model(reader)
        model.cursor, model.following = after, knows
        self.readers.append(reader)
        return reader

    @staticmethod
    def model(reader: StreamWatcher) -> StreamModel:
        model = reader.model
        assert isinstance(model, StreamModel)
        return model

    def write(self, count: int) -> list[Cursor]:
        """Large chunks, one at a time; the place behind each."""
        appended = [self.streaming.append(CHUNK, key=KEYS[0]) for _ in range(count)]
        return [Cursor(one.epoch, one.sequence) for one in appended]

    async def until(self, reader: Watcher, following: int) -> None:
        await reader.until(lambda model: isinstance(model, StreamModel) and model.following == following)

    async def read_to(self, reader: StreamWatcher, following: int) -> None:
        """As a slow one does, whose network takes everything each time that it is full."""
        async with asyncio.timeout(20):
            while (reader.look(), self.model(reader).following)[1] != following:
                reader.sink.drain()
                reader.sink.stall()
                await asyncio.sleep(0)


@pytest.fixture
async def reading(redis_server: RedisServer, environment: EnvironmentId) -> AsyncIterator[Reading]:
    with redis_server.client() as client:
        reading = Reading(redis_server, environment, client)
        running = asyncio.create_task(reading.hub.run())
        yield reading
        for reader in reading.readers:
            reader.disconnect()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await reading.store.close()


async def test_what_nobody_lacks_is_not_read(reading: Reading) -> None:
    """One is at the start and takes little, the other has nearly all: the pages between are left alone."""
    places = reading.write(100)  # a dozen pages
    slow = reading.reader()
    near = reading.reader(places[97], knows=98)
    reading.store.before.clear()
    for reader in (slow, near):
        reader.connect()
        if reader is slow:
            reader.sink.stall()
    reading.store.before.set()

    await reading.until(near, 100)

    assert reading.store.pages <= 3


async def test_readers_at_many_places_take_turns(reading: Reading) -> None:
    """However many they are, and wherever: one page is read at a time, and each keeps little of it."""
    places = reading.write(60)
    readers = [reading.reader(place, knows=index + 1) for index, place in enumerate(places[:-1])]
    for reader in readers:
        reader.connect()
        reader.sink.stall()

    await asyncio.gather(*(reading.read_to(reader, 60) for reader in readers))

    assert reading.store.most_at_once == 1
    assert max(reader.sink.most_unsent for reader in readers) < 2 * PAGE_BYTES
    # Each took a page or less at a time, and shared it with all who were near.
    assert reading.store.pages < len(readers) * 8


async def test_what_is_heard_while_a_page_is_read_has_a_bound(reading: Reading) -> None:
    """More than that is read again instead of kept; nobody misses any of it."""
    reading.write(1)
    reader = reading.reader().connect()
    await reading.until(reader, 1)
    reader.disconnect()
    reading.store.after.clear()
    reader.connect()
    (group,) = [group for channel in reading.hub._channels.values() for group in channel.groups.values()]
    async with asyncio.timeout(20):
        while group.heard is None:
            await asyncio.sleep(0)
    reading.write(2 * MAX_HEARD_BYTES // len(CHUNK))
    async with asyncio.timeout(20):
        while group.heard_all:
            await asyncio.sleep(0.001)

    assert sum(event.size for event in group.heard) <= MAX_HEARD_BYTES
    reading.store.after.set()
    await reading.until(reader, 1 + 2 * MAX_HEARD_BYTES // len(CHUNK))


FOUND = {
    "an end before pages that end with the stream": (
        [[FEED, FeedId.stream(RUN, KEYS[1])], [FEED]],
        [
            *(("open",), ("append", KEYS[0], 6, 1), ("calm",), ("finish",)),
            *(("append", KEYS[1], 1, 70_000), ("append", KEYS[1], 2, 1)),
        ],
    ),
    "an end, and a reader that is overtaken behind it": (
        [[FEED]],
        [
            *(("open",), ("append", KEYS[0], 4, 6000), ("finish",), ("calm",)),
            *(("hold", "after"), ("append", KEYS[0], 1, 70_000), ("rest",), ("rest",), ("rest",)),
            *(("append", KEYS[0], 1, 70_000), ("append", KEYS[0], 7, 1), ("release",)),
        ],
    ),
}


@pytest.mark.parametrize("name", FOUND)
async def test_ends_are_told_once_for_each_begin(redis_server: RedisServer, name: str) -> None:
    """Neither twice because the pages come out even, nor never because a reader had to begin again."""
    await run_schedule(redis_server, *FOUND[name])
