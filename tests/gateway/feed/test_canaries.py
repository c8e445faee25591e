"""Canaries prove that the subscription hears: what is deaf is noticed, and what is only slow is not."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from gateway.feed import rounds
from gateway.feeds import EnvironmentId
from tests.gateway.feed.memory import MemoryGateway, MemoryStore
from tests.gateway.feed.world import ALL, RUN, World, eventually, until_state


@pytest.mark.usefixtures("often")
async def test_many_environments_are_all_live(world: World) -> None:
    """Each has its own canary; they share the connections and never find them taken."""
    names = [EnvironmentId(f"{world.changing.environment}_{number}") for number in range(20)]
    for name in names:
        world.watch(ALL, environment=name)

    await eventually(lambda: all(e.as_of for e in world.hub._environments.values()), "a canary of each")
    as_of = {name: environment.as_of for name, environment in world.hub._environments.items()}
    await eventually(
        lambda: all(environment.as_of > as_of[name] for name, environment in world.hub._environments.items()),
        "another canary of each",
    )

    await eventually(lambda: world.hub.hears, "nothing stale")
    assert world.store.lost_canaries == 0


@pytest.mark.usefixtures("quick")
async def test_a_deaf_subscription_is_noticed_and_made_anew(world: World) -> None:
    """Connected, but nothing comes any more: the viewers hear that it is stale, and then what they missed."""
    world.changing.create()
    watcher = world.watch(RUN)
    await watcher.until_complete()
    await eventually(lambda: world.hub.hears and watcher.connection is not None, "a canary")
    connection: Any = world.hub._subscription._connection

    connection._transport.pause_reading()
    world.changing.apply(status="COMPLETED")

    await until_state(watcher, "stale")
    await watcher.until_status("COMPLETED")
    await until_state(watcher, "live")
    assert world.hub.statistics.deaf_subscriptions == 1


@pytest.mark.usefixtures("quick")
async def test_canaries_that_can_not_be_sent_do_not_end_a_subscription(world: World) -> None:
    """It may hear as well as ever. Dropping it would make all viewers catch up, again and again, for nothing."""
    world.changing.create()
    watcher = world.watch(RUN)
    await watcher.until_complete()
    world.store.canaries_fail = True
    await until_state(watcher, "stale")

    for status in ("EXECUTING", "COMPLETED"):
        world.changing.apply(status=status)
        await watcher.until_status(status)

    assert world.hub.statistics.deaf_subscriptions == 0
    assert world.hub.statistics.lost_subscriptions == 0


async def test_who_hears_old_changes_is_slow_and_not_deaf() -> None:
    """A canary comes after all that was published before it. To begin anew would only make a slow gateway slower."""
    gateway = MemoryGateway(MemoryStore())
    gateway.watch(ALL)
    await gateway.calm()
    now = time.monotonic()
    for environment in gateway.hub._environments.values():
        environment.unheard_since = now - 3
    assert gateway.hub._canaries.are_missed(now)

    gateway.change()  # which is older than that

    heard_at = time.monotonic()
    assert not gateway.hub._canaries.are_missed(heard_at)
    assert gateway.hub._canaries.are_missed(heard_at + 2)
    await gateway.close()


async def test_a_canary_counts_when_all_before_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while some are still to be told; and not at all when the subscription breaks before that."""
    monkeypatch.setattr(rounds, "SMALL", 0)
    monkeypatch.setattr(rounds, "SLICE", 1)
    gateway = MemoryGateway(MemoryStore())
    gateway.watch(ALL)
    gateway.watch(ALL)
    gateway.change()
    await gateway.calm()
    ((name, environment),) = gateway.hub._environments.items()

    def hear_change_and_canary() -> None:
        number = gateway.store.change(metadata={"tick": gateway.store.sequence})
        canary = f"{name} 1700000000000 {gateway.store.epoch} {number}".encode()
        gateway.hub.heard(gateway.hub._canaries.channel, canary)
        gateway.deliver()

    hear_change_and_canary()
    assert environment.settled is None
    await eventually(lambda: environment.settled is not None, "the canary")
    hear_change_and_canary()
    gateway.hub.lost()
    before = environment.settled
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert environment.settled == before
    assert environment.stale
    await gateway.close()
