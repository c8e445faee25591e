"""Viewers that take little or nothing: others do not feel it, memory is bounded, what they see in the end is true."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from tests.journeys import plenty
from tests.journeys.gateway_process import GatewayProcess, running_gateway, token
from tests.journeys.in_process import serving, until
from tests.journeys.jobs import LIFE, Jobs
from tests.journeys.reluctant import WIRES, EventsWire, ReluctantViewer
from tests.journeys.viewers import EventsViewer, Viewer, WebSocketViewer, assert_lives
from tests.soon import soon

if TYPE_CHECKING:
    from pathlib import Path

    from tests.redis_server import RedisServer

ALL = {"all": True}
#: 30 MB: far more than the kernel's buffers and ours take.
TICKS = 300
#: What the gateway may grow by meanwhile. Without a bound it would be all of it, for each slow viewer.
GROWTH_BYTES = 12_000_000


@pytest.mark.parametrize("transport", WIRES)
async def test_a_slow_viewer_among_fast_ones(
    own_redis: RedisServer, jobs: Jobs, tmp_path: Path, transport: str
) -> None:
    """
    Fast viewers get everything while one reads 1 KB/s. That one gets fewer intermediate values and every status, and
    once it reads it has the truth.
    """
    plenty.create(jobs)
    with running_gateway(tmp_path / "gateway.log", own_redis.url) as gateway:
        async with AsyncExitStack() as watching:
            fast: list[Viewer] = [
                await watching.enter_async_context(kind(gateway, token(), ALL))
                for kind in (WebSocketViewer, WebSocketViewer, EventsViewer)
            ]
            slow = await watching.enter_async_context(plenty.reluctant(transport, gateway.port, token()))
            await slow.read_until(lambda: slow.model.complete.get("all"))
            for viewer in fast:
                await viewer.model.until_live()
            await follow_slowly(gateway, jobs, fast, slow)


async def follow_slowly(gateway: GatewayProcess, jobs: Jobs, fast: list[Viewer], slow: ReluctantViewer) -> None:
    before = gateway.memory
    reading = asyncio.create_task(slow.read_slowly())
    await plenty.tell(jobs, [viewer.model for viewer in fast], ticks=TICKS)
    reading.cancel()
    assert gateway.memory - before < GROWTH_BYTES
    for viewer in fast:
        assert viewer.model.counts["update"] == TICKS + len(plenty.STATUSES)
        assert viewer.connections == 1
        assert_lives(viewer, ["run_2"], LIFE)
    assert slow.model.status("run_2") == "QUEUED"
    await slow.read_until(lambda: slow.model.runs["run_1"]["metadata"].get("tick") == TICKS - 1)
    assert slow.model.statuses["run_2"] == list(LIFE)
    assert slow.model.runs["run_1"]["metadata"] == fast[0].model.runs["run_1"]["metadata"]
    assert slow.model.counts["update"] < TICKS
    assert slow.model.replacements == 1


@pytest.mark.parametrize("transport", WIRES)
async def test_a_viewer_that_reads_nothing(own_redis: RedisServer, jobs: Jobs, transport: str) -> None:
    """It is fed up to the limit and no further, and let go when it took nothing for a while; others go on."""
    plenty.create(jobs)
    async with (
        serving(own_redis.url, stuck_seconds=1.0, unsent_limit_bytes=500_000) as inside,
        WebSocketViewer(inside.url, token(), ALL) as fast,
    ):
        await fast.model.until_live()
        async with plenty.reluctant(transport, inside.port, token()):
            await until(lambda: inside.viewers == 2, "its subscription")
            await plenty.tell(jobs, [fast.model], ticks=100)
            assert inside.hub.statistics.fell_behind == 1
            await until(lambda: inside.viewers == 1, "its end")
        jobs.say("run_1", "COMPLETED")
        await fast.model.until_status("run_1", "COMPLETED")
        assert fast.connections == 1


@pytest.mark.parametrize("transport", WIRES)
async def test_goodbye_to_a_viewer_that_reads_nothing(
    own_redis: RedisServer, jobs: Jobs, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token ends what it opened even when nobody reads the goodbye: the socket does not stay for ever."""
    monkeypatch.setattr("gateway.server.handover._CLOSE_SECONDS", 0.5)
    plenty.create(jobs)
    async with (
        # A limit so high that nothing but the token ends it.
        serving(own_redis.url, unsent_limit_bytes=100_000_000) as inside,
        plenty.reluctant(transport, inside.port, token(expires=soon(2))) as viewer,
    ):
        await viewer.read_until(lambda: viewer.model.complete.get("all"))
        for tick in range(200):
            plenty.tell_tick(jobs, tick)
        await until(lambda: not inside.server.server_state.connections, "its end")
        assert inside.viewers == 0


async def test_a_slow_viewer_sees_the_end_of_its_run(
    own_redis: RedisServer, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response that is over is not cut while somebody still reads it: what is unsent may be the end of the run."""
    monkeypatch.setattr("gateway.server.handover._CLOSE_SECONDS", 0.2)
    jobs.create("run_1")
    async with serving(own_redis.url, unsent_limit_bytes=100_000_000) as inside:  # so that all of it is unsent at once
        wire = EventsWire(inside.url, token(), {"run": "run_1"})
        async with ReluctantViewer(wire, inside.port) as viewer:
            await viewer.read_until(lambda: viewer.model.complete.get("run:run_1"))
            jobs.say("run_1", "COMPLETED", columns={"output": "x" * 9_000_000})
            async with asyncio.timeout(60):
                for count in itertools.count():
                    if not await viewer.read():
                        break
                    if count % 100 == 0:
                        await asyncio.sleep(0.02)
            assert viewer.model.ends == [("run:run_1", "COMPLETED")]
