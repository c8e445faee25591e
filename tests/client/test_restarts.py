"""Gateways are killed and deployed, Redis restarts with its data and without: pages say so, and lose nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from gateway.transports.origins import Origins
from tests.client.network import Network
from tests.client.pages import everybody
from tests.journeys.gateway_process import GatewayProcess, running_gateway
from tests.journeys.in_process import Inside, serving
from tests.journeys.jobs import LIFE, Jobs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.client.pages import Pages, Tab
    from tests.redis_server import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="module")
TRANSPORTS = ("websocket", "sse", "poll")
NOT_LIVE = "['stale', 'offline'].includes(now.state)"


async def watching(pages: Pages, url: str, run: str) -> list[Tab]:
    """A page for each transport, and two that share a connection. All are live."""
    tabs = [
        await pages.follow(f"run({run!r})", url=url, transports=[transport], share=False) for transport in TRANSPORTS
    ]
    tabs += [await pages.follow(f"run({run!r})", url=url) for _ in range(2)]
    await everybody(tabs, "now.state === 'live'")
    return tabs


async def assert_same_history(tabs: list[Tab], run: str, *published: str) -> None:
    """Each was told every status that was published, in order and once, and of the end at the end."""
    for tab in tabs:
        seen = await tab.seen()
        assert (seen["statuses"][run], seen["ends"]) == (list(published), [published[-1]]), seen


@pytest.fixture
def gateways(server: RedisServer, site: str, tmp_path: Path) -> Iterator[tuple[GatewayProcess, GatewayProcess]]:
    """Two that can be killed: while one of them begins the other is there, so that nobody waits for long."""
    settings = {"RUNCAST_ALLOWED_ORIGINS": site, "RUNCAST_DRAIN": "1s"}
    with (
        running_gateway(tmp_path / "first", server.url, **settings) as first,
        running_gateway(tmp_path / "second", server.url, **settings) as second,
    ):
        yield first, second


async def test_a_gateway_is_killed_and_another_is_deployed(
    pages: Pages, gateways: tuple[GatewayProcess, GatewayProcess], jobs: Jobs, run: str
) -> None:
    """Killed, and later sent away politely, while a run goes on: nobody reloads, and everybody hears every status."""
    jobs.create(run)
    first, second = gateways
    async with Network(first.port) as network:
        tabs = await watching(pages, network.url, run)
        await asyncio.to_thread(first.kill)
        await everybody(tabs, NOT_LIVE)
        jobs.say(run, "DEQUEUED")
        network.target = second.port
        await everybody(tabs, f"now.state === 'live' && seen.statuses[{run!r}].length === 2")
        await asyncio.to_thread(first.start)
        assert await asyncio.to_thread(second.stop) == 0
        await everybody(tabs, NOT_LIVE)
        jobs.say(run, "EXECUTING")
        network.target = first.port
        await everybody(tabs, f"now.state === 'live' && seen.statuses[{run!r}].length === 3")
        jobs.say(run, "COMPLETED")
        await everybody(tabs, "seen.ends.length")
        await assert_same_history(tabs, run, *LIFE)


class TestRedis:
    """Redis restarts; the gateway stays."""

    @pytest_asyncio.fixture(loop_scope="module")
    async def gateway(self, own_redis: RedisServer) -> AsyncIterator[Inside]:
        async with serving(own_redis.url, heartbeat_seconds=1.0, origins=Origins.parse("*")) as gateway:
            yield gateway

    @pytest.fixture
    def jobs(self, own_redis: RedisServer) -> Iterator[Jobs]:
        with Jobs(own_redis.url) as jobs:
            yield jobs

    async def test_it_comes_back_with_its_data(
        self, pages: Pages, gateway: Inside, own_redis: RedisServer, jobs: Jobs, run: str
    ) -> None:
        """Stale while it is away, although the gateway answers; then as if nothing had been."""
        jobs.create(run)
        tabs = await watching(pages, gateway.url, run)
        jobs.say(run, "DEQUEUED")
        await everybody(tabs, f"seen.statuses[{run!r}].length === 2")
        await asyncio.to_thread(own_redis.stop, kill=True)
        await everybody(tabs, NOT_LIVE)
        await asyncio.to_thread(own_redis.start)
        await everybody(tabs, "now.state === 'live'")  # also where nothing happens
        jobs.say(run, "EXECUTING")
        await everybody(tabs, f"seen.statuses[{run!r}].length === 3")
        jobs.say(run, "COMPLETED")
        await everybody(tabs, "seen.ends.length")
        await assert_same_history(tabs, run, *LIFE)
        for tab in tabs:
            assert await tab.page.evaluate("seen.subscription.view.resyncs") == 1

    async def test_it_comes_back_without(
        self, pages: Pages, gateway: Inside, own_redis: RedisServer, jobs: Jobs, run: str
    ) -> None:
        """What a page knew is gone, and it says so; a run that is made again is a new one, told from its beginning."""
        jobs.create(run)
        tabs = await watching(pages, gateway.url, run)
        await asyncio.to_thread(own_redis.stop)
        await everybody(tabs, NOT_LIVE)
        own_redis.lose_data()
        await asyncio.to_thread(own_redis.start)
        await everybody(tabs, "now.state === 'live' && !seen.subscription.view.run")
        jobs.live(run)
        await everybody(tabs, "seen.ends.length")
        await assert_same_history(tabs, run, "QUEUED", *LIFE)

    async def test_it_comes_back_without_and_the_run_is_made_again_at_once(
        self, pages: Pages, gateway: Inside, own_redis: RedisServer, jobs: Jobs, run: str
    ) -> None:
        """Before any page was told that it was gone: what was told of the first one does not hide what it does."""
        jobs.create(run)
        tabs = await watching(pages, gateway.url, run)
        await asyncio.to_thread(own_redis.stop)
        own_redis.lose_data()
        await asyncio.to_thread(own_redis.start)
        jobs.create(run)
        await everybody(tabs, "now.state === 'live' && seen.subscription.view.resyncs === 2")
        for status in LIFE[1:]:
            jobs.say(run, status)
        await everybody(tabs, "seen.ends.length")
        await assert_same_history(tabs, run, "QUEUED", *LIFE)
