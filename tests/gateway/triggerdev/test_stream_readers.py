"""Reading a run's streams as the official clients do, on a gateway with a real Redis behind it."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.changes import Limits
from gateway.publisher import Publisher
from gateway.triggerdev import stream_reader
from tests.gateway.triggerdev.stream_clients import (
    READ,
    RUN,
    WRITE,
    Broken,
    OfficialReader,
    OfficialWriter,
    gone,
    request,
    say_status,
    serving,
)
from tests.soon import soon, until_past

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.feeds import EnvironmentId
    from tests.gateway.api.asking import Asking
    from tests.redis_server import RedisServer

FEED = f"stream:{RUN},tokens"


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_reader, "GRACE_SECONDS", 0.2)


@pytest.fixture
async def api(redis_server: RedisServer, environment: EnvironmentId) -> AsyncIterator[Asking]:
    async with serving(redis_server, environment, heartbeat_seconds=0.3) as asking:
        yield asking


def positions(parts: list[Any]) -> list[int]:
    return [int(part.position.rpartition("-")[2]) for part in parts]


async def write(api: Asking, *values: Any) -> None:
    await OfficialWriter(api.gateway, WRITE, client=secrets.token_hex(4)).write(values)


async def followed(api: Asking) -> None:
    await api.gateway.followed(FEED)


async def test_headers_come_at_once(api: Asking) -> None:
    """Also when the stream is not there yet; what comes while nothing is written is no chunk."""
    for version in ("v2", "v1"):
        reader = OfficialReader(api.gateway, READ, version=version)
        async with asyncio.timeout(20):
            response = await reader.connect()
            assert response.status == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.headers["x-stream-version"] == version
            assert "no-cache" in response.headers["cache-control"]
            came = b""
            async for piece in response.body():
                came += piece
                if came.count(b"\n\n") >= 5:
                    break
        assert all(not line or line.startswith(b":") for line in came.split(b"\n"))
        reader.leave()


async def test_records(api: Asking) -> None:
    """A record is where it stands, when it came, and an envelope with its value and an id that no other has."""
    before = time.time() * 1000
    await write(api, *range(250))
    stored = await OfficialReader(api.gateway, READ).take(250)
    reader = OfficialReader(api.gateway, READ, last_event_id="249")
    taking = asyncio.create_task(reader.take(2))
    await followed(api)
    await write(api, {"live": [1.0, None]}, "x")
    live = await taking
    assert [part.chunk for part in (*stored, *live)] == [*range(250), {"live": [1.0, None]}, "x"]
    assert positions([*stored, *live]) == list(range(252))
    assert len({part.id for part in (*stored, *live)}) == 252
    assert all(before - 1000 < part.timestamp < time.time() * 1000 + 1000 for part in (*stored, *live))


async def test_chunks_that_are_too_large_to_be_told_are_read(api: Asking) -> None:
    reader = OfficialReader(api.gateway, READ)
    taking = asyncio.create_task(reader.take(4))
    await followed(api)
    large = ["x" * 200_000, "\U0001f600" * 50_000, '\u2028\x00"\\' * 20_000]
    await write(api, *large, "small")
    assert [part.chunk for part in await taking] == [*large, "small"]


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_where_to_begin(api: Asking, version: str) -> None:
    """After a position, which is a chunk's index; in v1 with a time before it, or without."""
    await write(api, *"abcdef")

    async def take(count: int, **headers: Any) -> list[Any]:
        return [part.chunk for part in await OfficialReader(api.gateway, READ, version=version, **headers).take(count)]

    assert await take(6) == list("abcdef")
    assert await take(6, last_event_id="-1") == list("abcdef")
    assert await take(2, last_event_id="3") == ["e", "f"]
    assert await take(2, last_event_id="1760000000123-3") == ["e", "f"]
    (part,) = await OfficialReader(api.gateway, READ, version=version, last_event_id="2").take(1)
    assert await take(2, last_event_id=part.position) == ["e", "f"]
    assert await take(1, x_trigger_stream_start="latest") == ["f"]
    assert await take(2, x_trigger_stream_start="latest", last_event_id="3") == ["e", "f"]


async def test_an_index_that_is_not_written_yet_is_waited_for(api: Asking) -> None:
    await write(api, 0, 1)
    reader = OfficialReader(api.gateway, READ, last_event_id="4")
    taking = asyncio.create_task(reader.take(2))
    await followed(api)
    await write(api, 2, 3)
    await write(api, 4, 5, 6)
    parts = await taking
    assert ([part.chunk for part in parts], positions(parts)) == ([5, 6], [5, 6])


async def test_from_the_latest_on(api: Asking) -> None:
    """On an empty stream that is all."""
    reader = OfficialReader(api.gateway, READ, x_trigger_stream_start="latest")
    taking = asyncio.create_task(reader.take(2))
    await followed(api)
    await write(api, 1, 2)
    assert [part.chunk for part in await taking] == [1, 2]


async def test_what_can_t_be_right_is_refused(api: Asking) -> None:
    """With statuses that the clients don't repeat, but for a run that nobody knows whether it will come."""
    for headers in ({"last-event-id": "x"}, {"last-event-id": "1-2-3"}, {"last-event-id": "-2"}):
        assert "Last-Event-ID" in (await api.ask("GET", READ, headers=headers, status=400))["error"]
    for text in ("0", "601", "-1", "1.5", "x", "", "9" * 10):
        assert "Timeout-Seconds" in (await api.ask("GET", READ, headers={"timeout-seconds": text}, status=400))["error"]
    await api.ask("GET", "/realtime/v1/streams/run_9/tokens", status=404)
    assert (await api.client.head(READ)).status_code == 200


async def test_who_may_see_the_run_may_read(api: Asking) -> None:
    """By the run, its task, a tag, its batch; and nobody else."""
    await api.ask("POST", f"/v1/runs/{RUN}/tags", {"tags": ["user:1"]})
    await write(api, 1)
    for scope in ("read:runs", f"read:runs:{RUN}", "read:tasks:export", "read:tags:user:1", "admin"):
        token = api.gateway.token([scope])
        assert [part.chunk for part in await OfficialReader(api.gateway, READ, token=token).take(1)] == [1]
    for scope in ("read:runs:run_2", "read:tags:user:2", "write:runs", "read", "read:inputStreams"):
        async with api.with_token([scope]) as other:
            await other.ask("GET", READ, status=403)
    assert (await api.client.get(READ, headers={"authorization": "Bearer x"})).status_code == 401


# The end.


async def test_a_run_that_has_ended_is_read_to_the_end(api: Asking) -> None:
    """Whether it had a stream or not, and by who has it all, too."""
    await write(api, *range(10))
    await say_status(api, "FAILED", error={"message": "no"})
    reader = OfficialReader(api.gateway, READ)
    assert await reader.all() == list(range(10))
    assert await OfficialReader(api.gateway, READ, last_event_id="9").all() == []
    assert await OfficialReader(api.gateway, "/realtime/v1/streams/run_1/never").all() == []
    assert reader.connections == 1


async def test_a_run_that_ended_long_ago_ends_at_once(api: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is under way any more."""
    monkeypatch.setattr(stream_reader, "GRACE_SECONDS", 0.5)
    await write(api, 1)
    await say_status(api, "COMPLETED")
    assert await OfficialReader(api.gateway, READ).all() == [1]
    took = []
    for _ in range(5):
        began = time.monotonic()
        assert await OfficialReader(api.gateway, READ).all() == [1]
        took.append(time.monotonic() - began)
    assert min(took) < 0.5


async def test_what_comes_soon_after_the_end_is_read(api: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last chunks may be under way."""
    monkeypatch.setattr(stream_reader, "GRACE_SECONDS", 60.0)
    reader = OfficialReader(api.gateway, READ)
    reading = asyncio.create_task(reader.take(1))
    await followed(api)
    await say_status(api, "COMPLETED")
    await write(api, "late")
    assert [part.chunk for part in await reading] == ["late"]
    reader.leave()


async def test_a_run_that_goes_on_after_all(api: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second attempt within the time: the reader is not sent away."""
    monkeypatch.setattr(stream_reader, "GRACE_SECONDS", 0.5)
    reader = OfficialReader(api.gateway, READ)
    reading = asyncio.create_task(reader.all())
    await followed(api)
    # In one go: the gateway, which is in this loop, hears of both before it can look at a clock.
    run = api.gateway.publisher.run(RUN)
    run.fail("no")
    run.start(attempt=2)
    await asyncio.sleep(0.8)  # longer than it would have had
    await write(api, "second")
    await say_status(api, "COMPLETED", attempt=2)
    assert await reading == ["second"]
    assert reader.connections == 1


async def test_silence_ends_only_who_would_not_wait(api: Asking) -> None:
    """Each chunk begins it anew; what is no chunk does not."""
    patient = OfficialReader(api.gateway, READ)
    waiting = asyncio.create_task(patient.all())
    reader = OfficialReader(api.gateway, READ, timeout_seconds="4")  # a slow machine may take two to write
    reading = asyncio.create_task(reader.all())
    await followed(api)
    await asyncio.sleep(0.5)
    wrote = time.monotonic()
    await write(api, 1)
    assert await reading == [1]
    assert time.monotonic() - wrote >= 4
    assert (reader.connections, waiting.done()) == (1, False)
    await say_status(api, "COMPLETED")
    assert await waiting == [1]


# What breaks.


async def test_a_gateway_that_stops_sends_nobody_to_the_end(api: Asking) -> None:
    """The connection breaks: the client comes back, and goes on where it was."""
    reader = OfficialReader(api.gateway, READ)
    reading = asyncio.create_task(reader.all())
    await followed(api)
    await write(api, 1, 2)
    await api.gateway.stop()
    api.gateway.publisher.run(RUN).stream("tokens").write(3)
    api.gateway.publisher.flush()
    await api.gateway.start()
    await say_status(api, "COMPLETED")
    assert await reading == [1, 2, 3]
    assert reader.connections >= 2


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_who_is_cut_off_behind_a_proxy_that_hides_it_notices(api: Asking, version: str) -> None:
    """A client of v2 is given what it can't read: some proxies end cleanly what broke. v1 has nothing of the kind."""
    reader = OfficialReader(api.gateway, READ, version=version)
    response = await reader.connect()
    await followed(api)
    stopping = asyncio.create_task(api.gateway.stop())
    pieces = list[bytes]()

    async def read() -> None:
        async for piece in response.body():
            pieces.append(piece)

    with pytest.raises(Broken):
        await read()
    said = [line for line in b"".join(pieces).split(b"\n") if line and not line.startswith(b":")]
    assert said == ([] if version == "v1" else [b"event: batch", b'data: {"records":[null]}'])
    reader.leave()
    await stopping
    await api.gateway.start()


async def test_an_upload_outlives_a_gateway(api: Asking) -> None:
    """It is told to come back, asks where it is, and goes on: with neither gap nor repetition."""
    writing = asyncio.create_task(OfficialWriter(api.gateway, WRITE).write(list(range(3000)), step=5))
    await OfficialReader(api.gateway, READ).take(10)
    await api.gateway.stop()
    await api.gateway.start()
    await writing
    await say_status(api, "COMPLETED")
    assert await OfficialReader(api.gateway, READ).all() == list(range(3000))


async def test_who_leaves_at_once_is_no_mistake(api: Asking, caplog: pytest.LogCaptureFixture) -> None:
    """A page that is rendered twice aborts its first request, wherever that is on its way."""
    for number in range(150):
        sent = await request(api.gateway, "GET", READ)
        await asyncio.sleep(number / 150 * 0.005)
        sent.cut()
    await api.ask("GET", "/v1/runs")
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


async def test_a_token_that_is_revoked_is_cut_off(api: Asking) -> None:
    """Within a second, in the middle of its stream; then it is told why."""
    token = api.gateway.token([f"read:runs:{RUN}"], jti="t1")
    reader = OfficialReader(api.gateway, READ, token=token)
    response = await reader.connect()
    await followed(api)
    await api.ask("POST", "/v1/tokens/revoke", {"jti": "t1"})
    assert not await gone(response)
    assert (await reader.connect()).status == 401
    reader.leave()


async def test_a_token_that_ends_is_not_missed_in_the_middle(api: Asking) -> None:
    """These clients don't come back with another one; who comes with it is refused."""
    ends = soon()
    token = api.gateway.token([f"read:runs:{RUN}"], expires=ends)
    reader = OfficialReader(api.gateway, READ, token=token)
    reading = asyncio.create_task(reader.take(1))
    await followed(api)
    await until_past(ends + 0.5)
    await write(api, "after")
    assert [part.chunk for part in await reading] == ["after"]
    assert (await reader.connect()).status == 401
    reader.leave()


async def test_there_is_an_end_to_that(redis_server: RedisServer, environment: EnvironmentId) -> None:
    """As the operator says."""
    async with serving(redis_server, environment, shape_handle_grace_seconds=0.0) as api:
        token = api.gateway.token([f"read:runs:{RUN}"], expires=soon())
        reader = OfficialReader(api.gateway, READ, token=token)
        assert not await gone(await reader.connect())


async def test_redis_that_restarts_costs_nothing(own_redis: RedisServer, environment: EnvironmentId) -> None:
    """With all its data: the reader stays where it is."""
    async with serving(own_redis, environment) as api:
        reader = OfficialReader(api.gateway, READ)
        reading = asyncio.create_task(reader.all())
        await followed(api)
        await write(api, 1, 2)
        own_redis.stop()
        own_redis.start()
        await write(api, 3)
        await say_status(api, "COMPLETED")
        assert await reading == [1, 2, 3]
        assert reader.connections == 1


async def test_what_redis_lost_is_written_and_read_again_once(
    own_redis: RedisServer, environment: EnvironmentId
) -> None:
    """The writer sends what is missing, with the same indexes, and whoever has it is not told again."""
    async with serving(own_redis, environment) as api:
        writer = OfficialWriter(api.gateway, WRITE)
        reader = OfficialReader(api.gateway, READ)
        taken: list[Any] = []

        async def read() -> None:
            async for part in reader.parts():
                taken.append(part)

        reading = asyncio.create_task(read())
        await followed(api)
        await writer.write(list(range(5)))
        saved = save(own_redis)
        await writer.write(list(range(8)))
        async with asyncio.timeout(10):
            while len(taken) < 8:
                await asyncio.sleep(0.01)
        own_redis.stop(kill=True)
        restore(own_redis, saved)
        own_redis.start()
        assert await writer.probe() == 4
        await writer.write(list(range(12)))
        await say_status(api, "COMPLETED")
        async with asyncio.timeout(10):
            await reading
        assert [part.chunk for part in taken] == list(range(12))
        assert positions(taken) == list(range(12))


def save(redis: RedisServer) -> dict[str, bytes]:
    """What a server has on its disk now."""
    files = [file for file in redis.directory.rglob("*") if file.is_file()]
    return {str(file.relative_to(redis.directory)): file.read_bytes() for file in files}


def restore(redis: RedisServer, saved: dict[str, bytes]) -> None:
    """The disk of a stopped server as it was."""
    redis.lose_data()
    for name, data in saved.items():
        file = redis.directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


async def test_a_stream_that_lost_its_oldest_begins_where_it_begins(
    redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """By its positions the reader can see what is missing; an old position is no error."""
    async with serving(redis_server, environment, limits=Limits(stream_bytes=10 * 42)) as api:
        await write(api, *range(10, 40))
        for position in (None, "3", "19"):
            late = OfficialReader(api.gateway, READ)
            late.position = position
            parts = await late.take(5)
            assert positions(parts) == [part.chunk - 10 for part in parts]
            assert positions(parts)[0] >= 20
        assert positions(await OfficialReader(api.gateway, READ, last_event_id="27").take(2)) == [28, 29]


async def test_who_is_overtaken_goes_on_with_what_is_left(
    redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """A reader that takes nothing holds nobody up, is kept little for, and then goes on, with the right indexes."""
    options = {"unsent_limit_bytes": 10_000, "limits": Limits(stream_bytes=3_000_000)}
    async with serving(redis_server, environment, **options) as api:
        reader = OfficialReader(api.gateway, READ)
        parts = reader.parts()
        await write(api, "first")
        assert (await anext(parts)).chunk == "first"
        with Publisher(redis_server.url, environment=environment, limits=Limits(stream_bytes=3_000_000)) as publisher:
            stream = publisher.run(RUN).stream("tokens")
            for _ in range(20):
                stream.write_all(["x" * 50_000] * 20)
                publisher.flush()
        await write(api, "last")
        seen = [0]
        async with asyncio.timeout(20):
            async for part in parts:
                seen.append(int(part.position))
                if part.chunk == "last":
                    break
        reader.leave()
        await parts.aclose()
        assert seen == sorted(set(seen))
        assert seen[-1] == 401
        assert len(seen) < 400
        assert reader.connections == 1


async def test_many_readers_are_told_the_same_bytes(api: Asking) -> None:
    """They are one group of the hub: each chunk is spelled once for all of them."""
    readers = [OfficialReader(api.gateway, READ) for _ in range(100)]
    taking = [asyncio.create_task(reader.take(3)) for reader in readers]
    await followed(api)
    await write(api, 1)
    await write(api, 2, 3)
    for parts in await asyncio.gather(*taking):
        assert [part.chunk for part in parts] == [1, 2, 3]
    groups = [group for group in api.gateway._groups() if str(group.view.feed) == FEED]
    assert len({group.view for group in groups}) <= 1


async def test_both_kinds_of_readers_beside_each_other(api: Asking) -> None:
    """Ours and theirs, of both versions, on one stream."""
    theirs = [OfficialReader(api.gateway, READ, version=version) for version in ("v1", "v2")]
    taking = [asyncio.create_task(reader.all()) for reader in theirs]
    await followed(api)
    await write(api, {"a": 1}, "b")
    await say_status(api, "COMPLETED")
    assert [await task for task in taking] == [[{"a": 1}, "b"]] * 2
    answer = await api.client.get(f"/v1/runs/{RUN}/streams/tokens")
    told = [json.loads(line[6:]) for line in answer.text.split("\n") if line.startswith("data: ")]
    assert [message["chunk"] for message in told if message["type"] == "chunk"] == [{"a": 1}, "b"]


async def test_a_broken_connection_is_no_end(api: Asking) -> None:
    """What the helpers of these tests rely on: the two can be told apart."""
    reader = OfficialReader(api.gateway, READ)
    response = await reader.connect()
    response.reader.feed_eof()
    with pytest.raises(Broken):
        async for _ in response.body():
            pass
    reader.leave()
