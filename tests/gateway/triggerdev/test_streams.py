"""Writing to a run's streams as the official clients do, on a gateway with a real Redis behind it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.gateway.triggerdev.stream_clients import (
    READ,
    RUN,
    WRITE,
    OfficialReader,
    OfficialWriter,
    finished,
    say_status,
    send,
    serving,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.feeds import EnvironmentId
    from tests.gateway.api.asking import Asking
    from tests.redis_server import RedisServer


@pytest.fixture
async def api(redis_server: RedisServer, environment: EnvironmentId) -> AsyncIterator[Asking]:
    async with serving(redis_server, environment) as asking:
        yield asking


async def ours(api: Asking, key: str = "tokens") -> list[Any]:
    """The chunks of a stream, by our own interface."""
    page = await api.ask("GET", f"/v1/runs/{RUN}/streams/{key}", headers={"accept": "application/json"})
    return [chunk["chunk"] for chunk in page["chunks"]]


async def streams(api: Asking, run: str = RUN) -> list[str]:
    found: list[str] = (await api.ask("GET", f"/v1/runs/{run}")).get("realtimeStreams") or []
    return found


async def stored(api: Asking, count: int, key: str = "tokens") -> None:
    """Return when there are *count* chunks."""
    async with asyncio.timeout(10):
        while len(await ours(api, key)) < count:
            await asyncio.sleep(0.01)


async def test_the_whole_way(api: Asking) -> None:
    """Create, upload, probe, read; then the run ends, and so do its streams."""
    created = await api.ask("PUT", WRITE, status=202, headers={"x-trigger-realtime-streams-version": "v2"})
    assert created == {"version": "v1"}
    assert await streams(api) == ["tokens"]
    values = [{"n": number} for number in range(300)]
    reader, writer = OfficialReader(api.gateway, READ), OfficialWriter(api.gateway, WRITE)
    reading = asyncio.create_task(reader.all())
    assert await writer.probe() == -1
    await writer.write(values)
    assert await writer.probe() == 299
    await say_status(api, "COMPLETED")
    assert await reading == values
    assert reader.connections == 1
    assert await OfficialReader(api.gateway, READ, version="v1").all() == values


async def test_a_stream_is_named_once(api: Asking) -> None:
    """However often it is created, and whether it is created first or written to."""
    for _ in range(2):
        await api.ask("PUT", WRITE, status=202)
    await OfficialWriter(api.gateway, "/realtime/v1/streams/run_1/self/other").write([1])
    await api.ask("POST", "/realtime/v1/streams/run_1/self/third/append", content=b"x")
    assert await streams(api) == ["tokens", "other", "third"]


async def test_parents_and_roots(api: Asking) -> None:
    """What a child writes for its parent, or the first of all."""
    await api.create("run_2", status="EXECUTING", parentRunId="run_1", rootRunId="run_1")
    await api.create("run_3", status="EXECUTING", parentRunId="run_2", rootRunId="run_1")
    for target, key in (("self", "own"), ("parent", "above"), ("root", "top")):
        await api.ask("PUT", f"/realtime/v1/streams/run_3/{target}/{key}", status=202)
    assert [await streams(api, run) for run in ("run_1", "run_2", "run_3")] == [["top"], ["above"], ["own"]]
    await api.ask("PUT", "/realtime/v1/streams/run_1/root/tokens", status=202)
    refused = await api.ask("PUT", "/realtime/v1/streams/run_1/parent/tokens", status=404)
    assert refused["error"] == "Target not found"
    await api.ask("PUT", "/realtime/v1/streams/run_1/brother/tokens", status=400)


async def test_without_a_run_there_is_no_stream(api: Asking) -> None:
    for method, path in (("PUT", ""), ("POST", ""), ("HEAD", ""), ("POST", "/append")):
        answer = await api.client.request(method, f"/realtime/v1/streams/run_9/self/tokens{path}")
        assert answer.status_code == 404
        assert method == "HEAD" or answer.json()["error"] == "Run not found"


async def test_only_the_secret_key_writes(api: Asking) -> None:
    """A public token is as good as an unknown key there, whatever it says."""
    async with api.with_token(["write:runs", "write:inputStreams", "admin"]) as page:
        for method, path in (("PUT", WRITE), ("POST", WRITE), ("POST", f"{WRITE}/append")):
            await page.ask(method, path, status=401)


async def test_nothing_begins_in_a_run_that_has_ended(api: Asking) -> None:
    """But what was under way when it ended is stored."""
    writer = OfficialWriter(api.gateway, WRITE)
    await writer.write([1])
    await say_status(api, "COMPLETED")
    assert "has ended" in (await api.ask("PUT", WRITE, status=400))["error"]
    assert "has ended" in (await api.ask("POST", f"{WRITE}/append", content=b"x", status=400))["error"]
    await writer.write([1, 2])
    assert await ours(api) == [1, 2]


async def test_a_run_has_so_many_streams(api: Asking) -> None:
    for number in range(100):
        await api.ask("PUT", f"/realtime/v1/streams/run_1/self/s{number}", status=202)
    await api.ask("PUT", "/realtime/v1/streams/run_1/self/s7", status=202)
    for method, path, options in (("PUT", "", {}), ("POST", "", {"content": b"1\n"}), ("POST", "/append", {})):
        await api.ask(method, f"/realtime/v1/streams/run_1/self/more{path}", status=422, **options)


# Lines.


async def test_a_line_is_there_when_its_newline_came(api: Asking) -> None:
    """However it is cut up on the way; what is not ended is shown to nobody."""
    reader = OfficialReader(api.gateway, READ)
    parts = reader.parts()
    writing = await OfficialWriter(api.gateway, WRITE).begin()
    async with asyncio.timeout(10):
        send(writing, b'{"n":1}\n{"n"')
        assert (await anext(parts)).chunk == {"n": 1}
        send(writing, b":2")
        send(writing, b"}\n3\n4")
        assert [(await anext(parts)).chunk for _ in range(2)] == [{"n": 2}, 3]
        assert await ours(api) == [{"n": 1}, {"n": 2}, 3]
        # A clean end is the end of the last line, too.
        assert (await finished(writing)).status == 200
        assert (await anext(parts)).chunk == 4
    await parts.aclose()
    reader.leave()


async def test_what_a_broken_request_had_not_ended_is_sent_again(api: Asking) -> None:
    """The writer asks how many lines are there, and goes on behind them; what it sends twice is there once."""
    writer = OfficialWriter(api.gateway, WRITE)
    writing = await writer.begin()
    send(writing, b'"one"\n"two"\n"thr')
    await stored(api, 2)
    writing.cut()
    assert await writer.probe() == 1
    writing = await writer.begin(first=1)
    send(writing, b'"two"\n"three"\n')
    assert (await finished(writing)).status == 200
    assert await ours(api) == ["one", "two", "three"]
    assert await writer.probe() == 2


async def test_a_writer_who_would_leave_lines_out_is_to_ask_first(api: Asking) -> None:
    """What was lost here is still with the client: told to come back, it asks where it is, and sends all."""
    writer = OfficialWriter(api.gateway, WRITE)
    writing = await writer.begin(first=3)
    send(writing, b"3\n")
    answer = await finished(writing)
    assert answer.status == 503
    assert await writer.probe() == -1
    await writer.write([0, 1, 2, 3])
    assert await ours(api) == [0, 1, 2, 3]


async def test_two_writers_never_mix_within_a_line(api: Asking) -> None:
    """Each keeps its own order."""
    one, two = (OfficialWriter(api.gateway, WRITE, client=name) for name in ("00000001", "00000002"))
    await asyncio.gather(
        one.write([{"one": number} for number in range(200)], step=7),
        two.write([{"two": number} for number in range(200)], step=11),
    )
    chunks = await ours(api)
    for name in ("one", "two"):
        assert [chunk[name] for chunk in chunks if name in chunk] == list(range(200))
    assert len(chunks) == 400


async def test_every_line_is_a_chunk(api: Asking) -> None:
    """The writer counts lines: so what is not JSON is text, and an empty line is the empty text."""
    lines = [b'{"a": 1}', b"", b"undefined", b"NaN", b" [1,\t2] ", b'"\\ud83d"', b"\xff", b"1e999", b"[" * 5000, b"7"]
    writing = await OfficialWriter(api.gateway, WRITE).begin()
    send(writing, b"\n".join(lines[:5]) + b"\r\n" + b"\n".join(lines[5:]) + b"\n")
    assert (await finished(writing)).status == 200
    expected: list[Any] = [{"a": 1}, "", "undefined", "NaN", [1, 2], "\ud83d", "\ufffd", "1e999", "[" * 5000, 7]
    assert [part.chunk for part in await OfficialReader(api.gateway, READ).take(10)] == expected
    assert [part.chunk for part in await OfficialReader(api.gateway, READ, version="v1").take(10)] == expected
    assert await OfficialWriter(api.gateway, WRITE).probe() == 9


async def test_where_a_writer_goes_on_is_a_number(api: Asking) -> None:
    for first in ("-1", "1.5", "x", "1e3", "", "9" * 16):
        answer = await api.client.request("POST", WRITE, content=b"1\n", headers={"x-resume-from-chunk": first})
        assert answer.status_code == 400
        assert "X-Resume-From-Chunk" in answer.json()["error"]


async def test_who_does_not_say_who_it_is_always_writes_something_new(api: Asking) -> None:
    """Unless it says where it goes on: then it is one and the same somebody."""
    for _ in range(2):
        await api.ask("POST", WRITE, content=b"1\n2\n")
    assert await ours(api) == [1, 2, 1, 2]
    for _ in range(2):
        await api.ask("POST", WRITE, content=b"3\n", headers={"x-resume-from-chunk": "0"})
    assert await ours(api) == [1, 2, 1, 2, 3]
    assert (await api.client.request("HEAD", WRITE)).headers["x-last-chunk-index"] == "0"


async def test_a_name_of_a_writer_may_be_anything(api: Asking) -> None:
    for client in ("a;b,c d", "ü" * 10, "x" * 500):
        writer = OfficialWriter(api.gateway, WRITE, client=client)
        await writer.write([client])
        assert await writer.probe() == 0
    assert len(await ours(api)) == 3


async def test_a_line_that_is_too_large_ends_the_upload(api: Asking) -> None:
    """With what came before it stored, and an answer that is not tried again."""
    writing = await OfficialWriter(api.gateway, WRITE).begin()
    send(writing, b'"first"\n' + b"1" * (1024 * 1024 + 1) + b"\n")
    assert (await finished(writing)).status == 413
    assert await ours(api) == ["first"]


# Parts.


async def test_a_part_is_text(api: Asking) -> None:
    """Whatever it looks like: the clients get a string, never what it may mean."""
    bodies = ['{"a":1}', "", "7", "line\nline", "\U0001f600", '"']
    for body in bodies:
        assert await api.ask("POST", f"{WRITE}/append", content=body.encode()) == {"ok": True}
    assert [part.chunk for part in await OfficialReader(api.gateway, READ).take(6)] == bodies
    assert await ours(api) == bodies
    await api.ask("POST", f"{WRITE}/append", content=b"x" * (512 * 1024))
    await api.ask("POST", f"{WRITE}/append", content=b"x" * (512 * 1024 + 1), status=413)


@pytest.mark.parametrize("header", ["x-part-id", "x-trigger-request-idempotency-key"])
async def test_a_part_that_comes_again_is_there_once(api: Asking, header: str) -> None:
    """Also when the run has ended meanwhile; and in another stream it is another one."""
    named = {header: "part 1"}
    for body in (b"first", b"again"):
        assert await api.ask("POST", f"{WRITE}/append", content=body, headers=named) == {"ok": True}
    await api.ask("POST", "/realtime/v1/streams/run_1/self/other/append", content=b"other", headers=named)
    assert (await ours(api), await ours(api, "other")) == (["first"], ["other"])
    await say_status(api, "COMPLETED")
    assert await api.ask("POST", f"{WRITE}/append", content=b"late", headers=named) == {"ok": True}
    await api.ask("POST", f"{WRITE}/append", content=b"new", headers={header: "part 2"}, status=400)
    assert await ours(api) == ["first"]


async def test_parts_don_t_make_a_stream_forget_who_uploads(api: Asking) -> None:
    """A hundred of them while an upload is silent."""
    writer = OfficialWriter(api.gateway, WRITE)
    await writer.write([0])
    for number in range(100):
        await api.ask("POST", f"{WRITE}/append", content=b"x", headers={"x-part-id": str(number)})
    assert await writer.probe() == 0
    await writer.write([0, 1])
    assert [chunk for chunk in await ours(api) if chunk != "x"] == [0, 1]


# Names, and others who write and read.


async def test_keys_are_decoded_once(api: Asking) -> None:
    """They come as the client's `fetch` spells them, or encoded with care; the row says them as they are."""
    keys = ["a b", "a:b", "ü", "a/b", "a%2Fb", "input", "a?b#c", "\U0001f600"]
    for key in keys:
        path = quote(key, safe="")
        await api.ask("PUT", f"/realtime/v1/streams/run_1/self/{path}", status=202)
        await api.ask("POST", f"/realtime/v1/streams/run_1/self/{path}", content=b'"%s"\n' % key.encode())
        (part,) = await OfficialReader(api.gateway, f"/realtime/v1/streams/run_1/{path}").take(1)
        assert part.chunk == key
    assert await streams(api) == keys


async def test_keys_that_can_t_be(api: Asking) -> None:
    """The text says why."""
    for key in ("a,b", 'a"b', "a%00b", "x" * 256, "%ff"):
        answer = await api.client.request("PUT", f"/realtime/v1/streams/run_1/self/{key}")
        assert answer.status_code == 400
        assert answer.json()["error"]


async def test_jobs_in_python_and_the_official_clients_write_to_one_stream(api: Asking) -> None:
    """And both kinds of readers see the same."""
    run = api.gateway.publisher.run(RUN)
    run.stream("tokens").write({"from": "python"})
    api.gateway.publisher.flush()
    await OfficialWriter(api.gateway, WRITE).write([{"from": "javascript"}])
    run.stream("tokens").write_all(["again", 2])
    api.gateway.publisher.flush()
    expected = [{"from": "python"}, {"from": "javascript"}, "again", 2]
    assert await ours(api) == expected
    parts = await OfficialReader(api.gateway, READ).take(4)
    assert [(part.chunk, part.position) for part in parts] == [(e, str(i)) for i, e in enumerate(expected)]


async def test_an_upload_that_redis_does_not_take_is_tried_again(
    own_redis: RedisServer, environment: EnvironmentId
) -> None:
    """As long as it does not answer, the client is told to come back; then nothing is missing, and nothing twice."""
    async with serving(own_redis, environment) as api:
        writer = OfficialWriter(api.gateway, WRITE)
        writing = await writer.begin()
        send(writing, b"0\n1\n")
        await stored(api, 2)
        own_redis.stop()
        send(writing, b"2\n")
        assert (await finished(writing)).status == 503
        assert (await api.client.head(WRITE, headers={"x-client-id": "c0ffee00"})).status_code == 503
        own_redis.start()
        await writer.write([0, 1, 2, 3])
        assert await ours(api) == [0, 1, 2, 3]
