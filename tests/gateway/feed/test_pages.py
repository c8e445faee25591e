"""A state that takes several pages to read: what changes between two of them, and who leaves and comes."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from gateway.feed import catching_up
from gateway.feed.follower import Phase
from tests.gateway.feed.handshakes import ALL

if TYPE_CHECKING:
    from tests.gateway.feed.memory import MemoryGateway


async def test_changes_between_pages_are_not_lost(gateway: MemoryGateway) -> None:
    """A run that changes after its page was read comes again; one that changes before its page comes once, as it is."""
    gateway.store._page_rows = 2
    for number in range(7):
        gateway.change(f"run_{number}", number=0)
    count = itertools.count()

    async def at(name: str) -> None:
        if name in ("before page", "after page"):
            turn = next(count)
            if turn < 8:
                gateway.change(f"run_{turn % 7}", number=turn)

    gateway.store.at = at
    watcher = gateway.watch(ALL)
    await gateway.calm()
    gateway.store.at = None

    stored = {name: run.columns.get("number") for name, run in gateway.store.runs.items()}
    assert {run: fields.get("number") for run, fields in watcher.look().runs.items()} == stored
    assert watcher.model.replacements == 1


async def test_a_run_that_goes_back_behind_a_page_is_not_lost(gateway: MemoryGateway) -> None:
    """It was to come with a later page, as it had just changed; then Redis lost that change, and it stands before."""
    store = gateway.store
    store._page_rows = 2
    for number in range(5):
        gateway.change(f"run_{number}")
    first = store.runs["run_0"].sequence

    async def at(name: str) -> None:
        if name == "before page" and store.reads.count("page") == 1:
            gateway.change("run_0")
        if name == "before page" and store.reads.count("page") == 2:
            store.runs["run_0"].sequence = first
            store.restart(losing=1)

    store.at = at
    watcher = gateway.watch(ALL)
    await gateway.calm()
    store.at = None

    assert watcher.look().runs.keys() == store.runs.keys()
    assert watcher.model.replacements == 2


async def test_a_viewer_who_leaves_between_pages_comes_back_for_the_rest(gateway: MemoryGateway) -> None:
    """The cursor of a page is a place like any other."""
    gateway.store._page_rows = 2
    for number in range(6):
        gateway.change(f"run_{number}")
    gate = asyncio.Event()

    async def at(name: str) -> None:
        if name == "before page" and gateway.store.reads.count("page") == 3:
            await gate.wait()

    gateway.store.at = at
    watcher = gateway.watch(ALL)
    await watcher.until(lambda model: len(model.runs) == 4)
    watcher.disconnect()
    gateway.store.at = None

    watcher.connect()
    gateway.join()
    await watcher.until_complete()

    assert set(watcher.model.told.values()) == {1}
    assert len(watcher.model.told) == 6


async def test_a_viewer_who_left_between_pages_is_told_of_a_run_that_went_back_behind_them(
    gateway: MemoryGateway,
) -> None:
    """As while it stays: its cursor says that there was more to come, which holds in that epoch alone."""
    store = gateway.store
    store._page_rows = 2
    for number in range(5):
        gateway.change(f"run_{number}")
    first = store.runs["run_0"].sequence
    gate = asyncio.Event()

    async def at(name: str) -> None:
        if name == "before page" and store.reads.count("page") == 1:
            gateway.change("run_0")
        if name == "before page" and store.reads.count("page") == 2:
            await gate.wait()

    store.at = at
    watcher = gateway.watch(ALL)
    await watcher.until(lambda model: len(model.runs) == 2)
    watcher.disconnect()
    store.at = None
    store.runs["run_0"].sequence = first
    store.restart(losing=1)

    watcher.connect()
    gateway.join()
    await watcher.until_complete()

    assert watcher.look().runs.keys() == store.runs.keys()
    assert watcher.model.replacements == 2


async def test_a_slow_viewer_holds_nobody_back(gateway: MemoryGateway) -> None:
    """It takes what fits, the others go on, and it gets the rest when it has drained."""
    gateway.store._page_rows = 1
    for number in range(6):
        gateway.change(f"run_{number}", payload="x" * 500)
    slow = gateway.watch(ALL, limit=600)
    slow.sink.stall()
    fast = gateway.watch(ALL)

    await fast.until_complete()
    assert len(fast.model.runs) == 6
    assert slow.followers[0].phase is Phase.BEHIND
    assert slow.sink.most_unsent < 3000

    while not slow.model.complete:
        slow.sink.stall() if not slow.sink.unsent else slow.sink.drain()
        await asyncio.sleep(0)
        slow.look()
    assert len(slow.model.runs) == 6
    assert slow.model.replacements == 1


async def test_who_falls_behind_while_others_are_written_to_loses_no_page(gateway: MemoryGateway) -> None:
    """Full when its turn came and drained by the end of the page: it was not given that, and must not go on from it."""
    gateway.store._page_rows = 2
    for number in range(5):
        gateway.change(f"run_{number}")
    turn = catching_up._WRITES_PER_TURN
    watchers = [gateway.watch(ALL) for _ in range(3 * turn)]
    connection = watchers[turn + 10].connection
    assert connection is not None

    await watchers[0].until(lambda model: model.runs)  # the first page is being written
    connection.filled()
    await watchers[turn + 20].until(lambda model: model.runs)
    connection.drained()
    assert not watchers[-1].look().runs
    await gateway.calm()

    assert len(watchers[turn + 10].model.runs) == 5


async def test_who_leaves_while_others_are_written_to_is_told_nothing_more(gateway: MemoryGateway) -> None:
    """A feed that was left is silent from then on."""
    watchers = [gateway.watch(ALL) for _ in range(2 * catching_up._WRITES_PER_TURN)]
    last = watchers[-1]
    await watchers[0].until(lambda model: model.runs)

    last.unfollow(ALL)
    await gateway.calm()

    assert last.sink.writes == []
