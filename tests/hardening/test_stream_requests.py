"""Streams as the official clients read and write them, asked for with anything, and written by whoever never stops."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from typing import TYPE_CHECKING, Final

import psutil
import pytest

from tests.hardening.peers import HttpPeer, eventually, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.hardening.gateways import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

NASTY: Final = [
    *("0", "-1", "-2", "1.5", "1e3", "+1", "0x1", "99999999999999", "9" * 15, "9" * 16, "9" * 400, "1-0", "1-1-1", "-"),
    *(
        "9" * 15 + "-" + "9" * 15,
        "inf",
        "NaN",
        "null",
        "true",
        "latest",
        "x",
        "%00",
        "\xff",
        "\xb2",
        "x" * 3000,
        "1,2",
        "*",
    ),
]
MEGABYTE: Final = 1024 * 1024


def secret(gateway: Gateway) -> str:
    return f"Authorization: Bearer {gateway.keys.current.secret}"


@contextlib.asynccontextmanager
async def visitor(gateway: Gateway) -> AsyncIterator[HttpPeer]:
    """Somebody whose connection ends with the block, and whose words nobody keeps."""
    peer = await HttpPeer.connect(gateway.port, bytearray())
    try:
        yield peer
    finally:
        await peer.close()


async def answer(
    gateway: Gateway, where: str | bytes, *headers: str, method: str = "GET", body: bytes = b"", chunked: bool = False
) -> int:
    """The status; of a body that goes on nothing else is read. Refusals are JSON that says why."""
    async with visitor(gateway) as peer:
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
        piece = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        data = piece + b"0\r\n\r\n" if chunked else body
        peer.send(request(where, secret(gateway), length, *headers, method=method) + data)
        status, found = await peer.head()
        if "content-length" in found and method != "HEAD":
            text = await peer.take(int(found["content-length"]))
            if status >= 400 and found.get("connection") != "close":
                assert isinstance(json.loads(text)["error"], str)
        assert "x-injected" not in found
        return status


def head_lines(name: str) -> list[str]:
    return [f"{name}: {value}" for value in NASTY]


READERS: Final = ("/realtime/v1/streams/run_1/tokens", "/realtime/v1/streams/run_1/input/approval")


@pytest.mark.parametrize("header", ["Last-Event-ID", "Timeout-Seconds", "X-Trigger-Stream-Start", "Accept"])
@pytest.mark.parametrize("path", READERS)
async def test_a_reader_may_ask_for_any_place(gateway: Gateway, path: str, header: str) -> None:
    """It is served, or told that this is no place; each for itself, and together with others."""
    gateway.publish("run_1")
    more = ["Last-Event-ID: 0", "Timeout-Seconds: 1", "X-Trigger-Realtime-Streams-Version: v1", "X-Peek-Settled: 1"]

    found = await asyncio.gather(
        *(answer(gateway, path, line) for line in head_lines(header)),
        *(answer(gateway, path, line, *more) for line in head_lines(header)),
        *(answer(gateway, path, line, line) for line in head_lines(header)),
    )

    assert set(found) <= {200, 400}


async def test_a_reader_that_is_ahead_of_the_stream_waits_and_is_not_told_what_was_before(gateway: Gateway) -> None:
    """However far ahead; it is no loop, and when the run ends it ends."""
    gateway.publish("run_ahead")
    path = "/realtime/v1/streams/run_ahead/self/tokens"
    assert await answer(gateway, path, method="POST", body=b"0\n1\n2\n") == 200
    readers = []
    for place in ("2", "3", "1000", "9" * 15):
        peer = await gateway.http()
        peer.send(request("/realtime/v1/streams/run_ahead/tokens", secret(gateway), f"Last-Event-ID: {place}"))
        assert (await peer.head())[0] == 200
        readers.append(peer)

    gateway.publish("run_ahead", "COMPLETED")
    told = []
    for peer in readers:
        body = b""
        while chunk := await peer.chunk():
            body += chunk
        told.append(body.count(b"seq_num"))

    assert told[0] == 0
    assert all(count <= 3 for count in told)  # at most what there was is told again; never without end


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "HEAD"])
async def test_every_byte_in_a_key_is_a_key_or_a_refusal(gateway: Gateway, method: str) -> None:
    """Escaped once or twice, and paths that lead elsewhere."""
    gateway.publish("run_keys")
    keys = [f"k%{byte:02x}" for byte in range(256)] if method in ("GET", "HEAD") else [f"k%{b:02x}" for b in range(40)]
    keys += [f"%25{byte:02x}" for byte in range(0, 256, 31)] + ["..", "%2e%2e", "a%2fb", "x" * 255, "x" * 256]
    keys += ["x" * 4000, "$trigger.input:approval", "%24trigger.input%3Aapproval", "{x}", "a,b", "%ff%fe", "%", "%zz"]
    middle = "" if method == "GET" else "self/"

    found = []
    for start in range(0, len(keys), 25):
        some = [f"/realtime/v1/streams/run_keys/{middle}{key}" for key in keys[start : start + 25]]
        found += await asyncio.gather(*(answer(gateway, where, method=method) for where in some))

    assert set(found) <= {200, 202, 400, 404, 405, 414, 422, 431}


@pytest.mark.parametrize("target", ["self", "parent", "root", "input", "", "..", "SELF", "%73elf", "x" * 300, "run_2"])
async def test_any_target_is_one_of_the_run_s_own_or_a_refusal(gateway: Gateway, target: str) -> None:
    """Nobody writes to a run by naming it as a target."""
    gateway.publish("run_1")
    where = f"/realtime/v1/streams/run_1/{target}/tokens"

    for method, body in (("PUT", b""), ("HEAD", b""), ("POST", b'{"data": 1}\n')):
        assert await answer(gateway, where, method=method, body=body) in (200, 202, 400, 404, 405)
    with gateway.redis.client() as client:
        assert not list(client.scan_iter(match=f"runcast:{{{gateway.environment}}}:stream*:run_2,*"))


@pytest.mark.parametrize("header", ["X-Resume-From-Chunk", "X-Client-Id", "X-Stream-Version", "X-Part-Id"])
async def test_a_writer_may_call_itself_and_its_place_anything(gateway: Gateway, header: str) -> None:
    """It is stored, or refused; what was refused is not stored, and a place far ahead leaves no gap."""
    gateway.publish("run_writers")
    path = "/realtime/v1/streams/run_writers/self/tokens"

    found = []
    for line in (*head_lines(header), f"{header}:", f"{header}: \x01"):
        found.append(await answer(gateway, path, line, method="POST", body=b'"x"\n'))
        found.append(await answer(gateway, path, line, method="HEAD"))
        found.append(await answer(gateway, path + "/append", line, method="POST", body=b"x"))
        # A place beyond what the writer has stored: asked to try again, after it has looked where it is.
        assert found[-3] in (200, 400, 503)

    assert set(found[1::3]) | set(found[2::3]) <= {200, 400}


BODIES: Final = {
    "nothing": b"",
    "no JSON": b"{\n]\n\x00\n\xff\xfe\n",
    "empty lines": b"\n" * 5000,
    "carriage returns": b"1\r\n2\r\r\r\n",
    "deep": b"[" * 50_000 + b"\n",
    "deep and right": b"[" * 5000 + b"]" * 5000 + b"\n",
    "numbers": b"1e999\n" + b"9" * 5000 + b"\nNaN\n-0\n1.5e-400\n",
    "halves of surrogate pairs": b'"\\ud800"\n"\\udc00\\ud800"\n',
    "events": b'"x\\n\\ndata: y"\ndata: injected\n\n: z\nid: 99\n',
    "many": b"1\n" * 20_000,
    "unicode line ends": "a\u2028b\u2029c\x85d\x0be\x0cf\n".encode(),
}


async def test_any_line_is_a_chunk_and_breaks_no_reader(gateway: Gateway) -> None:
    """What is no JSON is text. Readers of both versions get whole events, one chunk for each line that was written."""
    versions = ("v1", "v2")
    for run, body in zip(map("run_body_{}".format, range(len(BODIES))), BODIES.values(), strict=True):
        gateway.publish(run)
        where = f"/realtime/v1/streams/{run}/self/tokens"
        assert await answer(gateway, where, method="POST", body=body, chunked=True) == 200
        gateway.publish(run, "COMPLETED")

    found = await asyncio.gather(
        *(_count(gateway, f"run_body_{number}", version) for number in range(len(BODIES)) for version in versions)
    )

    wanted = {(name, version): body.count(b"\n") for name, body in BODIES.items() for version in versions}
    assert dict(zip(wanted, found, strict=True)) == wanted


async def _count(gateway: Gateway, run: str, version: str) -> int:
    """How many chunks a stream has; each is within an event that is whole."""
    async with visitor(gateway) as peer:
        asked = f"X-Trigger-Realtime-Streams-Version: {version}"
        peer.send(request(f"/realtime/v1/streams/{run}/tokens", secret(gateway), asked))
        assert (await peer.head())[0] == 200
        told = b""
        while chunk := await peer.chunk():
            told += chunk
    blocks = [block for block in told.decode().split("\n\n") if block and not block.startswith(":")]
    fields = [dict(line.partition(": ")[::2] for line in block.split("\n")) for block in blocks]
    assert all(set(block) <= {"event", "id", "data", "retry"} for block in fields)
    datas = [json.loads(block["data"]) for block in fields if "data" in block]
    return len(datas) if version == "v1" else sum(len(data["records"]) for data in datas)


async def test_a_line_without_end_is_refused_while_it_is_small(gateway: Gateway) -> None:
    """There is a limit to a chunk, and no more than that is kept of one that goes on for ever."""
    gateway.publish("run_endless")
    process = psutil.Process(os.getpid())
    before = process.memory_info().rss
    async with visitor(gateway) as peer:
        path = "/realtime/v1/streams/run_endless/self/tokens"
        peer.send(request(path, secret(gateway), "Transfer-Encoding: chunked", method="POST"))
        piece, sent = b"%x\r\n%b\r\n" % (64 * 1024, b"x" * 64 * 1024), 0
        answered = asyncio.ensure_future(peer.head())
        while not answered.done():
            peer.send(piece)
            sent += len(piece)
            assert sent < 64 * MEGABYTE
            await asyncio.sleep(0.001)
        assert (await answered)[0] == 413

    assert process.memory_info().rss - before < 80 * MEGABYTE
    assert await answer(gateway, path, method="HEAD") == 200


async def test_an_upload_that_never_ends_and_says_nothing_costs_nobody_else_anything(gateway: Gateway) -> None:
    """A hundred of them wait; others write and read; when they are cut nothing is left."""
    gateway.publish("run_silent")
    path = "/realtime/v1/streams/run_silent/self/tokens"
    peers = [await gateway.http() for _ in range(100)]
    for peer in peers:
        peer.send(request(path, secret(gateway), "Transfer-Encoding: chunked", method="POST") + b'3\r\n"x"\r\n')
        await peer.sent()

    assert await answer(gateway, path, method="POST", body=b"1\n") == 200

    for peer in peers:
        peer.reset()
    await eventually(lambda: not gateway.server.server_state.tasks, what="nobody is waited for")


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(gateway: Gateway) -> None:
    """By what it says of its length, and by what comes when it says nothing."""
    gateway.publish("run_1")
    for path in ("self/tokens/append", "input/approval"):
        where = f"/realtime/v1/streams/run_1/{path}"
        async with visitor(gateway) as peer:
            peer.send(request(where, secret(gateway), f"Content-Length: {3 * MEGABYTE}", method="POST"))
            assert (await peer.head())[0] == 413
        assert await answer(gateway, where, method="POST", body=b"x" * (3 * MEGABYTE), chunked=True) == 413


INPUTS: Final = [
    *(
        b"",
        b"null",
        b"[]",
        b"1",
        b'{"data"',
        b'{"data": NaN}',
        b'{"data": 1e999}',
        b'{"data": "\\ud800"}',
        b"\xff\xfe{}",
    ),
    *(b'{"data": 1, "data": 2}', b'{"data": ' + b"[" * 50_000, b'{"data": ' + b"[" * 900 + b"]" * 900 + b"}"),
    *(b'{"__proto__": {"data": 1}}', b'{"data": ' + b"9" * 5000 + b"}", b'{"data": "\xff"}', b"{}", b'{"data": -0.0}'),
]


@pytest.mark.parametrize("number", range(len(INPUTS)))
async def test_any_input_is_a_value_or_a_refusal(gateway: Gateway, number: int) -> None:
    """Whoever reads gets JSON."""
    gateway.publish("run_inputs")
    where = "/realtime/v1/streams/run_inputs/input/approval"

    assert await answer(gateway, where, method="POST", body=INPUTS[number]) in (200, 400)


async def test_streams_of_another_environment_are_not_there(gateway: Gateway) -> None:
    """Whatever is asked of them, with its key or the mightiest token, nothing is told and nothing stored."""
    gateway.publish("run_theirs")
    assert await answer(gateway, "/realtime/v1/streams/run_theirs/self/tokens", method="POST", body=b'"mine"\n') == 200
    for bearer in (gateway.others.current.secret, gateway.token(["admin"], keys=gateway.others)):
        for method, path in (
            ("GET", "tokens"),
            ("GET", "input/approval"),
            ("POST", "input/approval"),
            ("PUT", "self/tokens"),
            ("POST", "self/tokens"),
            ("POST", "self/tokens/append"),
            ("HEAD", "self/tokens"),
        ):
            async with visitor(gateway) as peer:
                where, body = f"/realtime/v1/streams/run_theirs/{path}", b'{"data": 1}' if method == "POST" else b""
                lines = (f"Authorization: Bearer {bearer}", f"Content-Length: {len(body)}", "Last-Event-ID: -1")
                peer.send(request(where, *lines, method=method) + body)
                status, _ = await peer.head()
                assert status in (401, 403, 404), (method, path, status)


async def test_hundreds_of_readers_that_leave_at_once_leave_nothing(gateway: Gateway) -> None:
    """Each at another place, all cut in the middle of what they are told."""
    gateway.publish("run_crowd")
    path = "/realtime/v1/streams/run_crowd/self/tokens"
    assert await answer(gateway, path, method="POST", body=b'"%b"\n' % (b"x" * 1000) * 500) == 200
    peers = [await gateway.http() for _ in range(200)]
    for number, peer in enumerate(peers):
        place = f"Last-Event-ID: {number * 3}"
        peer.send(request("/realtime/v1/streams/run_crowd/tokens", secret(gateway), place))
    for peer in peers:
        await peer.take_until(b"\r\n\r\n")
        peer.reset()

    await eventually(lambda: not gateway.server.server_state.connections, what="all have gone")
