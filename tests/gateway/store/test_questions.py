"""Many who read at once: one connection, one answer for the same question, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.changes import Operation, Operator
from gateway.errors import Unavailable
from gateway.feeds import ALL_RUNS, EnvironmentId
from gateway.store.redis_keys import Retention
from gateway.store.redis_store import RedisStore
from tests.doubles import impostor
from tests.redis_server import free_port

if TYPE_CHECKING:
    from tests.gateway.store.changing import Changing
    from tests.gateway.store.reader import Reading


async def test_a_row_is_read_in_whatever_epoch(reading: Reading, changing: Changing) -> None:
    """Without its metadata; nothing when there is no such run."""
    assert await reading.store.read_row(reading.environment, "run_1", ("status",)) is None
    applied = changing.create(operations=[Operation(Operator.SET, "a", 1)])

    row = await reading.store.read_row(reading.environment, "run_1", ("status", "output"))

    assert row is not None
    assert (row.run, row.sequence, row.columns) == ("run_1", applied.sequence, {"status": b'"PENDING"'})
    assert row.metadata == {}


# Together


async def test_many_reads_at_once_share_a_connection(reading: Reading, changing: Changing) -> None:
    """However many ask at the same time, none is refused, and Redis sees no more clients."""
    changing.create()
    rows = await asyncio.gather(
        *(reading.store.read_row(reading.environment, "run_1", ("status",)) for _ in range(1000)),
        *(reading.store.place(reading.environment, ALL_RUNS, limit=1, since=0) for _ in range(100)),
    )

    assert all(rows)
    ours = [entry for entry in changing.client.client_list() if entry["name"] == "runcast-gateway"]
    assert len(ours) <= 2


async def test_who_does_not_wait_any_more_disturbs_nobody(reading: Reading, changing: Changing) -> None:
    """Others whose reads went out together get their answers."""
    changing.create()
    reads = [asyncio.create_task(reading.page()) for _ in range(10)]
    await asyncio.sleep(0)
    for read in reads[::2]:
        read.cancel()

    answers = await asyncio.gather(*reads, return_exceptions=True)

    assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [True, False] * 5


async def test_a_server_that_forgot_the_scripts_is_told_again(reading: Reading, changing: Changing) -> None:
    """As after a restart: whoever reads next brings them along."""
    changing.create()
    await reading.page()
    changing.client.script_flush()

    assert await reading.runs() == ["run_1"]
    changing.client.script_flush()
    await reading.store.canary(reading.environment, "", "", sweep=1)


async def test_without_a_server_all_is_unavailable(environment: EnvironmentId) -> None:
    """Which says that coming back may help."""
    store = RedisStore(f"redis://127.0.0.1:{free_port()}/0", Retention())
    calls: list[Any] = [
        store.place(environment, ALL_RUNS, limit=1, since=0),
        store.read_row(environment, "run_1", ("status",)),
        store.canary(environment, "", "", sweep=1),
        store.ping(),
    ]

    for answer in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(answer, Unavailable)
        assert answer.retry
    await store.close()


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_a_server_that_does_not_answer_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, environment: EnvironmentId
) -> None:
    """Nobody waits longer than the time-out."""
    monkeypatch.setattr("gateway.store.clients.TIMEOUT_SECONDS", 0.05)
    async with impostor(say_nothing) as url:
        store = RedisStore(url, Retention())
        with pytest.raises(Unavailable):
            await store.place(environment, ALL_RUNS, limit=1, since=0)
        with pytest.raises(Unavailable):
            await store.canary(environment, "", "", sweep=1)
        await store.close()


@pytest.mark.parametrize("began", [False, True])
async def test_when_reading_ends_nobody_waits_for_ever(environment: EnvironmentId, began: bool) -> None:
    """Those whose question was sent, and those whose was not."""
    asked = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        asked.set()
        await reader.read()

    async with impostor(listen) as url:
        store = RedisStore(url, Retention())
        waiting = [
            asyncio.create_task(store.read_row(environment, f"run_{number}", ("status",))) for number in range(100)
        ]
        await (asked.wait() if began else asyncio.sleep(0))
        await store.close()

        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(answer) for answer in answers} == {Unavailable}
