"""When Redis, the gateway or a limit is in the way: clients recover by themselves, and miss nothing."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Final

import httpx2
import pytest
import pytest_asyncio

from tests.conformance.shape_client import MUST_REFETCH, held
from tests.conformance.world import EXPOSED, ORIGIN, running_world
from tests.redis_server import running_server, valkey_binary

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.conformance.shape_client import Poll
    from tests.conformance.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLACES: Final = 3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """With a Redis that may be stopped, and few places for each token."""
    directory = tmp_path_factory.mktemp("faults")
    (directory / "redis").mkdir()
    with running_server(directory / "redis", valkey_binary()) as redis:
        settings = {"RUNCAST_CONNECTIONS_PER_TOKEN": str(PLACES), "RUNCAST_DRAIN": "2s"}
        async with running_world(redis, directory, "faults", **settings) as world:
            yield world


def readable(poll: Poll) -> None:
    """A page can read it, with everything that it needs to go on."""
    assert isinstance(poll.json["error"], str)
    assert poll.headers["content-type"].startswith("application/json")
    assert poll.headers["cache-control"] == "no-store"
    assert poll.headers["access-control-allow-origin"] in ("*", ORIGIN)
    exposed = re.split(r",\s*", poll.headers["access-control-expose-headers"].lower())
    assert "*" in exposed or set(exposed) >= set(EXPOSED)


async def ready(world: World) -> None:
    await world.gateway.until_ready()


async def test_t15_e27_e28_too_many_held_requests_are_refused_late_and_recover(world: World) -> None:
    """429 after a while, for some clients come back in a tenth of a second; when there is a place, all goes on."""
    run, token = world.run(), world.token()
    feeds = [await world.feed(f"runs/{run.id}", bearer=token).catch_up() for _ in range(PLACES + 1)]
    *placed, late = feeds
    polls = [asyncio.create_task(feed.poll()) for feed in placed]
    await held(polls[0])

    late.sent_headers = {"origin": ORIGIN}
    poll = await late.get()
    assert (poll.status, poll.seconds > 1) == (429, True)
    readable(poll)
    assert int(poll.headers["retry-after"]) > 0
    assert abs(int(poll.headers["x-ratelimit-reset"]) / 1000 - time.time()) < 60

    recovering = asyncio.create_task(late.poll())
    run.start()
    await asyncio.gather(*polls)
    assert (await recovering).operations == ["update"]
    assert late.row["status"] == "EXECUTING"


async def test_t15_e27_e28_while_redis_is_away_a_client_is_told_to_come_back_and_recovers(world: World) -> None:
    """503 and nothing that would end it, also for a run that it can't look for; who was held stays."""
    run = world.run()
    feed = await world.feed(f"runs/{run.id}").catch_up()
    polling = asyncio.create_task(feed.poll())
    await held(polling, 0.1)
    world.redis.stop()
    await world.gateway.until_ready(status=503)

    asking = [world.feed(f"runs/{run.id}"), world.feed("runs", tags="a"), world.feed(f"runs/{world.new('run')}")]
    for one in asking:
        one.sent_headers = {"origin": ORIGIN}
    for poll in await asyncio.gather(*(one.get() for one in asking)):
        assert poll.status == 503
        readable(poll)
        assert int(poll.headers["retry-after"]) > 0
    for path in (f"/api/v3/runs/{run.id}", "/api/v1/runs", f"/realtime/v1/streams/{run.id}/tokens"):
        answer = await world.ask(path)
        assert answer.status_code == 503
        assert answer.json()["error"]

    newcomer = world.feed(f"runs/{run.id}")
    arriving = asyncio.create_task(newcomer.catch_up())
    await asyncio.sleep(0)
    world.redis.start()
    await ready(world)
    await arriving
    run.start()
    assert world.publisher.flush()
    await polling
    for one in (feed, newcomer):
        await one.until(lambda feed: feed.row["status"] == "EXECUTING", seconds=30)


async def test_e14_e35_a_restart_of_the_gateway_costs_a_client_nothing(world: World) -> None:
    """Its handle holds; what happened meanwhile is there at once; a handle that was refused is not issued again."""
    run = world.run()
    feed = await world.feed(f"runs/{run.id}").catch_up()
    refused = {"nonsense", *[await _refused_handle(world, run.id) for _ in range(3)]}
    polling = asyncio.create_task(feed.poll())
    await held(polling)

    await asyncio.to_thread(world.gateway.stop)
    await asyncio.wait({polling})
    if polling.exception() is not None:  # it asks again, quietly
        assert isinstance(polling.exception(), httpx2.TransportError)
    run.start()
    await asyncio.to_thread(world.gateway.start)

    again = [await world.feed(f"runs/{run.id}").catch_up() for _ in range(5)]
    assert not {one.handle for one in again} & refused
    await feed.until(lambda feed: feed.row["status"] == "EXECUTING")
    assert {poll.status for poll in feed.polls} == {200}


async def _refused_handle(world: World, run: str) -> str:
    """A handle that was issued, and then refused because its feed skips other columns."""
    feed = await world.feed(f"runs/{run}").catch_up()
    other = world.feed(f"runs/{run}", skipColumns="payload")
    other.handle, other.offset, other.live = feed.handle, feed.offset, True
    assert (await other.poll()).status == 409
    return other.expired


async def test_e12_e33_when_redis_lost_its_data_clients_start_over_once(world: World) -> None:
    """One 409 each, those who wait included; then the rows as they are, and everything goes on."""
    tag = world.new("tag")
    gone = world.run(tags=[tag])
    feed = await world.feed("runs", tags=tag).catch_up()
    polling = asyncio.create_task(feed.poll())
    await held(polling)

    world.redis.stop(kill=True)
    world.redis.lose_data()
    world.redis.start()
    await ready(world)
    world.publisher.create("resize", id=gone.id, tags=[tag])
    stays = world.run(tags=[tag])

    poll = await asyncio.wait_for(polling, 15)
    if poll.status == 409:
        assert poll.messages == MUST_REFETCH
    await feed.until(lambda feed: stays.id in {row["friendlyId"] for row in feed.rows.values()}, seconds=30)
    stays.start()
    await feed.until(lambda feed: "EXECUTING" in {row["status"] for row in feed.rows.values()})
    assert [poll.status for poll in feed.polls].count(409) == 1
