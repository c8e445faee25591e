"""Who is told that a run is over, and who not: once, and by whatever way one hears of it."""

from __future__ import annotations

import pytest

from tests.gateway.feed.handshakes import RUN, handshake, statuses
from tests.gateway.feed.memory import ENVIRONMENT, FINAL_RAW, MemoryGateway


@pytest.mark.parametrize("past", [0, 10])
async def test_a_viewer_who_has_seen_the_last_change_is_told_the_end(gateway: MemoryGateway, past: int) -> None:
    """Its cursor is at or past the run's last change, and does not go back."""
    watcher = gateway.watch(RUN)
    await watcher.until_complete()
    gateway.change(status=FINAL_RAW)
    for number in range(past):
        gateway.change(f"other_{number}")
    gateway.hub._settle(gateway.hub._environments[ENVIRONMENT], watcher.look().cursor)  # type: ignore[arg-type]

    watcher.disconnect()
    watcher.connect()
    gateway.join()
    await gateway.calm()

    assert watcher.model.kinds[-2:] == ["snapshot", "end"]
    assert watcher.ends


async def test_the_end_comes_before_what_reopened_the_run(gateway: MemoryGateway) -> None:
    """Read as final, then heard to go on: the viewer must not be left with an end, nor its response be closed."""

    def act(name: str) -> None:
        if name == "before follow":
            gateway.change(status="CRASHED")
        if name == "after page":
            gateway.change(status="EXECUTING", attempt=2)

    watcher = await handshake(gateway, RUN, act)

    assert watcher.model.kinds == ["snapshot", "end", "update"]
    assert not watcher.ends

    gateway.change(status=FINAL_RAW, attempt=2)
    assert watcher.look().kinds[3:] == ["update", "end"]


async def test_an_end_that_was_told_is_not_told_again(gateway: MemoryGateway) -> None:
    """Catching up with metadata of a run that is over tells the metadata only."""
    watcher = await handshake(gateway, RUN, lambda name: None)
    gateway.change(status=FINAL_RAW)

    gateway.change(left_out=["output"])
    await gateway.calm()

    assert watcher.look().kinds == ["snapshot", "update", "end", "snapshot"]


async def test_a_run_that_was_reopened_meanwhile_is_not_over(gateway: MemoryGateway) -> None:
    """Whoever was told its end, and then reads that it goes on, has not ended."""
    watcher = await handshake(gateway, RUN, lambda name: None)
    gateway.change(status=FINAL_RAW)
    assert watcher.followers[0].ended == 1

    gateway.change(status="EXECUTING", attempt=2, left_out=["output"])
    await gateway.calm()

    assert watcher.followers[0].ended == 0


async def test_who_begins_anew_is_told_the_end_anew(gateway: MemoryGateway) -> None:
    """The end that it was told may be lost; the one that the server has is another."""
    watcher = await handshake(gateway, RUN, lambda name: None)
    gateway.change(status="CRASHED")
    gateway.lose()
    gateway.store.restart(losing=1)
    gateway.store.runs["run_1"].columns["status"] = FINAL_RAW

    gateway.join()
    await gateway.calm()

    assert watcher.model.replacements == 2
    watcher.model.check_end()


async def test_an_end_in_a_later_attempt_is_told_to_who_was_away(gateway: MemoryGateway) -> None:
    """The run was reopened and ended again while its viewer took nothing."""
    watcher = await handshake(gateway, RUN, lambda name: None)
    gateway.change(status="CRASHED")
    watcher.sink.limit = 1
    watcher.sink.stall()
    gateway.change(metadata={"a": 1})
    gateway.change(status="EXECUTING", attempt=2)
    gateway.change(status=FINAL_RAW, attempt=2)

    watcher.sink.drain()
    await gateway.calm()

    assert statuses(watcher) == ["QUEUED", "CRASHED", "EXECUTING", "COMPLETED"]
    assert watcher.model.kinds.count("end") == 2
    watcher.model.check_end()
