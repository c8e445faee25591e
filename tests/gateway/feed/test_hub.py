"""The hub on real servers: what viewers see when all is well, and what they cost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.feed.hub import Hub
from gateway.feed.view import View
from gateway.feeds import EnvironmentId, FeedId
from gateway.store.redis_keys import change_channel
from tests.doubles import Watcher
from tests.gateway.feed.world import ALL, RUN, ReluctantStore, World, eventually

if TYPE_CHECKING:
    import pytest

    from tests.redis_server import RedisServer


# What viewers see when all is well.


async def test_a_change_is_seen_as_it_happens(world: World) -> None:
    """A viewer of a run that does not exist yet sees it come, change and end."""
    watcher = world.watch(RUN)
    await watcher.until_complete()
    assert watcher.model.runs == {}

    world.changing.create(tags=["a"])
    world.changing.apply(status="EXECUTING")
    world.changing.apply(status="COMPLETED", columns={"output": {"n": 1}})

    await watcher.until(lambda model: model.kinds[-1:] == ["end"])
    assert [entry["status"] for entry in watcher.model.runs["run_1"]["transitions"]] == [
        "QUEUED",
        "EXECUTING",
        "COMPLETED",
    ]
    assert watcher.model.runs["run_1"]["output"] == {"n": 1}
    assert watcher.ends == [RUN.feed]


async def test_a_run_in_several_feeds_is_decoded_once(world: World) -> None:
    """Redis publishes it once for each feed; the text is the same."""
    views = [RUN, ALL, View(FeedId.tags("a")), View(FeedId.task("resize"))]
    watchers = [world.watch(view) for view in views]
    for watcher in watchers:
        await watcher.until_complete()

    world.changing.create(tags=["a"])
    for watcher in watchers:
        await watcher.until(lambda model: model.runs)

    assert world.hub.statistics.events == 1


async def test_runs_that_change_together_are_decoded_once_each(world: World) -> None:
    """A feed's events come together, and so each run's again after the others'."""
    watchers = [world.watch(view) for view in (RUN, ALL, View(FeedId.tags("a")), View(FeedId.task("resize")))]
    for watcher in watchers:
        await watcher.until_complete()
    runs = [f"run_{number}" for number in range(1, 6)]
    said: dict[str, Any] = {"create": True, "tags": ["a"], "initial": {"taskIdentifier": "resize"}}

    world.changing.apply_together([{"run": run, **said} for run in runs])
    for watcher, expected in zip(watchers, (runs[:1], runs, runs, runs), strict=True):
        await watcher.until(lambda model, expected=expected: sorted(model.runs) == expected)  # type: ignore[misc]

    assert world.hub.statistics.events == len(runs)


async def test_several_feeds_on_one_connection_are_told_with_one_write(world: World) -> None:
    """One piece from Redis is one write for the viewer, whatever feeds it was for."""
    watcher = world.watch(RUN, ALL, View(FeedId.tags("a")))
    await watcher.until(lambda _: all(model.complete for model in watcher.models.values()))
    writes = len(watcher.sink.writes)

    world.changing.create(tags=["a"])
    await watcher.until(lambda _: all(model.runs for model in watcher.models.values()))

    assert len(watcher.sink.writes) == writes + 1


async def test_nonsense_on_our_channels_is_counted_and_passed_over(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Others may be able to publish there; viewers don't notice."""
    watcher = world.watch(RUN)
    await watcher.until_complete()
    channel = change_channel(world.changing.environment, RUN.feed)

    for text in ("nonsense", "[]", "{}", '{"s":"1","e":"x","r":"run_1","b":0,"g":[],"c":{}}'):
        world.client.publish(channel, text)
    world.changing.create()
    await watcher.until(lambda model: model.runs)

    assert world.hub.statistics.bad_events == 4
    assert world.hub.statistics.lost_subscriptions == 0
    assert "somebody else publishes on our channels" in caplog.text


# What it costs.


async def test_viewers_cost_no_tasks_and_no_connections(world: World) -> None:
    """The same handful serves one viewer or hundreds, of one feed or of as many."""
    world.changing.create()
    first = world.watch(RUN)
    await first.until_complete()
    await eventually(lambda: not world.hub._waves, "an end of catching up")
    tasks, connections = len(asyncio.all_tasks()), len(world.our_connections())

    watchers = [world.watch(View(FeedId.run(f"run_{number % 100}"))) for number in range(300)]
    await asyncio.gather(
        *(world.store.read_row(world.changing.environment, f"run_{number}", ("status",)) for number in range(200))
    )
    for watcher in watchers:
        await watcher.until_complete()
    await eventually(lambda: not world.hub._waves, "an end of catching up")
    world.changing.apply(status="COMPLETED")
    await first.until_status("COMPLETED")

    await eventually(lambda: len(asyncio.all_tasks()) <= tasks, "no more tasks than before")
    assert connections <= len(world.our_connections()) <= 5


async def test_a_feed_that_nobody_follows_is_not_subscribed(world: World) -> None:
    """Redis sends a gateway what its viewers follow, and no more when the last of them has gone."""
    channel = change_channel(world.changing.environment, RUN.feed)
    first, second = world.watch(RUN), world.watch(RUN)
    await first.until_complete()
    assert dict(world.client.pubsub_numsub(channel)) == {channel: 1}

    first.disconnect()
    await second.until_complete()
    assert dict(world.client.pubsub_numsub(channel)) == {channel: 1}
    second.disconnect()
    await eventually(lambda: dict(world.client.pubsub_numsub(channel)) == {channel: 0}, "an end of the subscription")

    again = world.watch(RUN)
    await again.until_complete()
    world.changing.create()
    await again.until(lambda model: model.runs)


async def test_leaving_and_coming_back_at_once_misses_nothing(world: World) -> None:
    """The answer to the first subscription does not speak for the second."""
    world.changing.create()
    for number in range(50):
        watcher = world.watch(RUN)
        watcher.disconnect()
        watcher.connect()
        await asyncio.sleep(0)
        watcher.disconnect()
        watcher.connect()
        world.changing.apply(columns={"number": number})
        await watcher.until(lambda model, number=number: model.runs.get("run_1", {}).get("number") == number)  # type: ignore[misc]
        watcher.disconnect()


async def test_everything_ends_with_the_hub(each_redis_server: RedisServer, environment: EnvironmentId) -> None:
    """Viewers may still be there, live or catching up: no task stays, and nobody starts another."""
    baseline = asyncio.all_tasks()
    store = ReluctantStore(each_redis_server.url)
    hub = Hub(store, each_redis_server.url, [], 60.0)
    running = asyncio.create_task(hub.run())
    live = Watcher(hub, environment, RUN).connect()
    await live.until_complete()
    store.reads_fail = True
    Watcher(hub, environment, ALL).connect()
    await asyncio.sleep(0)

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await store.close()
    Watcher(hub, environment, View(FeedId.tags("a"))).connect()
    await asyncio.sleep(0)

    assert asyncio.all_tasks() == baseline
