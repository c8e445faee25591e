"""Viewers who come back with a cursor are told what they lack, and begin anew only when they must."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.feed.view import View
from gateway.feeds import ALL_RUNS
from tests.gateway.feed.handshakes import ALL, handshake

if TYPE_CHECKING:
    from tests.gateway.feed.memory import MemoryGateway


async def test_a_cursor_brings_what_changed_and_nothing_else(gateway: MemoryGateway) -> None:
    """A viewer that comes back is told each run that changed since, once, as it is now."""
    for run in ("run_2", "run_3"):
        gateway.change(run)
    watcher = await handshake(gateway, ALL, lambda name: None)
    told = dict(watcher.model.told)
    watcher.disconnect()
    for _ in range(3):
        gateway.change("run_2", number=1)

    watcher.connect()
    gateway.join()
    await gateway.calm()

    assert watcher.model.replacements == 1
    assert watcher.model.told == told | {"run_2": told["run_2"] + 1}


@pytest.mark.parametrize(("losing", "replaced"), [(0, 0), (1, 1)])
async def test_only_who_saw_what_was_lost_begins_anew(gateway: MemoryGateway, losing: int, replaced: int) -> None:
    """A restart that kept everything costs viewers nothing."""
    gateway.change("run_2")
    watcher = await handshake(gateway, ALL, lambda name: None)
    gateway.lose()
    gateway.store.restart(losing=losing)

    gateway.join()
    await gateway.calm()

    assert watcher.look().replacements == 1 + replaced
    assert watcher.model.runs.keys() == {"run_1", "run_2"}


async def test_a_viewer_who_fell_out_of_its_limit_begins_anew(gateway: MemoryGateway) -> None:
    """More runs changed since its cursor than it wants to see."""
    watcher = await handshake(gateway, View(ALL_RUNS, limit=2), lambda name: None)
    watcher.disconnect()
    for number in range(3):
        gateway.change(f"new_{number}")

    watcher.connect()
    gateway.join()
    await gateway.calm()

    assert watcher.model.replacements == 2
    assert watcher.model.runs.keys() == {"new_1", "new_2"}
    assert watcher.model.truncated


async def test_a_viewer_who_comes_back_to_a_cut_off_feed_gets_runs_that_it_may_lack_whole(
    gateway: MemoryGateway,
) -> None:
    """Its cursor does not say where it began; a change to a run that was silent since is read, not told in part."""
    view = View(ALL_RUNS, limit=1)
    gateway.change("run_2")
    watcher = await handshake(gateway, view, lambda name: None)
    watcher.disconnect()
    watcher.connect()
    gateway.join()
    await gateway.calm()

    gateway.change("run_1", number=1)
    await gateway.calm()
    gateway.change("run_1", number=2)

    assert watcher.look().runs["run_1"]["number"] == 2
    assert watcher.model.kinds == ["snapshot", "snapshot", "snapshot", "update"]
