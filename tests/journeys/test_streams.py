"""Streams end to end: readers who see every chunk once and in order, whatever is cut, killed or restarted."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from websockets.asyncio.client import connect

from gateway.changes import Limits
from gateway.publisher import Publisher
from tests.journeys.gateway_process import SECRET, GatewayProcess, clean_environ, token

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.redis_server import RedisServer

RUN, KEY = "run_1", "llm"
PATIENCE_SECONDS = 60.0


@pytest.fixture
def gateway(tmp_path: Path, own_redis: RedisServer) -> Iterator[GatewayProcess]:
    gateway = GatewayProcess(tmp_path / "gateway.log", RUNCAST_REDIS_URL=own_redis.url)
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.stop()


@pytest.fixture
def publisher(own_redis: RedisServer) -> Iterator[Publisher]:
    with Publisher(own_redis.url) as publisher:
        publisher.create("write", id=RUN).start()
        yield publisher


class Reader:
    """
    Reads a stream as anybody would by docs/protocol.md, until its end, and comes back with its last id.

    Whatever comes twice, out of order or not at all fails at once.
    """

    def __init__(self, url: str, *, cuts: random.Random | None = None) -> None:
        self.url = f"{url}/v1/runs/{RUN}/streams/{KEY}"
        self.chunks: list[Any] = []
        self.last_id = ""
        self.ended = ""
        self.connections = 0
        self.begins: list[int] = []
        #: Cuts its own connection after a random number of bytes.
        self._cuts = cuts

    async def read(self) -> list[Any]:
        """Everything, from the first chunk to the end."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self.ended:
                try:
                    await self._connect()
                except (OSError, EOFError, asyncio.IncompleteReadError):
                    await asyncio.sleep(random.uniform(0, 0.05))
        return self.chunks

    async def _connect(self) -> None:
        self.connections += 1
        address = httpx2.URL(self.url)
        reader, writer = await asyncio.open_connection(address.host, address.port)
        lines = [
            f"GET {address.raw_path.decode()} HTTP/1.0",
            f"Host: {address.host}",
            f"Authorization: Bearer {SECRET}",
            *([f"Last-Event-ID: {self.last_id}"] if self.last_id else []),
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        left = self._cuts.randint(200, 12_000) if self._cuts is not None else None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head[:16], head
            buffer = b""
            while not self.ended:
                data = await reader.read(65_536 if left is None else min(left, 700))
                if not data:
                    raise EOFError
                buffer += data
                *events, buffer = buffer.split(b"\n\n")
                for event in events:
                    self._take(event.decode())
                if left is not None:
                    left -= len(data)
                    if left <= 0:
                        raise EOFError
        finally:
            writer.transport.abort()

    def _take(self, event: str) -> None:
        fields = dict(line.split(": ", 1) for line in event.splitlines() if ": " in line)
        if "data" not in fields:
            return
        message = json.loads(fields["data"])
        match message["type"]:
            case "begin":
                self.begins.append(message["firstIndex"])
                assert not self.chunks, "what was read is said to be void"
            case "chunk":
                assert message["index"] == len(self.chunks), f"{message['index']} after {len(self.chunks)} chunks"
                self.chunks.append(message["chunk"])
            case "end":
                self.ended = message["status"]
            case "error":
                raise AssertionError(message)
        self.last_id = fields.get("id", self.last_id)


async def test_who_comes_late_reads_it_all(gateway: GatewayProcess, publisher: Publisher) -> None:
    """From the start, then live, then the end: in one response, which ends."""
    run = publisher.run(RUN)
    stream = run.stream(KEY)
    stream.write_all(range(50))
    publisher.flush()
    reader = Reader(gateway.url)
    reading = asyncio.create_task(reader.read())
    while len(reader.chunks) < 50:
        await asyncio.sleep(0.01)

    for number in range(50, 100):
        stream.write(number)
    run.complete()

    assert await reading == list(range(100))
    assert (reader.ended, reader.connections, reader.begins) == ("COMPLETED", 1, [0])


async def test_who_waits_for_a_run_reads_its_stream(gateway: GatewayProcess, own_redis: RedisServer) -> None:
    reader = Reader(gateway.url)
    reading = asyncio.create_task(reader.read())
    while not reader.begins:
        await asyncio.sleep(0.01)

    with Publisher(own_redis.url) as publisher, publisher.running("write", id=RUN) as run:
        run.stream(KEY).write({"first": True})

    assert await reading == [{"first": True}]


async def test_a_stream_that_nobody_writes_ends_with_its_run(gateway: GatewayProcess, publisher: Publisher) -> None:
    reader = Reader(gateway.url)
    reading = asyncio.create_task(reader.read())
    while not reader.begins:
        await asyncio.sleep(0.01)

    publisher.run(RUN).fail("no")

    assert await reading == []
    assert reader.ended == "FAILED"


async def test_five_hundred_readers_of_killed_writers(gateway: GatewayProcess, publisher: Publisher) -> None:
    """
    Writers die in the middle of a line, readers are cut in the middle of an event, and the gateway is restarted: each
    reader has every chunk once, in order.
    """
    cuts = random.Random(3)
    readers = [Reader(gateway.url, cuts=random.Random(number) if number % 5 == 0 else None) for number in range(500)]
    reading = [asyncio.create_task(reader.read()) for reader in readers]

    writing = _WriterThatDies(gateway, total=600, cuts=cuts)
    await writing.write(restart_at=300)
    publisher.run(RUN).complete()

    wanted = [{"n": number, "text": "x" * (number % 40)} for number in range(600)]
    for chunks in await asyncio.gather(*reading):
        assert chunks == wanted
    assert writing.deaths > 20
    assert sum(reader.connections > 1 for reader in readers) >= 100


class _WriterThatDies:
    """Uploads lines, is killed after a random number of bytes, asks where it was, and goes on."""

    def __init__(self, gateway: GatewayProcess, *, total: int, cuts: random.Random) -> None:
        self._gateway = gateway
        self._total = total
        self._cuts = cuts
        self.deaths = 0

    async def write(self, *, restart_at: int) -> None:
        restarted = False
        async with httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {SECRET}"}) as client:
            url = f"{self._gateway.url}/v1/runs/{RUN}/streams/{KEY}"
            while True:
                try:
                    head = await client.head(url, params={"writer": "w"})
                except httpx2.TransportError:
                    await asyncio.sleep(0.05)
                    continue
                following = int(head.headers["runcast-writer-next"])
                if following >= self._total:
                    return
                if following >= restart_at and not restarted:
                    restarted = True
                    await asyncio.to_thread(self._restart)
                    continue
                await self._upload(following)

    def _restart(self) -> None:
        self._gateway.kill()
        self._gateway.start()

    async def _upload(self, following: int) -> None:
        lines = (
            json.dumps({"n": number, "text": "x" * (number % 40)}).encode() + b"\n"
            for number in range(following, self._total)
        )
        body = b"".join(lines)[: self._cuts.randint(1, 1_800)]
        address = httpx2.URL(self._gateway.url)
        _, writer = await asyncio.open_connection(address.host, address.port)
        target = f"/v1/runs/{RUN}/streams/{KEY}?writer=w&first={following}"
        head = [
            f"POST {target} HTTP/1.1",
            "Host: x",
            f"Authorization: Bearer {SECRET}",
            "Content-Type: application/x-ndjson",
            "Transfer-Encoding: chunked",
        ]
        writer.write("\r\n".join([*head, "", ""]).encode())
        for start in range(0, len(body), 900):
            piece = body[start : start + 900]
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            with contextlib.suppress(OSError):
                await writer.drain()
        self.deaths += 1
        with contextlib.suppress(OSError):
            writer.close()
            await writer.wait_closed()


_KILLED = """
import sys, time
from gateway.changes import Limits
from gateway.publisher import Publisher
publisher = Publisher(sys.argv[1])
stream = publisher.run("run_1").stream("llm")
number = int(sys.argv[2])
while True:
    stream.write(number)
    number += 1
    if number % 50 == 0:
        publisher.flush()
        print(number, flush=True)
"""


async def test_what_a_killed_job_wrote_is_there(
    gateway: GatewayProcess, own_redis: RedisServer, publisher: Publisher
) -> None:
    """What was flushed before a SIGKILL is read, once; the next attempt's process goes on behind it."""
    flushed = 0
    for _ in range(3):
        job = subprocess.Popen(
            [sys.executable, "-c", _KILLED, own_redis.url, str(flushed)], stdout=subprocess.PIPE, env=clean_environ()
        )
        assert job.stdout is not None
        for _ in range(5):
            flushed = int(job.stdout.readline())
        job.kill()
        job.communicate()
    publisher.run(RUN).complete()

    chunks = await Reader(gateway.url).read()

    # Each process begins at what the one before had flushed; what that wrote beyond is there, too, and in order.
    runs, start = [], 0
    for position in range(1, len(chunks) + 1):
        if position == len(chunks) or chunks[position] != chunks[position - 1] + 1:
            runs.append((chunks[start], chunks[position - 1]))
            start = position
    assert len(runs) <= 3
    assert runs[0][0] == 0
    assert runs[-1][1] >= flushed - 1


async def test_readers_on_one_socket(gateway: GatewayProcess, publisher: Publisher) -> None:
    """A WebSocket follows runs and streams together; `from: now` leaves out what was."""
    run = publisher.run(RUN)
    run.stream(KEY).write_all(["old", "older"])
    run.stream("other").write("else")
    publisher.flush()
    headers = {"Authorization": f"Bearer {token('read:runs:' + RUN)}"}
    async with connect(f"{gateway.url.replace('http', 'ws')}/v1/ws", additional_headers=headers) as socket:
        await socket.send(json.dumps({"type": "subscribe", "run": RUN}))
        await socket.send(json.dumps({"type": "subscribe", "stream": {"run": RUN, "key": KEY}}))
        await socket.send(json.dumps({"type": "subscribe", "stream": {"run": RUN, "key": "other"}, "from": "now"}))
        heard = _Heard(socket)
        await heard.until("snapshot")
        await heard.until("chunk", 2)
        run.stream("other").write("new")
        run.stream(KEY).write("newest")
        run.complete({"done": True})
        await heard.until("end", 3)

    assert heard.chunks(f"stream:{RUN},{KEY}") == ["old", "older", "newest"]
    assert heard.chunks(f"stream:{RUN},other") == ["new"]
    assert {message["feed"] for message in heard.messages if message["type"] == "end"} == {
        f"run:{RUN}",
        f"stream:{RUN},{KEY}",
        f"stream:{RUN},other",
    }


async def test_now_is_when_it_was_asked(gateway: GatewayProcess, publisher: Publisher) -> None:
    """Who skips what there was is told where that is, and goes on from there, even when cut off at once."""
    run = publisher.run(RUN)
    run.stream(KEY).write_all(["old", "older"])
    publisher.flush()
    headers = {"Authorization": f"Bearer {token('read:runs:' + RUN)}"}
    address = f"{gateway.url.replace('http', 'ws')}/v1/ws"
    stream = {"type": "subscribe", "stream": {"run": RUN, "key": KEY}}
    async with connect(address, additional_headers=headers) as socket:
        await socket.send(json.dumps({**stream, "from": "now"}))
        heard = _Heard(socket)
        await heard.until("begin")
    (begin,) = [message for message in heard.messages if message["type"] == "begin"]
    run.stream(KEY).write("between")
    publisher.flush()
    async with connect(address, additional_headers=headers) as socket:
        await socket.send(json.dumps({**stream, "cursor": begin["cursor"]}))
        again = _Heard(socket)
        await again.until("chunk")

    assert begin["firstIndex"] == 2
    assert again.chunks(f"stream:{RUN},{KEY}") == ["between"]


class _Heard:
    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.messages: list[dict[str, Any]] = []

    async def until(self, kind: str, count: int = 1) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while sum(message["type"] == kind for message in self.messages) < count:
                self.messages.append(json.loads(await self._socket.recv()))

    def chunks(self, feed: str) -> list[Any]:
        return [m["chunk"] for m in self.messages if m["type"] == "chunk" and m["feed"] == feed]


async def test_what_was_trimmed_is_seen(tmp_path: Path, own_redis: RedisServer) -> None:
    """A stream over its limit begins later; a reader is told where."""
    with Publisher(own_redis.url, limits=Limits(stream_bytes=200 * 50)) as publisher:
        run = publisher.create("write", id=RUN)
        run.start()
        for number in range(300):
            run.stream(KEY).write(f"{number:08}")
        run.complete()
    gateway = GatewayProcess(tmp_path / "small.log", RUNCAST_REDIS_URL=own_redis.url)
    gateway.start()
    try:
        with http_connection(gateway) as connection:
            connection.request("GET", f"/v1/runs/{RUN}/streams/{KEY}", headers={"authorization": f"Bearer {SECRET}"})
            text = connection.getresponse().read().decode()
    finally:
        gateway.stop()

    messages = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    chunks = [message for message in messages if message["type"] == "chunk"]
    (begin,) = [message for message in messages if message["type"] == "begin"]
    assert begin["firstIndex"] == chunks[0]["index"] == 100
    assert [message["chunk"] for message in chunks] == [f"{number:08}" for number in range(100, 300)]


@contextlib.contextmanager
def http_connection(gateway: GatewayProcess) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    try:
        yield connection
    finally:
        connection.close()


async def test_redis_that_restarts_costs_a_reader_nothing(
    gateway: GatewayProcess, own_redis: RedisServer, publisher: Publisher
) -> None:
    run = publisher.run(RUN)
    stream = run.stream(KEY)
    reader = Reader(gateway.url)
    reading = asyncio.create_task(reader.read())
    while not reader.begins:
        await asyncio.sleep(0.01)
    for number in range(200):
        stream.write(number)
        if number == 100:
            publisher.flush()
            own_redis.stop()
            own_redis.start()
    assert publisher.flush(20)
    run.complete()
    publisher.flush(20)

    assert await reading == list(range(200))
    assert reader.connections == 1
