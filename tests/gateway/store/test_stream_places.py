"""Where a reader begins that names its first chunk by index; and writers that write once."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import NoScriptError

from gateway.changes import Limits
from gateway.runs import Status
from gateway.store.appending import Append, AppendOutcome, append_command, read_append, whole_append
from gateway.store.redis_keys import Retention, once_key, stream_key, stream_state_key
from gateway.store.redis_store import RedisStore
from tests.gateway.store.changing import Changing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.feeds import EnvironmentId
    from gateway.store.appending import Appended
    from tests.redis_server import RedisServer

RUN, KEY = "run_1", "tokens"


class Placing:
    """One run of an environment, its streams, and a store that reads them."""

    def __init__(self, client: Any, store: RedisStore, environment: EnvironmentId) -> None:
        self.client, self.store, self.environment = client, store, environment
        self.limits = Limits()
        self.changing = Changing(client, environment)
        self.changing.create(RUN, status="EXECUTING")

    def append(self, *texts: str, key: str = KEY, **words: Any) -> Appended:
        writer = type(self.changing.writer)(environment=self.environment, limits=self.limits)
        command: Any = append_command(Append(RUN, key, [text.encode() for text in texts], **words), writer)
        try:
            return read_append(self.client.execute_command(*command))
        except NoScriptError:
            return read_append(self.client.execute_command(*whole_append(command)))

    async def first_after(self, index: int | None) -> int | None:
        """The index of the first chunk that a reader gets who begins at *index*."""
        place = await self.store.find_chunk(self.environment, RUN, KEY, index)
        page = await self.store.read_stream(self.environment, RUN, KEY, after=place.cursor.sequence, limit=1)
        assert page.epoch == place.cursor.epoch
        assert place.next_index == page.next_index
        assert place.cursor.sequence >= page.trimmed
        return page.chunks[0].index if page.chunks else None


@pytest.fixture
async def placing(each_redis_server: RedisServer, environment: EnvironmentId) -> AsyncIterator[Placing]:
    store = RedisStore(each_redis_server.url, Retention())
    with each_redis_server.client() as client:
        try:
            yield Placing(client, store, environment)
        finally:
            await store.close()


@pytest.mark.parametrize("seed", range(3))
async def test_each_chunk_is_found_by_its_index(placing: Placing, seed: int) -> None:
    """However its number and those of all others came about."""
    chance, count = random.Random(seed), 0
    while count < 150:
        for _ in range(chance.choice([0, 0, 1, 3, 40])):
            placing.append("0", key="other")
        size = chance.choice([1, 1, 2, 30])
        placing.append(*["7"] * size)
        count += size
    for index in range(count):
        assert await placing.first_after(index) == index
    assert await placing.first_after(count) is None
    assert await placing.first_after(count + 100) is None
    assert await placing.first_after(None) == count - 1


async def test_what_was_removed_is_not_found(placing: Placing) -> None:
    """A reader that has less than what is left begins there."""
    placing.limits = Limits(stream_bytes=10 * 41)
    for _ in range(30):
        placing.append("7")
    for index in range(30):
        assert await placing.first_after(index) == max(index, 20)


async def test_a_stream_that_is_not_there(placing: Placing) -> None:
    for index in (0, 3, None):
        place = await placing.store.find_chunk(placing.environment, RUN, "never", index)
        assert (place.next_index, place.status) == (0, Status.EXECUTING)
        assert (await placing.store.find_chunk(placing.environment, "run_9", KEY, index)).status is None
    placing.append("7")
    assert await placing.first_after(0) == 0


async def test_chunks_say_when_they_came(placing: Placing) -> None:
    """By the clock of Redis."""
    placing.append("1", "2")
    seconds, _ = placing.client.time()
    page = await placing.store.read_stream(placing.environment, RUN, KEY, after=0)
    assert all(abs(chunk.at / 1000 - seconds) < 10 for chunk in page.chunks)


async def test_chunks_of_an_earlier_version(placing: Placing) -> None:
    """They don't say when they came; and cost what they cost."""
    first = placing.append("1")
    client, names = placing.client, (placing.environment, RUN, KEY)
    client.delete(stream_key(*names))
    client.xadd(stream_key(*names), {"0": "1"}, id=f"{first.sequence}-0")
    client.expire(stream_key(*names), 60)
    client.hset(stream_state_key(*names), "bytes", 25)
    page = await placing.store.read_stream(*names, after=0)
    assert [(chunk.at, chunk.index, chunk.text) for chunk in page.chunks] == [(0, 0, b"1")]
    placing.limits = Limits(stream_bytes=60)
    placing.append("2")
    assert client.hget(stream_state_key(*names), "bytes") == "41"


async def test_who_writes_once_is_known_for_a_time(placing: Placing) -> None:
    """Whatever it would write then; and does not count among those who go on."""
    placing.append("0", writer="uploads", first=0)
    for number in range(100):
        appended = placing.append(f"{number}", writer=f"once-{number}", once_ms=60_000)
        assert appended.outcome is AppendOutcome.APPENDED
        again = placing.append(f"{number}", writer=f"once-{number}", once_ms=60_000)
        assert (again.outcome, again.next_index) == (AppendOutcome.APPENDED, number + 2)
    assert 0 < placing.client.pttl(once_key(placing.environment, "once-7")) <= 60_000
    assert placing.append("1", writer="uploads", first=1).writer_next == 2


async def test_who_could_not_write_is_not_known(placing: Placing) -> None:
    """There was no such run, so nothing was stored: when it comes again, it is new."""
    missing = append_command(Append("run_2", KEY, [b"1"], "once", once_ms=60_000), placing.changing.writer)
    command: Any = whole_append(missing)
    assert read_append(placing.client.execute_command(*command)).outcome is AppendOutcome.MISSING
    placing.changing.create("run_2")
    assert read_append(placing.client.execute_command(*command)).next_index == 1
