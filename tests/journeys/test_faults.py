"""What viewers see, and what is lost, when something breaks: the table of the design, row by row."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import pytest

from tests.journeys.gateway_process import GatewayProcess, running_gateway, token
from tests.journeys.jobs import LIFE, Jobs
from tests.journeys.model import LATE_SECONDS
from tests.journeys.proxy import SUBSCRIPTION, Proxy
from tests.journeys.viewers import EventsViewer, Viewer, WebSocketViewer, assert_lives, watching

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.redis_server import RedisServer

ALL = {"all": True}


@pytest.fixture
def gateway(own_redis: RedisServer, tmp_path: Path) -> Iterator[GatewayProcess]:
    with running_gateway(tmp_path / "gateway.log", own_redis.url) as gateway:
        yield gateway


async def test_a_killed_gateway_loses_nothing(gateway: GatewayProcess, jobs: Jobs) -> None:
    """A gateway dies and is started again: viewers resume with their cursors, and are told what they missed."""
    for number in range(3):
        jobs.create(f"run_{number}")
    async with watching(gateway, token(), ALL) as viewers:
        jobs.say("run_0", "DEQUEUED")
        for viewer in viewers:
            await viewer.model.until_status("run_0", "DEQUEUED")
        gateway.kill()
        jobs.say("run_0", "EXECUTING")
        jobs.live("run_late")
        await asyncio.to_thread(gateway.start)
        for viewer in viewers:
            await viewer.until_back()
        jobs.say("run_0", "COMPLETED")
        for viewer in viewers:
            await viewer.model.until_status("run_0", "COMPLETED")
            await viewer.model.until_status("run_late", "COMPLETED")
            assert viewer.model.replacements == 1
            assert_lives(viewer, ["run_0", "run_late"], LIFE)


async def test_a_stopped_gateway_sends_viewers_away_politely(gateway: GatewayProcess, jobs: Jobs) -> None:
    """A deploy: each viewer is told when to come back, with the code that invites it; the gateway ends with 0."""
    jobs.create("run_1")
    async with watching(gateway, token(), ALL) as viewers:
        assert await asyncio.to_thread(gateway.stop) == 0
        await viewers[0].until_gone(1012)
        await viewers[1].until_gone(200)
        for viewer in viewers:
            (goodbye,) = (message for message in viewer.model.said if message["type"] == "reconnect")
            assert 0 <= goodbye["afterMilliseconds"] <= 3000
        await asyncio.to_thread(gateway.start)
        jobs.say("run_1", "COMPLETED")
        for viewer in viewers:
            await viewer.model.until_status("run_1", "COMPLETED")
            assert viewer.model.replacements == 1


@pytest.mark.parametrize(("first", "second"), [(WebSocketViewer, EventsViewer), (EventsViewer, WebSocketViewer)])
async def test_a_cursor_moves(
    gateway: GatewayProcess,
    own_redis: RedisServer,
    jobs: Jobs,
    tmp_path: Path,
    first: type[Viewer],
    second: type[Viewer],
) -> None:
    """A cursor of one gateway and transport works on another gateway and the other transport."""
    jobs.create("run_1")
    jobs.create("run_2")
    with running_gateway(tmp_path / "other.log", own_redis.url) as other:
        async with first(gateway, token(), ALL) as before:
            await before.model.until_status("run_2", "QUEUED")
            await before.model.until_live()
        jobs.say("run_1", "EXECUTING")
        async with second(other, token(), ALL, before.cursor_now) as after:
            await after.model.until_status("run_1", "EXECUTING")
            await after.model.until_live()
            assert after.model.replacements == 0
            assert after.model.runs.keys() == {"run_1"}  # run_2 did not change
            assert_lives(after, ["run_1"], ["QUEUED", "EXECUTING"])


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
async def test_redis_restarts_with_its_data(
    gateway: GatewayProcess, own_redis: RedisServer, jobs: Jobs, kill: bool
) -> None:
    """A moment of stale, then catching up: nothing is lost, nothing is told anew."""
    jobs.create("run_1")
    async with watching(gateway, token(), ALL) as viewers:
        own_redis.stop(kill=kill)
        for viewer in viewers:
            await viewer.model.until_state("stale")
        assert (await gateway.until_ready(status=503))["checks"]["redis"] != "ok"
        own_redis.start()
        for status in LIFE[1:]:
            jobs.say("run_1", status)
        for viewer in viewers:
            await viewer.model.until_status("run_1", "COMPLETED")
            await viewer.model.until_state("live")
            assert viewer.model.replacements == 1
            assert viewer.connections == 1
            assert_lives(viewer, ["run_1"], LIFE)
        await gateway.until_ready()


async def test_redis_loses_its_data(gateway: GatewayProcess, own_redis: RedisServer, jobs: Jobs) -> None:
    """Viewers get a fresh snapshot that replaces what they had, and follow what comes; nobody sees a ghost."""
    jobs.create("run_1")
    async with watching(gateway, token(), ALL) as viewers:
        before = viewers[0].cursor_now
        own_redis.stop()
        own_redis.lose_data()
        own_redis.start()
        jobs.create("run_2")
        for viewer in viewers:
            await viewer.model.until_status("run_2", "QUEUED")
            await viewer.model.until_state("live")
            assert viewer.model.runs.keys() == {"run_2"}
            assert viewer.model.replacements == 2
            assert viewer.cursor_now.partition("-")[0] != before.partition("-")[0]
        async with EventsViewer(gateway, token(), ALL, before) as late:
            await late.model.until_status("run_2", "QUEUED")
            assert late.model.replacements == 1


async def test_redis_loses_its_data_while_nobody_writes(
    gateway: GatewayProcess, own_redis: RedisServer, jobs: Jobs
) -> None:
    """The loss itself is noticed: no write is needed for viewers to learn that their runs are gone."""
    jobs.create("run_1")
    async with watching(gateway, token(), ALL) as viewers:
        own_redis.stop()
        own_redis.lose_data()
        own_redis.start()
        for viewer in viewers:
            await viewer.model.until_empty()
            assert viewer.model.replacements == 2


def subscriptions(server: RedisServer) -> list[str]:
    """The ids of the gateways' subscriptions."""
    with server.client() as client:
        return [str(found["id"]) for found in client.client_list() if found["name"] == SUBSCRIPTION.decode()]


async def told_again_that_all_is_live(viewers: tuple[Viewer, ...]) -> None:
    """Wait until each viewer was told that what it has may be old, and then that it is not; on one connection."""
    for viewer in viewers:
        await viewer.model.until_state("stale", "live")
        assert viewer.connections == 1
        assert viewer.model.replacements == 1


async def test_a_killed_subscription(gateway: GatewayProcess, own_redis: RedisServer, jobs: Jobs) -> None:
    """The one connection on which changes are heard is cut: what was said meanwhile is caught up with."""
    jobs.create("run_1")
    async with watching(gateway, token(), ALL) as viewers:
        with own_redis.client() as client:
            (subscription,) = subscriptions(own_redis)
            assert client.client_kill_filter(_id=subscription) == 1
        for status in LIFE[1:]:
            jobs.say("run_1", status)
        await told_again_that_all_is_live(viewers)
        for viewer in viewers:
            await viewer.model.until_status("run_1", "COMPLETED")
            assert_lives(viewer, ["run_1"], LIFE)
        await gateway.until_ready()


async def test_a_subscription_killed_for_its_buffer(
    gateway: GatewayProcess, own_redis: RedisServer, jobs: Jobs
) -> None:
    """A gateway that is too slow for Redis loses its subscription, and its viewers nothing but time."""
    with own_redis.client() as client:
        client.config_set("client-output-buffer-limit", "pubsub 64kb 32kb 1")
    jobs.create("run_1")
    async with watching(gateway, token(), ALL) as viewers:
        gateway.halt()
        try:
            jobs.say("run_1", "DEQUEUED")
            while subscriptions(own_redis):  # the kernel's buffers fill up before Redis' do
                jobs.say("run_1", set={"blob": secrets.token_hex(50_000)})
            jobs.say("run_1", "EXECUTING")
        finally:
            gateway.go_on()
        jobs.say("run_1", "COMPLETED")
        await told_again_that_all_is_live(viewers)
        for viewer in viewers:
            await viewer.model.until_status("run_1", "COMPLETED")
            assert_lives(viewer, ["run_1"], LIFE)
        await gateway.until_ready()


@pytest.fixture
async def proxy(own_redis: RedisServer) -> AsyncIterator[Proxy]:
    async with Proxy(own_redis.port) as proxy:
        yield proxy


@pytest.fixture
async def distant_gateway(proxy: Proxy, tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    """A gateway that reaches Redis through the proxy."""
    gateway = GatewayProcess(tmp_path / "distant.log", RUNCAST_REDIS_URL=proxy.url)
    await asyncio.to_thread(gateway.start)
    yield gateway
    await asyncio.to_thread(gateway.stop)


async def test_a_deaf_subscription(distant_gateway: GatewayProcess, proxy: Proxy, jobs: Jobs) -> None:
    """A subscription that is open and brings nothing is noticed within a few seconds, and joined anew."""
    jobs.create("run_1")
    async with watching(distant_gateway, token(), ALL) as viewers:
        proxy.fall_silent(only_subscriptions=True)
        jobs.live("run_2")
        async with asyncio.timeout(5 + LATE_SECONDS):
            await told_again_that_all_is_live(viewers)
        for viewer in viewers:
            await viewer.model.until_status("run_2", "COMPLETED")
            assert_lives(viewer, ["run_2"], LIFE)
        await distant_gateway.until_ready()


async def test_a_silent_network(
    distant_gateway: GatewayProcess, proxy: Proxy, own_redis: RedisServer, jobs: Jobs
) -> None:
    """Nothing comes from Redis on any connection: viewers know within a few seconds, and nothing is lost."""
    jobs.create("run_1")
    async with watching(distant_gateway, token(), ALL) as viewers:
        proxy.fall_silent()
        jobs.live("run_2")
        async with asyncio.timeout(5 + LATE_SECONDS):
            for viewer in viewers:
                await viewer.model.until_state("stale")
        await distant_gateway.until_ready(status=503)
        proxy.speak()
        await told_again_that_all_is_live(viewers)
        for viewer in viewers:
            await viewer.model.until_status("run_2", "COMPLETED")
            assert_lives(viewer, ["run_2"], LIFE)
        await distant_gateway.until_ready()
        assert len(subscriptions(own_redis)) == 1


async def test_redis_out_of_reach(distant_gateway: GatewayProcess, proxy: Proxy, jobs: Jobs) -> None:
    """Connections to Redis are refused for a while: stale, then live; who comes meanwhile waits and is served."""
    jobs.create("run_1")
    async with watching(distant_gateway, token(), ALL) as viewers:
        await proxy.refuse()
        for viewer in viewers:
            await viewer.model.until_state("stale")
        await distant_gateway.until_ready(status=503)
        jobs.live("run_2")
        async with (
            WebSocketViewer(distant_gateway, token(), ALL) as newcomer,
            EventsViewer(distant_gateway, token(), {"run": "run_2"}, viewers[1].cursor_now) as returning,
        ):
            for viewer in (newcomer, returning):
                await viewer.model.until_state("stale")
            await proxy.accept()
            await newcomer.model.until_status("run_2", "COMPLETED")
            await returning.model.until_status("run_2", "COMPLETED")
            assert 503 not in returning.endings  # on which an EventSource would give up for ever
        await told_again_that_all_is_live(viewers)
        for viewer in viewers:
            await viewer.model.until_status("run_2", "COMPLETED")
            assert_lives(viewer, ["run_2"], LIFE)
        await distant_gateway.until_ready()
