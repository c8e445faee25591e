"""The hub on real servers: what it costs, what it notices, and what viewers see while things break."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import Unavailable
from gateway.feed import canaries, rounds
from gateway.feed.follower import Signal
from gateway.feed.hub import Hub
from gateway.feed.view import View
from gateway.feeds import ALL_RUNS, EnvironmentId, FeedId
from gateway.store.redis_keys import Retention, change_channel
from gateway.store.redis_store import RedisStore
from tests.doubles import PATIENCE_SECONDS, Watcher
from tests.gateway.feed.memory import MemoryGateway, MemoryStore
from tests.gateway.store.changing import Changing
from tests.redis_server import binaries, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    import redis

    from tests.redis_server import RedisServer

RUN = View(FeedId.run("run_1"))
ALL = View(ALL_RUNS)
ENVIRONMENT = EnvironmentId("env_hub")


class ReluctantStore(RedisStore):
    """The real store, parts of which can be out of order."""

    def __init__(self, url: str) -> None:
        super().__init__(url, Retention())
        self.reads_fail = self.canaries_fail = False
        #: Canaries that could not be sent, and nobody had asked for that.
        self.lost_canaries = 0

    async def place(self, *args: Any, **words: Any) -> Any:
        if self.reads_fail:
            raise Unavailable
        return await super().place(*args, **words)

    async def canary(self, *args: Any, **words: Any) -> None:
        if self.canaries_fail:
            raise Unavailable
        try:
            await super().canary(*args, **words)
        except Unavailable:
            self.lost_canaries += 1
            raise


@dataclass
class World:
    """A running hub, a publisher, and the viewers."""

    hub: Hub
    store: ReluctantStore
    changing: Changing
    client: redis.Redis
    watchers: list[Watcher]

    def watch(self, *views: View, environment: EnvironmentId | None = None, limit: int = 100_000) -> Watcher:
        watcher = Watcher(self.hub, environment or self.changing.environment, *views, limit=limit).connect()
        self.watchers.append(watcher)
        return watcher

    def our_connections(self) -> list[dict[str, str]]:
        clients: list[dict[str, str]] = self.client.client_list()
        return [entry for entry in clients if entry["name"].startswith("runcast-gateway")]

    def kill_subscription(self) -> None:
        for entry in self.our_connections():
            if entry["name"] == "runcast-gateway-subscription":
                self.client.client_kill_filter(_id=entry["id"])


@contextlib.asynccontextmanager
async def running_world(
    server: RedisServer, environment: EnvironmentId, *, heartbeat_seconds: float = 60.0
) -> AsyncIterator[World]:
    store = ReluctantStore(server.url)
    hub = Hub(store, server.url, [], heartbeat_seconds)
    running = asyncio.create_task(hub.run())
    with server.client() as client:
        world = World(hub, store, Changing(client, environment), client, [])
        try:
            await eventually(lambda: hub._subscription.connected, "a subscription")
            yield world
        finally:
            for watcher in world.watchers:
                watcher.disconnect()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await store.close()


async def eventually(holds: Callable[[], object], what: str) -> None:
    """For what nobody announces."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():
            await asyncio.sleep(0.005)


async def until_state(watcher: Watcher, state: str) -> None:
    await watcher.until(lambda _: watcher.heartbeats and watcher.heartbeats[-1]["state"] == state, f"heartbeat {state}")


@pytest.fixture
async def world(each_redis_server: RedisServer, environment: EnvironmentId) -> AsyncIterator[World]:
    async with running_world(each_redis_server, environment) as world:
        yield world


@pytest.fixture(params=binaries())
def own_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that a test may stop."""
    with running_server(tmp_path_factory.mktemp("server"), binaries()[request.param]) as server:
        yield server


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Canaries so often that a test need not wait for them."""
    monkeypatch.setattr(canaries, "CANARY_SECONDS", 0.05)


@pytest.fixture
def quick(often: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """And soon missed."""
    monkeypatch.setattr(canaries, "DEAF_SECONDS", 0.5)
    monkeypatch.setattr(canaries, "_LOOK_SECONDS", 0.02)


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


# How fresh it is.


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


# The subscription breaks.


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
