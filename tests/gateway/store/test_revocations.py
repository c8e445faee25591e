"""Revocations and used tokens on real servers: kept as long as they count, told to all, and once is once."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from gateway.errors import TooManyRevocations, Unavailable
from gateway.revocations import By, Revocation
from gateway.store.redis_keys import Retention, revocation_channel, revocations_key, used_token_key
from gateway.store.redis_store import RedisStore
from gateway.store.revocations import RevocationStore, parse_revocation
from tests.redis_server import RedisServer, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.feeds import EnvironmentId


@pytest.fixture
async def store(each_redis_server: RedisServer) -> AsyncIterator[RevocationStore]:
    redis = RedisStore(each_redis_server.url, Retention())
    yield RevocationStore(redis)
    await redis.close()


def revocation(by: By, name: str = "", *, before: int = 0, seconds: float = 60) -> Revocation:
    now = int(time.time() * 1000)
    return Revocation(by, name, before, now, now + int(seconds * 1000))


async def test_what_was_revoked_is_read_as_it_was_said(store: RevocationStore, environment: EnvironmentId) -> None:
    """Each kind, whatever its name holds; and nothing of another environment."""
    said = [
        revocation(By.TOKEN, "ab" * 32),
        revocation(By.JTI, "a name: with spaces, ünïcode and 'quotes\""),
        revocation(By.SUBJECT, "user:7", before=1_760_000_000_123),
        revocation(By.TAG, "customer:7", before=1_760_000_000_124),
        revocation(By.BEFORE, before=1_760_000_000_125),
    ]
    for one in said:
        assert await store.add(environment, one) == one

    read = await store.read(environment)

    assert sorted(read, key=lambda one: one.key) == sorted(said, key=lambda one: one.key)


async def test_every_gateway_is_told(
    store: RevocationStore, environment: EnvironmentId, each_redis_server: RedisServer
) -> None:
    """What is published is what is read."""
    said = revocation(By.SUBJECT, "user 7", before=1_760_000_000_000)
    with each_redis_server.client() as client, client.pubsub() as pubsub:
        pubsub.subscribe(revocation_channel(environment))
        assert pubsub.get_message(timeout=5)
        await store.add(environment, said)
        message = pubsub.get_message(timeout=5)

    assert message is not None
    assert parse_revocation(message["data"].encode()) == said


async def test_said_again_what_covers_more_holds(store: RevocationStore, environment: EnvironmentId) -> None:
    """An earlier moment takes nothing back, and neither does a shorter time."""
    await store.add(environment, revocation(By.BEFORE, before=2000, seconds=60))
    holds = await store.add(environment, revocation(By.BEFORE, before=1000, seconds=30))
    assert holds.before == 2000
    assert holds.until > time.time() * 1000 + 50_000
    assert (await store.add(environment, revocation(By.BEFORE, before=3000))).before == 3000
    (read,) = await store.read(environment)
    assert read.before == 3000


async def test_what_is_over_is_forgotten(
    store: RevocationStore, environment: EnvironmentId, each_redis_server: RedisServer
) -> None:
    """It is not read any more; it goes when the next one comes, and everything with the last one."""
    await store.add(environment, revocation(By.JTI, "short", seconds=0.001))
    await asyncio.sleep(0.01)
    assert await store.read(environment) == []
    long = await store.add(environment, revocation(By.JTI, "long", seconds=100))
    with each_redis_server.client() as client:
        assert client.zrange(revocations_key(environment), 0, -1) == [long.key]
        assert client.hkeys(f"{revocations_key(environment)}:words") == [long.key]
        for key in (revocations_key(environment), f"{revocations_key(environment)}:words"):
            assert 90_000 < int(client.pttl(key)) <= 101_000


async def test_there_are_not_more_than_so_many(
    store: RevocationStore, environment: EnvironmentId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one too many is refused, and says what would do; what is there already may be said again."""
    monkeypatch.setattr("gateway.store.revocations.MAX_REVOCATIONS", 3)
    for number in range(3):
        await store.add(environment, revocation(By.JTI, f"t{number}"))

    with pytest.raises(TooManyRevocations, match="by token"):
        await store.add(environment, revocation(By.JTI, "t3"))

    await store.add(environment, revocation(By.JTI, "t2"))
    assert len(await store.read(environment)) == 3


async def test_a_token_is_used_once(
    store: RevocationStore, environment: EnvironmentId, each_redis_server: RedisServer
) -> None:
    """However many come at the same time; and it is remembered a minute longer than the token lives."""
    ends = time.time() + 30

    used = await asyncio.gather(*(store.use(environment, "digest", ends=ends) for _ in range(50)))

    assert sorted(used) == [False] * 49 + [True]
    assert await store.use(environment, "another", ends=time.time() - 100)
    with each_redis_server.client() as client:
        assert 80_000 < int(client.pttl(used_token_key(environment, "digest"))) <= 90_000


async def test_without_redis_nothing_is_known() -> None:
    """Every question says that it may be asked again."""
    redis = RedisStore(f"redis://127.0.0.1:{free_port()}/0", Retention())
    store = RevocationStore(redis)
    environment: EnvironmentId = "env_away"  # type: ignore[assignment]
    for question in (
        store.read(environment),
        store.add(environment, revocation(By.JTI, "x")),
        store.use(environment, "digest", ends=time.time() + 10),
    ):
        with pytest.raises(Unavailable):
            await question
    await redis.close()


@pytest.mark.parametrize("word", [b"", b"1 2 3", b"1 2 3 what:x", b"a 2 3 jti:x", b"1 2 3 jti:\xff"])
def test_what_is_no_revocation_is_an_error(word: bytes) -> None:
    """ValueError and nothing else, so that whoever hears it can go on."""
    with pytest.raises(ValueError):  # noqa: PT011 - each reader of it has words of its own
        parse_revocation(word)
