"""The way to Redis of an event loop: what tasks ask at the same moment shares it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import redis

from gateway.publisher.async_wire import AsyncWire
from gateway.publisher.mailing import CONNECTIONS
from gateway.publisher.sending import REDIS_ERRORS
from tests.gateway.publisher.test_wire import asking, failing, stopping
from tests.gateway.publisher.waiting import BlackHole, LosingProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.redis_server import RedisServer

TASKS = 20


@pytest.fixture
async def wire(redis_server: RedisServer) -> AsyncIterator[AsyncWire]:
    wire = AsyncWire(redis_server.url)
    yield wire
    await wire.close()


async def echoed(wire: AsyncWire, text: str) -> Any:
    (answer,) = await wire.exchange([("ECHO", text)])
    return answer


async def all_lines_free(wire: AsyncWire) -> None:
    """Nobody has a line in the end, or it would be missing for ever."""
    while wire._carriers:
        await asyncio.sleep(0)
    assert len(wire._free) == CONNECTIONS


async def test_those_who_ask_at_the_same_moment_go_together(wire: AsyncWire, monkeypatch: pytest.MonkeyPatch) -> None:
    """And each gets its own answers; what Redis refuses is an error in its place."""
    real, groups = AsyncWire._exchange, []

    async def exchange(self: AsyncWire, line: Any, group: list[Any]) -> None:
        groups.append(len(group))
        await real(self, line, group)

    monkeypatch.setattr(AsyncWire, "_exchange", exchange)
    answers = await asyncio.gather(*(echoed(wire, f"{number}") for number in range(TASKS)))
    assert answers == [b"%d" % number for number in range(TASKS)]
    assert groups == [TASKS]
    answers = await wire.exchange([("ECHO", "a"), ("NONSENSE",), ("ECHO", "b")])
    assert answers[::2] == [b"a", b"b"]
    assert isinstance(answers[1], redis.ResponseError)


async def test_conversations_of_different_lengths_are_held_together(wire: AsyncWire) -> None:
    held = await wire.hold_all([asking("a", "b", "c"), failing(), asking("d", pause=0.001), stopping()])
    assert held[:3] == [[b"a", b"b", b"c"], "understood", [b"d"]]
    assert isinstance(held[3], redis.ResponseError)
    assert await wire.hold(asking("a", pause=0.001)) == [b"a"]


@pytest.mark.parametrize("turns", range(6))
async def test_cancelling_one_is_nobody_else_s_trouble(wire: AsyncWire, turns: int) -> None:
    """Whether it is in the queue, on its way or answered."""
    tasks = [asyncio.create_task(echoed(wire, f"{number}")) for number in range(TASKS)]
    for _ in range(turns):
        await asyncio.sleep(0)
    tasks[0].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert answers[1:] == [b"%d" % number for number in range(1, TASKS)]
    await all_lines_free(wire)
    assert not wire._queue


async def test_carriers_that_are_cancelled_before_they_begin_are_replaced(wire: AsyncWire) -> None:
    """As at the end of a loop, when every task is cancelled, and the publisher has something to say still."""
    for _ in range(2 * CONNECTIONS):
        task = asyncio.create_task(echoed(wire, "a"))
        while not wire._carriers:
            await asyncio.sleep(0)
        for cancelled in (task, *wire._carriers):
            cancelled.cancel()
        await asyncio.gather(task, *wire._carriers, return_exceptions=True)
    assert await echoed(wire, "b") == b"b"
    await all_lines_free(wire)


async def test_who_waits_for_a_server_that_is_away_need_not_find_out_itself() -> None:
    """One time-out for all of them, also for those who did not fit into the group."""
    with BlackHole() as hole:
        wire = AsyncWire(hole.url)
        answers = await asyncio.gather(*(echoed(wire, "a") for _ in range(100)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {TimeoutError}
        await wire.close()


async def test_a_connection_can_be_lost_any_number_of_times(redis_server: RedisServer) -> None:
    """More often than redis-py's pool has connections."""
    loses = True
    with LosingProxy(redis_server.port, lambda: loses) as proxy:
        wire = AsyncWire(proxy.url)
        for _ in range(150):
            with pytest.raises(REDIS_ERRORS):
                await echoed(wire, "a")
        loses = False
        assert await echoed(wire, "a") == b"a"
        await wire.close()
