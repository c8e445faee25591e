"""Writing from the gateway: over one connection, each told what became of its change, nothing lost in silence."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from gateway.changes import Limits, Operation, Operator, change
from gateway.errors import TooLarge, TooManyTags, Unavailable
from gateway.store import pipe
from gateway.store.pipe import Pipe
from gateway.store.redis_keys import Retention
from gateway.store.run_writer import RunWriter
from gateway.store.writing import Answer
from tests.gateway.store.changing import Changing
from tests.journeys.proxy import Proxy
from tests.redis_server import binaries, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer

LIMITS = Limits(metadata_bytes=1000)


@contextlib.asynccontextmanager
async def writing(url: str) -> AsyncIterator[RunWriter]:
    writer = RunWriter(url, Retention(), LIMITS)
    try:
        yield writer
    finally:
        await writer.close()


@contextlib.asynccontextmanager
async def piping(url: str) -> AsyncIterator[Pipe]:
    pipe = Pipe(url)
    try:
        yield pipe
    finally:
        await pipe.close()


@pytest.fixture
async def writer(each_redis_server: RedisServer) -> AsyncIterator[RunWriter]:
    async with writing(each_redis_server.url) as writer:
        yield writer


def creation(run: str = "run_1", **said: Any) -> Any:
    return change(run, create=True, initial={"taskIdentifier": "t"}, **said)


def increment(key: str = "n", run: str = "run_1") -> Any:
    return change(run, operations=[Operation(Operator.INCREMENT, key, 1)])


async def test_what_became_of_a_change_is_told(writer: RunWriter, environment: EnvironmentId) -> None:
    """On every kind of server, whether it knows the script or not."""
    outcomes = [
        (await writer.apply(environment, made)).outcome
        for made in (
            *(change("run_1", status="EXECUTING"), creation(), creation()),
            *(change("run_1", status="COMPLETED"), change("run_1", status="EXECUTING")),
        )
    ]

    assert outcomes == [Answer.MISSING, Answer.APPLIED, Answer.UNCHANGED, Answer.APPLIED, Answer.STALE]


async def test_what_would_be_too_much_is_an_error_and_changes_nothing(
    writer: RunWriter, each_redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """Unlike the publisher, which leaves out the excess: whoever asks here can do something about it."""
    await writer.apply(environment, creation(tags=["a"]))
    large = Operation(Operator.SET, "large", "x" * 1000)

    with pytest.raises(TooLarge, match="the limit is 1000"):
        await writer.apply(environment, change("run_1", status="EXECUTING", operations=[large]))
    with pytest.raises(TooManyTags, match="at most 10"):
        await writer.apply(environment, change("run_1", status="EXECUTING", tags=[str(n) for n in range(10)]))

    with each_redis_server.client() as client:
        row = Changing(client, environment).row()
    assert (row["status"], row["runTags"]) == ("PENDING", ["a"])


async def test_a_change_that_is_said_again_with_its_name_counts_once(
    writer: RunWriter, each_redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """Without one each counts."""
    await writer.apply(environment, creation())
    for once in ("name_one", "name_one", "name_two", "", ""):
        await writer.apply(environment, increment(), once=once)

    with each_redis_server.client() as client:
        assert Changing(client, environment).metadata() == {"n": 4}


async def test_many_at_once_share_one_connection_and_lose_nothing(
    redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """Those on paths too, each of which reads the metadata before it writes."""
    async with Proxy(redis_server.port) as proxy, writing(proxy.url) as writer:
        await writer.apply(environment, creation(metadata={"deep": {"n": 0}}))
        await asyncio.gather(
            *(writer.apply(environment, increment()) for _ in range(200)),
            *(writer.apply(environment, increment("$.deep.n")) for _ in range(10)),
        )

    with redis_server.client() as client:
        assert Changing(client, environment).metadata() == {"n": 200, "deep": {"n": 10}}
    assert proxy.connections == 1


async def test_a_connection_that_was_cut_while_idle_is_not_noticed(
    redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """A provider that closes idle ones costs nobody an error, and no change is applied twice."""
    async with Proxy(redis_server.port) as proxy, writing(proxy.url) as writer:
        await writer.apply(environment, creation())
        for _ in range(3):
            await proxy.refuse()
            await proxy.accept()
            await writer.apply(environment, increment())

    with redis_server.client() as client:
        assert Changing(client, environment).metadata() == {"n": 3}


async def test_redis_that_is_away_is_told(tmp_path: Path, environment: EnvironmentId) -> None:
    """At once, for each that waits; and when it is back, writing goes on."""
    with running_server(tmp_path, binaries()["valkey"]) as server:
        async with writing(server.url) as writer:
            await writer.apply(environment, creation())
            server.stop()
            results = await asyncio.gather(
                *(writer.apply(environment, increment()) for _ in range(5)), return_exceptions=True
            )
            server.start()
            again = await writer.apply(environment, creation("run_2"))

    assert [type(result) for result in results] == [Unavailable] * 5
    assert again.outcome is Answer.APPLIED


async def test_redis_that_can_not_write_is_told(tmp_path: Path, environment: EnvironmentId) -> None:
    """No memory left, say: the same may work later, so it is no fault of the change."""
    with running_server(tmp_path, binaries()["valkey"]) as server:
        async with writing(server.url) as writer:
            await writer.apply(environment, creation())
            with server.client() as client:
                client.config_set("maxmemory", "1")
                with pytest.raises(Unavailable):
                    await writer.apply(environment, creation("run_2"))
                client.config_set("maxmemory", "0")
            assert (await writer.apply(environment, creation("run_2"))).outcome is Answer.APPLIED


async def test_what_waits_has_a_bound(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """In number and in bytes; whoever comes when it is reached is told to come back, and the others are served."""
    monkeypatch.setattr(pipe, "MOST_WAITING", 3)
    monkeypatch.setattr(pipe, "MOST_WAITING_BYTES", 100)
    async with piping(redis_server.url) as writes:
        results = await asyncio.gather(*(writes.ask("ECHO", str(n)) for n in range(5)), return_exceptions=True)
        large = await asyncio.gather(writes.ask("ECHO", "x" * 50), writes.ask("ECHO", "x" * 60), return_exceptions=True)

    assert results[:3] == [b"0", b"1", b"2"]
    assert [type(result) for result in results[3:]] == [Unavailable] * 2
    assert (large[0], type(large[1])) == (b"x" * 50, Unavailable)


async def test_who_gives_up_waiting_disturbs_nobody(redis_server: RedisServer) -> None:
    """What was not sent yet is not sent; the others get their own answers."""
    async with piping(redis_server.url) as writes:
        asking = [asyncio.ensure_future(writes.ask("ECHO", str(n))) for n in range(10)]
        await asyncio.sleep(0)
        for task in asking[::2]:
            task.cancel()
        results = await asyncio.gather(*asking, return_exceptions=True)

    assert results[1::2] == [b"1", b"3", b"5", b"7", b"9"]
    assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])


async def test_closing_leaves_nobody_waiting(redis_server: RedisServer) -> None:
    """Closing twice is harmless."""
    async with Proxy(redis_server.port) as proxy, piping(proxy.url) as writes:
        await writes.ask("PING")
        proxy.fall_silent()
        waiting = asyncio.ensure_future(writes.ask("PING"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await writes.close()
        await writes.close()

        with pytest.raises(Unavailable):
            await waiting
