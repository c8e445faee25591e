"""Many who come at the same time cost a handful of reads, and a busy feed holds none of them up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.feed.group import MAX_HEARD
from gateway.feed.view import View
from gateway.feeds import ALL_RUNS
from tests.gateway.feed.handshakes import ALL, handshake, once_at

if TYPE_CHECKING:
    from tests.doubles import Watcher
    from tests.gateway.feed.memory import MemoryGateway


async def test_ten_thousand_who_come_back_together_cost_a_handful_of_reads(gateway: MemoryGateway) -> None:
    """One place and one page, however many ask; and one text, which all of them get."""
    gateway.change("run_7")
    watchers = [gateway.watch(ALL) for _ in range(10_000)]

    await gateway.calm()

    assert gateway.store.reads == ["place", "page"]
    assert len({id(watcher.sink.writes[0]) for watcher in watchers}) == 1
    assert all(len(watcher.model.runs) == 2 for watcher in watchers)
    gateway.store.reads.clear()
    gateway.lose()
    gateway.change("run_7", number=7)
    gateway.join()
    await gateway.calm()
    assert gateway.store.reads == ["place", "page"]
    assert all(watcher.model.runs["run_7"]["number"] == 7 for watcher in watchers)


async def test_who_comes_while_others_read_is_told_what_they_read(gateway: MemoryGateway) -> None:
    """However many come meanwhile, they cost nothing: the reading is kept for a moment."""
    first = gateway.watch(ALL)
    later: list[Watcher] = []

    def act(name: str) -> None:
        if name == "after page":
            later.extend(gateway.watch(ALL) for _ in range(100))

    once_at(gateway.store, act)
    await gateway.calm()

    assert gateway.store.reads == ["place", "page"]
    assert first.model.complete
    assert all(watcher.model.complete for watcher in later)


async def test_cursors_far_apart_are_served_by_one_reading(gateway: MemoryGateway) -> None:
    """Each is told what it lacks, from the same pages."""
    watchers = [gateway.watch(ALL) for _ in range(5)]
    await gateway.calm()
    for number, watcher in enumerate(watchers):
        watcher.disconnect()
        gateway.change(f"new_{number}")
    gateway.store.reads.clear()

    for watcher in watchers:
        watcher.connect()
    gateway.join()
    await gateway.calm()

    assert gateway.store.reads == ["place", "page"]
    assert all(len(watcher.model.runs) == 6 for watcher in watchers)
    assert all(set(watcher.model.told.values()) == {1} for watcher in watchers)


# A busy feed.


async def test_more_than_is_kept_meanwhile_is_read(gateway: MemoryGateway) -> None:
    """A reading during which too much happens is followed by another, short one."""

    def act(name: str) -> None:
        if name == "after page" and gateway.store.reads.count("page") == 1:
            for number in range(MAX_HEARD + 1):
                gateway.store.change(f"run_{number % 10}", number=number)
            gateway.deliver()

    watcher = await handshake(gateway, ALL, act)

    assert gateway.store.reads.count("page") == 2
    assert watcher.model.runs[f"run_{MAX_HEARD % 10}"]["number"] == MAX_HEARD


async def test_a_feed_too_busy_to_join_serves_newcomers_all_the_same(gateway: MemoryGateway) -> None:
    """Large columns at every reading: nobody is ever live, everybody is told what was read, whenever they came."""

    async def at(name: str) -> None:
        await asyncio.sleep(0)
        if name == "after page":
            gateway.change(left_out=["output"])

    gateway.store.at = at
    first = gateway.watch(ALL)
    await first.until(lambda model: model.runs)

    newcomer = gateway.watch(ALL)
    await newcomer.until(lambda model: model.runs)

    gateway.store.at = None
    await gateway.calm()
    assert newcomer.look().complete


async def test_runs_beyond_a_limit_cost_one_reading_each(gateway: MemoryGateway) -> None:
    """A viewer of the newest two out of many is told their changes as they happen, once it has each of them."""
    for number in range(10):
        gateway.change(f"run_{number}")
    watcher = await handshake(gateway, View(ALL_RUNS, limit=2), lambda name: None)
    for number in range(10):
        gateway.change(f"run_{number}", number=1)
        await gateway.calm()
    gateway.store.reads.clear()

    for number in range(10):
        gateway.change(f"run_{number}", number=2)
        await gateway.calm()

    assert gateway.store.reads == []
    assert {run["number"] for run in watcher.look().runs.values()} == {2}
