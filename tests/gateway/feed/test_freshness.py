"""What viewers are told of how fresh their feeds are: the truth, at once when it changes, and once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.feed import canaries
from gateway.feed.follower import Signal
from tests.gateway.feed.world import ALL, RUN, World, running_world, until_state

if TYPE_CHECKING:
    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer


@pytest.mark.usefixtures("often")
async def test_heartbeats_carry_a_cursor_and_how_fresh_it_is(
    each_redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """A viewer who is told everything hears so, with the place to come back to, though its own feed is silent."""
    async with running_world(each_redis_server, environment, heartbeat_seconds=0.06) as world:
        watcher = world.watch(RUN)
        await watcher.until_complete()
        applied = world.changing.create("another")

        await watcher.until(lambda model: model.cursor and model.cursor.sequence >= applied.sequence)

        (beat,) = watcher.heartbeats[-1:]
        assert beat["state"] == "live"
        assert beat["asOf"].endswith("Z")
        assert beat["cursor"].startswith(applied.epoch)


@pytest.mark.usefixtures("often")
async def test_while_a_feed_is_brought_up_to_date_a_heartbeat_says_nothing_of_its_age(
    redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """What the viewer was told may be old by then, though the gateway knows better."""
    async with running_world(redis_server, environment, heartbeat_seconds=0.06) as world:
        other, watcher = world.watch(RUN), world.watch(RUN)
        await other.until(lambda model: any("asOf" in beat for beat in other.heartbeats))
        await watcher.until_complete()
        (follower,) = watcher.followers
        follower.move(Signal.FEED_BROKEN)
        before = len(watcher.heartbeats)

        await watcher.until(lambda model: len(watcher.heartbeats) > before)

        assert watcher.heartbeats[before] == {"type": "heartbeat", "state": "live"}


@pytest.mark.usefixtures("often")
async def test_a_heartbeat_never_takes_a_cursor_back(
    each_redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """Canaries come at their times, changes at any: who was told one has its cursor."""
    async with running_world(each_redis_server, environment, heartbeat_seconds=0.06) as world:
        watcher = world.watch(RUN)
        await watcher.until(lambda _: any("cursor" in beat for beat in watcher.heartbeats))
        applied = world.changing.create()
        await watcher.until(lambda model: model.runs)
        count = len(watcher.heartbeats)

        await watcher.until(lambda _: len(watcher.heartbeats) > count + 2)  # the model compares the cursors

        assert watcher.model.cursor is not None
        assert watcher.model.cursor.sequence >= applied.sequence


@pytest.mark.usefixtures("often")
async def test_no_heartbeat_speaks_for_a_feed_that_is_catching_up(
    each_redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """It comes, without a cursor: the connection lives, but not all was told."""
    async with running_world(each_redis_server, environment, heartbeat_seconds=0.06) as world:
        world.store.reads_fail = True
        watcher = world.watch(RUN)

        await watcher.until(lambda _: len(watcher.heartbeats) > 3)
        assert not any("cursor" in beat for beat in watcher.heartbeats)

        world.store.reads_fail = False
        await watcher.until(lambda _: "cursor" in watcher.heartbeats[-1])


@pytest.mark.usefixtures("quick")
async def test_a_viewer_is_told_that_its_data_may_be_old_for_as_long_as_it_may(
    each_redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """Stale at once, then every heartbeat, also while the feed waits to catch up; live only when it has."""
    async with running_world(each_redis_server, environment, heartbeat_seconds=0.06) as world:
        watcher = world.watch(RUN)
        await until_state(watcher, "live")
        world.store.reads_fail = True
        world.kill_subscription()

        await until_state(watcher, "stale")
        count = len(watcher.heartbeats)
        await watcher.until(lambda _: len(watcher.heartbeats) > count + 5)
        assert {beat["state"] for beat in watcher.heartbeats[count:]} == {"stale"}

        world.store.reads_fail = False
        await until_state(watcher, "live")


@pytest.mark.usefixtures("often")
async def test_a_change_of_freshness_is_told_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with the next heartbeat, which may be far away, and not twice."""
    monkeypatch.setattr(canaries, "DEAF_SECONDS", 60.0)  # nor is the subscription lost twice, on a busy machine
    watchers = [world.watch(RUN), world.watch(ALL, RUN)]
    for watcher in watchers:
        await watcher.until(lambda _, watcher=watcher: all(model.complete for model in watcher.models.values()))  # type: ignore[misc]

    world.kill_subscription()

    for watcher in watchers:
        await until_state(watcher, "live")
        assert [beat["state"] for beat in watcher.heartbeats] == ["stale", "live"]


@pytest.mark.usefixtures("quick")
async def test_who_comes_while_it_is_stale_is_told_so_after_the_welcome(world: World) -> None:
    """Nothing is written before its transport had a turn."""
    first = world.watch(RUN)
    await first.until_complete()
    world.store.canaries_fail = True
    await until_state(first, "stale")

    newcomer = world.watch(ALL)
    assert newcomer.sink.writes == []
    await until_state(newcomer, "stale")

    world.store.canaries_fail = False
    await until_state(newcomer, "live")
