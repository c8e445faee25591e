"""One reading of the state for everybody who asks at the same time, whatever happens at whichever step of it."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest

from gateway.errors import Unavailable
from gateway.feed.follower import Phase
from tests.doubles import ViewerModel
from tests.gateway.feed.handshakes import ALL, RUN, STEPS, VIEWS, handshake, statuses
from tests.gateway.feed.memory import FINAL_RAW, MemoryGateway

if TYPE_CHECKING:
    from gateway.feed.view import View


# Nothing falls between subscribing and reading.


@pytest.mark.parametrize("late", [False, True], ids=["heard at once", "heard late"])
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("step", STEPS)
async def test_a_final_status_is_seen_at_whatever_step_it_is_published(
    gateway: MemoryGateway, view: View, step: str, late: bool
) -> None:
    """Whether the reading has it, or the subscription, or both: it is told once, and for a run feed so is the end."""

    def act(name: str) -> None:
        if name == step:
            gateway.store.change(status=FINAL_RAW)
        if not late:
            gateway.deliver()

    watcher = await handshake(gateway, view, act)

    assert statuses(watcher) == ["QUEUED", "COMPLETED"]
    watcher.model.check_end()
    assert watcher.model.kinds.count("end") == (view is RUN)
    assert bool(watcher.ends) == (view is RUN)


@pytest.mark.parametrize("late", [False, True], ids=["heard at once", "heard late"])
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("steps", list(itertools.combinations_with_replacement(STEPS, 2)), ids="-".join)
async def test_two_changes_are_seen_in_order_at_whatever_steps(
    gateway: MemoryGateway, view: View, steps: tuple[str, str], late: bool
) -> None:
    """An attempt that fails and the next one that begins, with any of the steps between them."""
    done = []

    def act(name: str) -> None:
        for number, (step, status) in enumerate(zip(steps, ["CRASHED", "EXECUTING"], strict=True)):
            if name == step and number not in done:
                done.append(number)
                gateway.store.change(status=status, attempt=number + 1)
        if not late:
            gateway.deliver()

    watcher = await handshake(gateway, view, act)

    assert statuses(watcher) == ["QUEUED", "CRASHED", "EXECUTING"]
    assert watcher.model.runs["run_1"]["attempt"] == 2


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("step", STEPS[2:])
async def test_a_break_at_whatever_step_loses_nothing(gateway: MemoryGateway, view: View, step: str) -> None:
    """What is published while the subscription is away is read when it is back."""

    def act(name: str) -> None:
        if name == step:
            gateway.lose()
            gateway.store.change(status=FINAL_RAW)
            gateway.deliver()  # to nobody
            asyncio.get_running_loop().call_soon(gateway.join)

    watcher = await handshake(gateway, view, act)
    await watcher.until_status("COMPLETED")

    assert statuses(watcher) == ["QUEUED", "COMPLETED"]
    watcher.model.check_end()


@pytest.mark.parametrize("losing", [0, 1], ids=["keeping everything", "losing the last change"])
@pytest.mark.parametrize("step", STEPS[2:])
async def test_a_restart_at_whatever_step_is_noticed(gateway: MemoryGateway, step: str, losing: int) -> None:
    """Nobody is told rows of two histories as if they were one; what comes after it is seen."""
    gateway.store.change("run_2")
    gateway.deliver()

    def act(name: str) -> None:
        if name == step:
            gateway.store.restart(losing=losing)
            gateway.store.change(status=FINAL_RAW)

    watcher = await handshake(gateway, ALL, act)
    await watcher.until_status("COMPLETED")

    assert watcher.model.cursor is not None
    assert watcher.model.cursor.epoch == "e2"


async def test_a_channel_that_breaks_before_anybody_woke_is_not_read(gateway: MemoryGateway) -> None:
    """Joined and lost in one loop turn: the reading begins only when it is joined for good."""
    watcher = gateway.watch(RUN, joined=False)
    await asyncio.sleep(0)

    gateway.join()
    gateway.lose()
    for _ in range(5):
        await asyncio.sleep(0)
    assert gateway.store.reads == []

    gateway.join()
    await watcher.until_complete()


# Redis is away.


@pytest.mark.parametrize("step", ["before place", "after place", "before page", "after page"])
async def test_when_the_state_can_not_be_read_they_wait(gateway: MemoryGateway, step: str) -> None:
    """And are told when it can be read again, without anybody's help."""
    failed = asyncio.Event()

    async def at(name: str) -> None:
        gateway.store.away = gateway.store.away or (name == step and not failed.is_set())
        if gateway.store.away:
            failed.set()
            raise Unavailable

    gateway.store.at = at
    watcher = gateway.watch(RUN)
    await failed.wait()
    for _ in range(5):
        await asyncio.sleep(0.002)
    assert watcher.followers[0].phase is Phase.CATCHING_UP

    gateway.change(status=FINAL_RAW)
    gateway.store.away = False
    await watcher.until_status("COMPLETED")
    watcher.model.check_end()


async def test_a_mistake_in_one_group_is_loud_and_ends_nothing(
    gateway: MemoryGateway, caplog: pytest.LogCaptureFixture
) -> None:
    """Others go on, and it tries again."""
    failing = True

    async def at(name: str) -> None:
        if failing:
            raise ZeroDivisionError

    gateway.store.at = at
    watcher = gateway.watch(RUN)
    await asyncio.sleep(0.005)
    failing = False
    await watcher.until_complete()

    assert "catching up with run:run_1 failed" in caplog.text


# Coming and going.


async def test_a_group_that_is_made_again_has_nothing_of_the_last(gateway: MemoryGateway) -> None:
    """The last viewer leaves while its reading is held up; the next of the same view gets a reading of its own."""
    gate = asyncio.Event()

    async def at(name: str) -> None:
        if name == "after page":
            await gate.wait()

    gateway.store.at = at
    first = gateway.watch(RUN)
    while "page" not in gateway.store.reads:
        await asyncio.sleep(0)
    first.disconnect()
    gateway.joined.clear()

    gateway.store.at = None
    second = gateway.watch(RUN)
    gateway.change(status=FINAL_RAW)
    gate.set()
    await gateway.calm()

    assert first.sink.writes == []
    assert statuses(second) == ["QUEUED", "COMPLETED"]


async def test_who_follows_on_a_full_connection_is_not_fed(gateway: MemoryGateway) -> None:
    """Its sink will not say again that it is full; memory stays bounded all the same, and what it asked for comes."""
    watcher = gateway.watch(ALL, limit=10)
    await watcher.until_complete()
    watcher.sink.stall()
    gateway.change()
    await gateway.calm()
    unsent = watcher.sink.unsent

    watcher.models[str(RUN.feed)] = ViewerModel(RUN.feed, alone=False)
    watcher.follow(RUN)
    gateway.join()
    await gateway.calm()
    for number in range(50):
        gateway.change(number=number)
    assert watcher.sink.unsent == unsent

    watcher.sink.drain()
    await gateway.calm()
    assert [model.runs["run_1"]["number"] for model in watcher.models.values()] == [49, 49]
