"""The gateway is an ASGI app for any server: without our protocol classes it is slower, and just as true."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest

from tests.journeys import plenty
from tests.journeys.gateway_process import token
from tests.journeys.in_process import Inside, serving, until
from tests.journeys.jobs import LIFE, Jobs
from tests.journeys.reluctant import WIRES
from tests.journeys.viewers import VIEWERS, WebSocketViewer, assert_lives, watching

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.redis_server import RedisServer

ALL = {"all": True}


@pytest.fixture
async def inside(own_redis: RedisServer) -> AsyncIterator[Inside]:
    async with serving(own_redis.url, plain=True, stuck_seconds=1.0) as inside:
        yield inside


async def test_viewers_follow_runs(inside: Inside, jobs: Jobs) -> None:
    """A run moves to its end on both transports, every status in order, metadata included."""
    async with watching(inside.url, token(), ALL) as viewers:
        jobs.live("run_1", LIFE[:-1])
        jobs.say("run_1", set={"progress": {"current": 3, "total": 10}})
        jobs.say("run_1", "COMPLETED")
        for viewer in viewers:
            await viewer.model.until_status("run_1", "COMPLETED")
            assert viewer.model.runs["run_1"]["metadata"] == {"progress": {"current": 3, "total": 10}}
            assert_lives(viewer, ["run_1"], LIFE)
    await until(lambda: not any(inside.leftovers().values()), f"the end of {inside.leftovers()}")


@pytest.mark.parametrize("transport", VIEWERS)
async def test_viewers_resume(inside: Inside, jobs: Jobs, transport: str) -> None:
    """A cursor brings what changed since, and nothing else."""
    jobs.create("run_1")
    jobs.create("run_2")
    async with VIEWERS[transport](inside.url, token(), ALL) as before:
        await before.model.until_live()
    jobs.say("run_2", "EXECUTING")
    async with VIEWERS[transport](inside.url, token(), ALL, before.cursor_now) as after:
        await after.model.until_status("run_2", "EXECUTING")
        assert after.model.runs.keys() == {"run_2"}
        assert after.model.replacements == 0


async def test_a_response_ends_with_its_run(inside: Inside, jobs: Jobs) -> None:
    """Server-Sent Events of a run end after its last, and a viewer that returns is told to stop."""
    jobs.create("run_1")
    async with VIEWERS["events"](inside.url, token(), {"run": "run_1"}) as viewer:
        await viewer.model.until_live()
        jobs.say("run_1", "COMPLETED")
        await viewer.until_gone(204)
        assert viewer.model.ends == [("run:run_1", "COMPLETED")]


@pytest.mark.parametrize("transport", WIRES)
async def test_a_slow_viewer(inside: Inside, jobs: Jobs, transport: str) -> None:
    """It is not fed beyond the limit, catches up when it reads again, and saw every status; fast ones feel nothing."""
    plenty.create(jobs)
    async with (
        WebSocketViewer(inside.url, token(), ALL) as fast,
        plenty.reluctant(transport, inside.port, token()) as slow,
    ):
        await slow.read_until(lambda: slow.model.complete.get("all"))
        await fast.model.until_live()
        reading = asyncio.create_task(slow.read_slowly(bytes_per_second=20_000))
        await plenty.tell(jobs, [fast.model], ticks=100)
        reading.cancel()
        assert inside.hub.statistics.fell_behind >= 1
        await slow.read_until(lambda: slow.model.runs["run_1"]["metadata"].get("tick") == 99)
        assert slow.model.statuses["run_2"] == list(LIFE)
        assert slow.model.counts["update"] < 100
        assert fast.model.counts["update"] == 100 + len(plenty.STATUSES)


@pytest.mark.parametrize("transport", WIRES)
async def test_a_viewer_that_reads_nothing(inside: Inside, jobs: Jobs, transport: str) -> None:
    """When it took nothing for a while the hub lets go of it."""
    plenty.create(jobs)
    async with plenty.reluctant(transport, inside.port, token()) as viewer:
        await viewer.read_until(lambda: viewer.model.complete.get("all"))
        async with asyncio.timeout(30):
            for tick in itertools.count():
                plenty.tell_tick(jobs, tick)
                await asyncio.sleep(0.01)
                if not inside.viewers:
                    break


async def test_refusals(inside: Inside) -> None:
    """A token that is none closes a WebSocket with 4401, and is answered 401 elsewhere."""
    for transport, code in (("websocket", 4401), ("events", 401)):
        async with VIEWERS[transport](inside.url, "nonsense", ALL) as viewer:
            await viewer.until_gone(code)
