"""The subscription breaks, and so does the server: nothing is lost, and what is gone is taken from the viewers."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from gateway.feed.view import View
from gateway.feeds import FeedId
from tests.gateway.feed.world import (
    ALL,
    ENVIRONMENT,
    RUN,
    World,
    eventually,
    running_world,
    until_state,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.redis_server import RedisServer


@pytest.mark.usefixtures("quick")
async def test_a_killed_subscription_comes_back_and_nothing_is_lost(world: World) -> None:
    """What is said while it is away is read; what comes after is heard."""
    world.changing.create()
    watchers = [world.watch(view) for view in (RUN, ALL)]
    for watcher in watchers:
        await watcher.until_complete()

    for status in ("EXECUTING", "WAITING", "COMPLETED"):
        world.kill_subscription()
        world.changing.apply(status=status)
        for watcher in watchers:
            await watcher.until_status(status)
            await until_state(watcher, "live")

    statuses = [[entry["status"] for entry in watcher.model.runs["run_1"]["transitions"]] for watcher in watchers]
    assert statuses == [["QUEUED", "EXECUTING", "WAITING", "COMPLETED"]] * 2
    assert [watcher.model.replacements for watcher in watchers] == [1, 1]
    assert world.hub.statistics.lost_subscriptions == 3
    watchers[0].model.check_end()


# The server breaks.


@pytest.mark.usefixtures("quick")
async def test_data_that_is_gone_is_taken_from_the_viewers(own_server: RedisServer) -> None:
    """FLUSHALL is noticed though nobody writes; every viewer begins anew, marked as such."""
    async with running_world(own_server, ENVIRONMENT) as world:
        world.changing.create()
        watcher = world.watch(ALL)
        await watcher.until(lambda model: model.runs)

        world.client.flushall()
        await watcher.until(lambda model: model.replacements == 2)
        assert watcher.model.runs == {}

        world.changing.create("run_2")
        await watcher.until(lambda model: model.runs.keys() == {"run_2"})


@pytest.mark.usefixtures("quick")
async def test_a_restart_with_its_data_loses_nothing(own_server: RedisServer) -> None:
    """A moment of stale, another epoch, and what changed; nobody begins anew."""
    async with running_world(own_server, ENVIRONMENT) as world:
        world.changing.create()
        watchers = [world.watch(view) for view in (RUN, ALL)]
        for watcher in watchers:
            await watcher.until_status("QUEUED")
        before = watchers[0].model.cursor

        own_server.stop(kill=True)
        for watcher in watchers:
            await until_state(watcher, "stale")
        own_server.start()
        world.changing.apply(status="COMPLETED")

        for watcher in watchers:
            await watcher.until_status("COMPLETED")
            await until_state(watcher, "live")
            assert watcher.model.replacements == 1
        assert before is not None
        assert watchers[0].model.cursor is not None
        assert watchers[0].model.cursor.epoch != before.epoch


@pytest.mark.usefixtures("quick")
async def test_a_restart_that_lost_the_newest_changes_is_seen_by_those_who_saw_them(
    own_server: RedisServer, tmp_path: Path
) -> None:
    """They begin anew. Who was not told any of what was lost keeps what it has."""
    async with running_world(own_server, ENVIRONMENT) as world:
        world.changing.create("run_1")
        world.changing.create("run_2")
        saw, saw_not = world.watch(RUN), world.watch(View(FeedId.run("run_2")))
        for watcher in (saw, saw_not):
            await watcher.until(lambda model: model.runs)
        shutil.copytree(own_server.directory, tmp_path / "older")  # every write so far is on the disk
        world.changing.apply("run_1", status="EXECUTING")
        await saw.until_status("EXECUTING")

        own_server.stop(kill=True)
        own_server.lose_data()
        shutil.copytree(tmp_path / "older", own_server.directory, dirs_exist_ok=True)
        own_server.start()

        await saw.until(lambda model: model.replacements == 2)
        await saw.until_status("QUEUED")
        world.changing.apply("run_2", status="COMPLETED")
        await saw_not.until_status("COMPLETED", "run_2")
        assert saw_not.model.replacements == 1


@pytest.mark.usefixtures("quick")
async def test_viewers_who_come_while_the_server_is_away_wait_for_it(own_server: RedisServer) -> None:
    """They are told that the data is not to be had, and get it when it is."""
    async with running_world(own_server, ENVIRONMENT) as world:
        world.changing.create()
        own_server.stop()
        await eventually(lambda: not world.hub._subscription.connected, "a broken subscription")

        watcher = world.watch(RUN)
        await until_state(watcher, "stale")
        own_server.start()

        await watcher.until_status("QUEUED")
        await until_state(watcher, "live")
