"""A deployment: the gateway is asked to stop while viewers are with it."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.journeys.crowd import Crowd
from tests.journeys.gateway_process import SECRET, GatewayProcess, running_gateway, token
from tests.journeys.in_process import until
from tests.journeys.model import LATE_SECONDS
from tests.journeys.plenty import reluctant, tell_tick
from tests.journeys.viewers import VIEWERS, watching

if TYPE_CHECKING:
    from pathlib import Path

    from tests.journeys.jobs import Jobs
    from tests.redis_server import RedisServer

CROWD = 3000
#: Of one token there may be 1000.
POLLS = 900
DRAIN_SECONDS = 5.0
#: Of all viewers, in any tenth of the time in which they are told; a perfect spread has 0.1 in each.
MOST_IN_A_TENTH = 0.25
#: An event that says that the drain has begun, for those who are told in it first.
FEW = 3


async def test_a_crowd_is_sent_away_one_by_one(own_redis: RedisServer, jobs: Jobs, tmp_path: Path) -> None:
    """
    Thousands are told to come back, each at its own moment, over the drain time; the others hear the news meanwhile.

    The process ends with 0 within that time, and its log has nothing in it that anybody would have to look at.
    """
    jobs.create("run_1")
    log = tmp_path / "log"
    with running_gateway(log, own_redis.url, RUNCAST_DRAIN=f"{DRAIN_SECONDS:g}s") as gateway:
        async with Crowd(gateway.port, "run_1", CROWD, mark=b'"EXECUTING"') as crowd:
            said_before = len(log.read_text())  # such as that this machine allows few open files
            asked_at = time.monotonic()
            gateway.signal(signal.SIGTERM)
            ended = asyncio.create_task(gateway.ended())
            await until(lambda: crowd.told > CROWD / 3, "a third of them is told")
            jobs.say("run_1", "EXECUTING")
            assert await ended == 0
            assert time.monotonic() - asked_at < DRAIN_SECONDS + LATE_SECONDS
            await until(lambda: all(member.ended_at for member in crowd.members), "the end of all")
    assert [member for member in crowd.members if member.told_at is None or member.error is not None] == []
    assert_spread(sorted(member.told_at for member in crowd.members if member.told_at is not None))
    marked = [member.marked_at for member in crowd.members if member.marked_at is not None]
    assert len(marked) > CROWD / 10
    assert not [m for m in crowd.members if m.marked_at is None and m.told_at is not None and m.told_at > max(marked)]
    assert not re.search(r"WARNING|ERROR|CRITICAL|Task|Exception", log.read_text()[said_before:])


async def test_polls_that_are_held_are_answered_one_by_one(own_redis: RedisServer, jobs: Jobs, tmp_path: Path) -> None:
    """
    Those of the Trigger.dev clients, which come back at once: so their number says what the next gateway has to bear.

    Each has its answer, and none the hope that this connection takes another request.
    """
    jobs.create("run_1")
    with running_gateway(tmp_path / "log", own_redis.url, RUNCAST_DRAIN=f"{DRAIN_SECONDS:g}s") as gateway:
        peers = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(POLLS)]
        path = b"/realtime/v1/runs/run_1"
        begun = await ask(*peers[0], path + b"?offset=-1")
        handle, offset = (re.search(rb"electric-%b: (\S+)" % name, begun) for name in (b"handle", b"offset"))
        assert handle
        assert offset
        query = b"?cursor=1&handle=%b&live=true&offset=%b" % (handle[1], offset[1])
        polls = [asyncio.create_task(ask(reader, writer, path + query)) for reader, writer in peers]
        await until(lambda: all(writer.transport.get_write_buffer_size() == 0 for _, writer in peers), "all are sent")
        peers.append(await asyncio.open_connection("127.0.0.1", gateway.port))
        await ask(*peers[-1], b"/livez")  # behind all of them
        answered: list[float] = []
        for poll in polls:
            poll.add_done_callback(lambda _: answered.append(time.monotonic()))
        asked_at = time.monotonic()
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0
        assert time.monotonic() - asked_at < DRAIN_SECONDS + LATE_SECONDS
        for answer in await asyncio.gather(*polls):
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"connection: close\r\n" in answer.lower()
            assert answer.endswith(b'[{"headers":{"control":"up-to-date"}}]')
        assert len(answered) == POLLS
        assert_spread(sorted(answered))
        for _, writer in peers:
            writer.close()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: bytes) -> bytes:
    """Ask, and return the whole answer."""
    head = b"GET %b HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer %b\r\n\r\n"
    writer.write(head % (path, SECRET.encode()))
    answer = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: ([0-9]+)", answer.lower())
    assert length
    return answer + await reader.readexactly(int(length[1]))


def assert_spread(times: list[float]) -> None:
    """They fill most of the drain time, and no part of it much more than another."""
    took = times[-1] - times[0]
    assert DRAIN_SECONDS / 2 < took < DRAIN_SECONDS + LATE_SECONDS
    tenths = Counter(min(9, int((moment - times[0]) / took * 10)) for moment in times)
    assert max(tenths.values()) < MOST_IN_A_TENTH * len(times), tenths


async def test_viewers_come_back_to_the_next_one(own_redis: RedisServer, jobs: Jobs, tmp_path: Path) -> None:
    """With their cursors: no status is missing or told twice, and no snapshot replaces what they have."""
    jobs.create("run_1")
    with running_gateway(tmp_path / "log", own_redis.url, RUNCAST_DRAIN="1s") as gateway:
        async with watching(gateway, token(), {"run": "run_1"}) as viewers:
            jobs.say("run_1", "DEQUEUED")
            for viewer in viewers:
                await viewer.model.until_status("run_1", "DEQUEUED")
            gateway.signal(signal.SIGTERM)
            assert await gateway.ended() == 0
            jobs.say("run_1", "EXECUTING")
            gateway.start()
            jobs.say("run_1", "COMPLETED")
            for viewer in viewers:
                await viewer.model.until_status("run_1", "COMPLETED")
                assert viewer.model.counts["reconnect"] == 1
                assert viewer.model.replacements == 1
                assert viewer.model.statuses["run_1"] == ["QUEUED", "DEQUEUED", "EXECUTING", "COMPLETED"]
            assert 1012 in viewers[0].endings


@pytest.mark.parametrize("transport", VIEWERS)
async def test_a_stuck_viewer_holds_nothing_up(
    own_redis: RedisServer, jobs: Jobs, tmp_path: Path, transport: str
) -> None:
    """Who takes nothing any more is cut when the time is up, and the exit status is that of any other day."""
    jobs.create("run_1")
    with running_gateway(tmp_path / "log", own_redis.url, RUNCAST_DRAIN="3s") as gateway:
        async with reluctant(transport, gateway.port, token()):
            for tick in range(100):  # ten megabytes, far more than the kernel and we keep for it
                tell_tick(jobs, tick)
            asked_at = time.monotonic()
            gateway.signal(signal.SIGTERM)
            assert await gateway.ended() == 0
            assert time.monotonic() - asked_at < 3 + LATE_SECONDS


async def test_ready_no_more(own_redis: RedisServer, jobs: Jobs, tmp_path: Path) -> None:
    """New connections are refused; on one that a proxy keeps, /readyz says why, and that no more should be asked."""
    jobs.create("run_1")
    with running_gateway(tmp_path / "log", own_redis.url, RUNCAST_DRAIN="3s") as gateway:
        async with Crowd(gateway.port, "run_1", 50, mark=b'"EXECUTING"') as crowd:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            gateway.signal(signal.SIGTERM)
            await until(lambda: crowd.told >= FEW, "the first are told")
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: gateway\r\n\r\n")
            answer = await asyncio.wait_for(reader.read(), 5)  # to its end
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"connection: close\r\n" in answer.lower()
            assert answer.endswith(b'{"status":"draining"}')
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", gateway.port)).close()
            assert await gateway.ended() == 0
            writer.close()


async def test_with_nobody_there_it_ends_at_once(own_redis: RedisServer, tmp_path: Path) -> None:
    """There is nobody to wait for; a connection that a proxy keeps for later is nobody."""
    with running_gateway(tmp_path / "log", own_redis.url, RUNCAST_DRAIN="60s") as gateway:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        asked_at = time.monotonic()
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0
        assert time.monotonic() - asked_at < LATE_SECONDS  # and not a minute
        writer.close()


@pytest.mark.parametrize(
    "numbers", [(signal.SIGINT,), (signal.SIGTERM, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)]
)
async def test_who_is_in_a_hurry_does_not_wait(
    own_redis: RedisServer, jobs: Jobs, tmp_path: Path, numbers: tuple[signal.Signals, ...]
) -> None:
    """
    Ctrl-C drains within a second, and says goodbye; a second signal does not wait for that either.

    Whom a busy machine can't tell in that second is cut, and the log says how many those are.
    """
    jobs.create("run_1")
    log = tmp_path / "log"
    with running_gateway(log, own_redis.url, RUNCAST_DRAIN="1m") as gateway:
        async with Crowd(gateway.port, "run_1", 600, mark=b'"EXECUTING"') as crowd:
            gateway.signal(numbers[0])
            await until(lambda: crowd.told >= FEW, "the first are told")
            asked_at = time.monotonic()
            for number in numbers[1:]:
                gateway.signal(number)
            assert await gateway.ended() == 0
            assert time.monotonic() - asked_at < 1 + LATE_SECONDS
            await until(lambda: all(member.ended_at for member in crowd.members), "the end of all")
            cut = re.search(r"; (\d+) connections were cut", log.read_text())
            assert cut is not None
            untold = len(crowd.members) - crowd.told
            assert untold <= int(cut[1])
            assert untold or len(numbers) == 1


async def test_it_is_told_to_stop_while_it_starts(own_redis: RedisServer, tmp_path: Path) -> None:
    """It ends at once, and there is no trace of a mistake."""
    log = tmp_path / "log"
    gateway = GatewayProcess(log, RUNCAST_REDIS_URL=own_redis.url)
    gateway.spawn()
    await until(lambda: "serving at" in log.read_text(), "the beginning of its start")
    gateway.signal(signal.SIGTERM)
    assert await gateway.ended() in (0, -signal.SIGTERM)  # before it listens to signals they do what they always do
    assert "Traceback" not in log.read_text()
