"""Runs whose worker is gone, or whose time is over, end by themselves: each once, with any number of gateways."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from gateway.feeds import EnvironmentId
from gateway.publisher import Publisher
from gateway.store.redis_keys import deadlines_key
from tests.gateway.store.changing import Changing
from tests.journeys.gateway_process import ENVIRONMENT
from tests.journeys.in_process import Inside, serving, until
from tests.journeys.model import LATE_SECONDS
from tests.redis_server import RedisServer, binaries, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

GATEWAYS = 3
#: Renewed three times in it: a machine may forget the worker for two thirds of that.
LEASE = 2.0
#: What a gateway may take to notice.
NOTICE_SECONDS = 2.0

WORKER = """
import sys
from gateway import Publisher

publisher = Publisher(sys.argv[1])
with publisher.running("t", id="run_1", lease=float(sys.argv[2])) as run:
    print("at work", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with running_server(tmp_path, binaries()["valkey"]) as server:
        yield server


@pytest.fixture
def stored(server: RedisServer) -> Iterator[Changing]:
    with server.client() as client:
        yield Changing(client, EnvironmentId(ENVIRONMENT))


@contextlib.asynccontextmanager
async def gateways(server: RedisServer, stored: Changing, *, watched: float = 0.0) -> AsyncIterator[list[Inside]]:
    """Several gateways that have looked for so many seconds."""
    async with contextlib.AsyncExitStack() as running:
        yield_to = [await running.enter_async_context(serving(server.url)) for _ in range(GATEWAYS)]
        since = time.time()
        await until(lambda: stored.history().get("watched_since"), "a look")
        await asyncio.sleep(max(0.0, since + watched - time.time()))
        yield yield_to


@contextlib.contextmanager
def worker(server: RedisServer, *, lease: float) -> Iterator[subprocess.Popen[str]]:
    """A process that is at work on run_1, until it is told a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WORKER), server.url, str(lease)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        try:
            yield process
        finally:
            process.kill()


def statuses(stored: Changing, run: str = "run_1") -> list[str]:
    return [status for _, status, _, _ in stored.row(run)["transitions"]]


async def becomes(stored: Changing, status: str, run: str = "run_1") -> None:
    await until(lambda: stored.row(run)["status"] == status, f"{run} to be {status}")


async def test_hundreds_of_runs_end_each_once(server: RedisServer, stored: Changing) -> None:
    """Three gateways look at all of them; each run has one end, and one event tells of it."""
    expected = {}
    async with gateways(server, stored) as running:
        with stored.listen() as listening:
            for number in range(100):
                stored.create(f"crashes_{number}")
                stored.apply(f"crashes_{number}", status="EXECUTING", lease_seconds=0.3)
                stored.create(f"expires_{number}", initial={"ttl": "0.3"})
                stored.create(f"times_out_{number}", initial={"maxDuration": 0.3})
                stored.apply(f"times_out_{number}", status="EXECUTING", lease_seconds=60)
                expected[f"crashes_{number}"] = "CRASHED"
                expected[f"expires_{number}"] = "EXPIRED"
                expected[f"times_out_{number}"] = "TIMED_OUT"
                await asyncio.sleep(0)
            await until(lambda: not stored.client.exists(deadlines_key(stored.environment)), "the end of all")
            await asyncio.sleep(1.2)  # every gateway looks once more
            heard = [event for channel, event in listening.heard() if channel == "all"]

        told = Counter((event.run, event.transition.status) for event in heard if event.transition)
        ends = {run: said for run, said in told if said in ("CRASHED", "EXPIRED", "TIMED_OUT")}
        assert ends == expected
        assert set(told.values()) == {1}
        assert all(statuses(stored, run)[-1] == status for run, status in expected.items())
        assert sum((inside.services.deadlines.ended for inside in running), Counter()) == Counter(expected.values())


async def test_a_killed_worker_is_noticed(server: RedisServer, stored: Changing) -> None:
    """It can't say goodbye. Its run is CRASHED when its lease is over, and says why."""
    async with gateways(server, stored, watched=LEASE):
        with worker(server, lease=LEASE) as process:
            await asyncio.sleep(1.5 * LEASE)
            assert statuses(stored) == ["PENDING", "EXECUTING"]
            process.kill()
            killed = time.monotonic()
            await becomes(stored, "CRASHED")
            assert time.monotonic() - killed < LEASE + NOTICE_SECONDS + LATE_SECONDS
        row = stored.row()
        assert row["error"] == {
            "type": "STRING_ERROR",
            "raw": "its worker was not heard of any more: nobody renewed its lease",
        }
        assert statuses(stored) == ["PENDING", "EXECUTING", "CRASHED"]


async def test_a_worker_that_was_stopped_goes_on(server: RedisServer, stored: Changing) -> None:
    """Its machine slept, or swapped: what was presumed is taken back, and how it ended is what it says."""
    async with gateways(server, stored, watched=LEASE):
        with worker(server, lease=LEASE) as process:
            process.send_signal(signal.SIGSTOP)
            await becomes(stored, "CRASHED")
            process.send_signal(signal.SIGCONT)
            await becomes(stored, "EXECUTING")
            assert process.stdin is not None
            process.stdin.write("end\n")
            process.stdin.flush()
            await becomes(stored, "COMPLETED_SUCCESSFULLY")
        assert statuses(stored) == ["PENDING", "EXECUTING", "CRASHED", "EXECUTING", "COMPLETED_SUCCESSFULLY"]
        assert "error" not in stored.row()


async def test_while_redis_is_away_nobody_dies(server: RedisServer, stored: Changing) -> None:
    """Nobody could renew. When it is back, whoever lives has the time of a lease to say so; who does not has ended."""
    with Publisher(server.url, lease=LEASE) as publisher:
        async with gateways(server, stored, watched=LEASE):
            alive = [publisher.create("t") for _ in range(50)]
            for run in alive:
                run.start()
            stored.create("dead")
            stored.apply("dead", status="EXECUTING", lease_seconds=2 * LEASE)
            await asyncio.to_thread(server.stop)
            await asyncio.sleep(1.5 * LEASE)
            await asyncio.to_thread(server.start)
            await becomes(stored, "CRASHED", "dead")
            for run in alive:
                run.complete()
            ended = ["PENDING", "EXECUTING", "COMPLETED_SUCCESSFULLY"]
            assert [statuses(stored, run.id) for run in alive] == [ended] * len(alive)


async def test_while_no_gateway_looks_nobody_dies(server: RedisServer, stored: Changing) -> None:
    """Those that come back don't know what was meanwhile; and whoever died then is found all the same."""
    with Publisher(server.url, lease=LEASE) as publisher:
        alive = publisher.create("t")
        async with gateways(server, stored):
            alive.start()
            stored.create("dead")
        stored.apply("dead", status="EXECUTING", lease_seconds=LEASE)
        await asyncio.sleep(1.5 * LEASE)
        async with gateways(server, stored):
            await becomes(stored, "CRASHED", "dead")
            alive.complete()
            assert statuses(stored, alive.id) == ["PENDING", "EXECUTING", "COMPLETED_SUCCESSFULLY"]
