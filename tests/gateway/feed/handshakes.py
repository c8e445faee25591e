"""A feed in memory that is followed, and whatever happens at whichever step of that."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.feed.view import View
from gateway.feeds import ALL_RUNS, FeedId

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.doubles import Watcher
    from tests.gateway.feed.memory import MemoryGateway, MemoryStore

RUN = View(FeedId.run("run_1"))
ALL = View(ALL_RUNS)
#: Every moment of the handshake at which somebody else gets a turn.
STEPS = ("before follow", "before joined", "before place", "after place", "before page", "after page", "live")
VIEWS = {"run": RUN, "all": ALL, "tag": View(FeedId.tags("a")), "limit": View(ALL_RUNS, limit=1)}


def once_at(store: MemoryStore, act: Callable[[str], None]) -> None:
    """Have *act* called the first time that each step of reading is reached."""
    seen: set[str] = set()

    async def at(name: str) -> None:
        await asyncio.sleep(0)
        if name not in seen:
            seen.add(name)
            act(name)

    store.at = at


async def handshake(gateway: MemoryGateway, view: View, act: Callable[[str], None]) -> Watcher:
    """Follow *view*, with *act* called at every step, and return when all is quiet."""
    act("before follow")
    once_at(gateway.store, act)
    watcher = gateway.watch(view, joined=False)
    act("before joined")
    gateway.join()
    await gateway.calm()
    await watcher.until_complete()
    act("live")
    gateway.deliver()
    await gateway.calm()
    return watcher


def statuses(watcher: Watcher) -> list[str]:
    return [entry["status"] for entry in watcher.look().runs["run_1"]["transitions"]]
