"""Streams that are written line by line: for as long as the writer may, and at no cost for others."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.endpoint import BODIES
from gateway.api.uploads import _Splitter
from tests.gateway.api.asking import Asking
from tests.gateway.serving import ServedGateway
from tests.soon import soon

if TYPE_CHECKING:
    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer

STREAM = "/v1/runs/run_1/streams/llm"
PATIENCE_SECONDS = 20.0


class Upload:
    """A body that has no end yet, and its answer, which may come before that."""

    def __init__(self, api: Asking, *, writer: str = "", first: int = 0) -> None:
        self._api = api
        self._target = f"{STREAM}?writer={writer}&first={first}" if writer else STREAM

    async def __aenter__(self) -> Upload:
        address = httpx2.URL(self._api.gateway.url)
        self._reader, self._writer = await asyncio.open_connection(address.host, address.port)
        head = [
            f"POST {self._target} HTTP/1.1",
            *("Host: x", f"Authorization: Bearer {self._api.credential}"),
            *("Content-Type: application/x-ndjson", "Transfer-Encoding: chunked"),
        ]
        self._writer.write("\r\n".join([*head, "", ""]).encode())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()

    async def send(self, data: bytes) -> None:
        self._writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await self._writer.drain()

    def end(self) -> None:
        self._writer.write(b"0\r\n\r\n")

    async def answer(self) -> tuple[int, dict[str, Any]]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().splitlines() if line.startswith(b"content-length:"))
            return int(head[9:12]), json.loads(await self._reader.readexactly(length))


async def written(api: Asking) -> list[Any]:
    page = await api.ask("GET", STREAM, headers={"accept": "application/json"})
    return [chunk["chunk"] for chunk in page["chunks"]]


async def until_written(api: Asking, chunks: list[Any]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await written(api) != chunks:
            await asyncio.sleep(0.01)


async def test_a_token_that_expires_ends_its_upload(api: Asking) -> None:
    """Also one that sends nothing; what was stored before stays."""
    await api.create()
    async with api.with_token(["write:runs:run_1"], expires=soon(2)) as token, Upload(token) as upload:
        await upload.send(b'"before"\n')
        await until_written(api, ["before"])

        status, problem = await upload.answer()

    assert (status, problem["code"]) == (401, "token_expired")
    assert await written(api) == ["before"]


async def test_a_token_that_is_revoked_ends_its_upload(api: Asking) -> None:
    await api.create()
    async with api.with_token(["write:runs:run_1"], jti="up") as token, Upload(token) as upload:
        await upload.send(b'"before"\n"half')
        await until_written(api, ["before"])

        await api.ask("POST", "/v1/tokens/revoke", {"jti": "up"})
        status, problem = await upload.answer()

    assert (status, problem["code"]) == (401, "token_revoked")
    assert await written(api) == ["before"]


async def test_a_gateway_that_stops_sends_its_writers_to_another(
    api: Asking, redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """They are told so, and go on there where the first one stopped: no gap, and nothing twice."""
    await api.create()
    async with ServedGateway(redis_server, environment) as other, Asking(other) as there:
        async with Upload(api, writer="w") as upload:
            await upload.send(b"0\n1\n2")
            await until_written(api, [0, 1])
            api.gateway._services.lifecycle.drain()
            status, problem = await upload.answer()

        head = await there.client.head(STREAM, params={"writer": "w"})
        following = int(head.headers["runcast-writer-next"])
        async with Upload(there, writer="w", first=following) as upload:
            await upload.send(b"".join(b"%d\n" % number for number in range(following, 5)))
            upload.end()
            assert (await upload.answer())[0] == 200

        assert (status, problem["code"], problem["retry"]) == (503, "unavailable", True)
        assert await written(there) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("line", "status", "says"),
    [(b'"' + b"x" * 1_100_000 + b'"', 413, "line 3"), (b"nope", 400, "JSON"), (b"[" * 70_000, 400, "JSON")],
)
async def test_what_stands_before_a_wrong_line_is_stored(api: Asking, line: bytes, status: int, says: str) -> None:
    """However the network cut it into pieces; and the answer comes while more is being sent."""
    await api.create()
    async with Upload(api) as upload:
        await upload.send(b"1\n2\n" + line + b"\n3\n")
        answered, problem = await upload.answer()

    assert answered == status
    assert says in problem["detail"]
    assert await written(api) == [1, 2]


async def test_a_line_that_has_not_ended_is_counted_and_let_go(api: Asking) -> None:
    """Thousands of them would be a lot of memory; they have a bound together with all other bodies."""
    await api.create()
    before = BODIES.kept_bytes
    async with asyncio.timeout(PATIENCE_SECONDS):
        async with Upload(api) as upload:
            for _ in range(5):
                await upload.send(b"x" * 100_000)
            while BODIES.kept_bytes - before < 500_000:
                await asyncio.sleep(0.01)
        while BODIES.kept_bytes != before:
            await asyncio.sleep(0.01)


async def test_many_tiny_lines(api: Asking) -> None:
    await api.create()
    text = b"".join(b"%d\n" % number for number in range(12_000))

    answer = await api.ask("POST", STREAM, content=text, headers={"content-type": "application/x-ndjson"})

    assert (answer["received"], answer["nextIndex"]) == (12_000, 12_000)


@given(body=st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\n\n"])).map(b"".join), cuts=st.lists(st.integers(0, 60)))
def test_lines_are_the_same_however_they_come(body: bytes, cuts: list[int]) -> None:
    splitter, lines, places = _Splitter(), [], sorted({0, len(body), *(min(cut, len(body)) for cut in cuts)})
    for start, end in itertools.pairwise(places):
        lines += splitter.take(body[start:end], last=False)
        assert splitter.left == len(body[:end].rpartition(b"\n")[2])
    lines += splitter.take(b"", last=True)

    assert lines == body.split(b"\n")
    assert splitter.left == 0
