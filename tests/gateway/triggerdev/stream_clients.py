"""
The official clients' ways with streams, over plain sockets, so that a connection can be cut at any byte: a reader that
goes on after the last chunk that it has, and a writer that asks where it is and goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlsplit

from tests.gateway.api.asking import Asking
from tests.gateway.serving import ServedGateway

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer

RUN = "run_1"
WRITE = f"/realtime/v1/streams/{RUN}/self/tokens"
READ = f"/realtime/v1/streams/{RUN}/tokens"


@contextlib.asynccontextmanager
async def serving(redis: RedisServer, environment: EnvironmentId, **options: Any) -> AsyncIterator[Asking]:
    """A gateway with one run at work, and whoever asks with the secret key."""
    async with ServedGateway(redis, environment, **options) as gateway, Asking(gateway) as asking:
        await asking.create(RUN, status="EXECUTING")
        yield asking


async def say_status(api: Asking, status: str, **said: Any) -> None:
    await api.ask("PATCH", f"/v1/runs/{RUN}", {"status": status, **said})


class Where(Protocol):
    """A gateway that can be reached, in this process or another."""

    @property
    def url(self) -> str: ...
    @property
    def secret(self) -> str: ...


class Broken(Exception):
    """The connection ended before its response did."""


@dataclass
class Part:
    """One chunk, as the official client hands it to its user."""

    chunk: Any
    position: str
    timestamp: int
    id: str = ""


@dataclass
class Response:
    """A response that goes on: its head, and what came of its body."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    #: Bytes of the body, as they came.
    came: int = 0

    async def body(self) -> AsyncIterator[bytes]:
        """The body, in the pieces that the server sent; ends when the server ends it, and raises Broken otherwise."""
        if "content-length" in self.headers:
            yield await self.reader.readexactly(int(self.headers["content-length"]))
            return
        try:
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                yield await self.reader.readexactly(size)
                await self.reader.readexactly(2)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Broken from error

    async def text(self) -> str:
        return b"".join([piece async for piece in self.body()]).decode()

    def cut(self) -> None:
        """As when a cable is pulled."""
        self.writer.transport.abort()


async def request(
    gateway: Where, method: str, path: str, headers: dict[str, str] | None = None, *, token: str | None = None
) -> Response:
    """Send the head of a request, and nothing else."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(gateway.url).port)
    said = {"host": "gateway", "authorization": f"Bearer {token or gateway.secret}", **(headers or {})}
    lines = [f"{method} {quote(path, safe='/%')} HTTP/1.1", *(f"{name}: {value}" for name, value in said.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    return Response(reader, writer)


async def answered(response: Response) -> Response:
    """Wait for the head of the response."""
    try:
        head = (await response.reader.readuntil(b"\r\n\r\n")).decode()
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise Broken from error
    first, *lines = head.strip().split("\r\n")
    response.status = int(first.split(" ")[1])
    response.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return response


def parts_of(event: str, version: str) -> list[Part]:
    """What the official client makes of one event."""
    fields = [line.partition(":") for line in event.split("\n") if not line.startswith(":")]
    data = "\n".join(value.removeprefix(" ") for name, _, value in fields if name == "data")
    if not data:
        return []
    if version == "v1":
        position = next(value.strip() for name, _, value in fields if name == "id")
        return [Part(json.loads(data), position, int(position.partition("-")[0]))]
    parts = []
    for record in json.loads(data)["records"]:
        if record is None:
            raise Broken  # as the official client: nothing can be read of it
        envelope = json.loads(record["body"])
        parts.append(Part(envelope["data"], str(record["seq_num"]), record["timestamp"], envelope["id"]))
    return parts


class OfficialReader:
    """
    Reads a stream as the official client does, through any number of cuts.

    Args:
        cuts: After how many bytes of the body each of its first connections is cut.
    """

    def __init__(
        self,
        gateway: Where,
        path: str,
        *,
        version: str = "v2",
        cuts: Sequence[int] = (),
        token: str | None = None,
        **headers: str,
    ) -> None:
        self._gateway, self._path, self._version, self._token = gateway, path, version, token
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self._cuts = list(cuts)
        self.position: str | None = None
        self.connections = 0
        self.response: Response | None = None

    async def connect(self) -> Response:
        """One connection from where it is."""
        headers = {"x-trigger-realtime-streams-version": self._version, **self._headers}
        if self.position is not None:
            headers["last-event-id"] = self.position
        self.connections += 1
        sent = await request(self._gateway, "GET", self._path, headers, token=self._token)
        self.response = await answered(sent)
        return self.response

    async def parts(self) -> AsyncGenerator[Part, None]:
        """The chunks as they come, until the response ends."""
        while True:
            try:
                response = await self.connect()
                assert response.status == 200, await response.text()
                seen: set[str] = set()
                async for event in self._events(response):
                    for part in parts_of(event, self._version):
                        self.position = part.position
                        if part.id and part.id in seen:
                            continue
                        seen.add(part.id)
                        yield part
                return
            except (Broken, ConnectionError):
                await asyncio.sleep(0.01)
            finally:
                self.leave()

    async def _events(self, response: Response) -> AsyncIterator[str]:
        left = self._cuts.pop(0) if self._cuts else None
        kept = b""
        async for piece in response.body():
            whole = left is None or len(piece) < left
            kept += piece if whole else piece[:left]
            *events, kept = kept.split(b"\n\n")
            for event in events:
                yield event.decode()
            if not whole:
                response.cut()
                raise Broken
            if left is not None:
                left -= len(piece)

    async def take(self, count: int) -> list[Part]:
        """The next *count* chunks; then it leaves."""
        taken: list[Part] = []
        async with asyncio.timeout(10):
            async for part in self.parts():
                taken.append(part)
                if len(taken) == count:
                    break
        self.leave()
        return taken

    async def all(self) -> list[Any]:
        """The chunks until the stream ends."""
        async with asyncio.timeout(60):
            return [part.chunk async for part in self.parts()]

    def leave(self) -> None:
        if self.response is not None:
            self.response.cut()


async def gone(response: Response) -> bool:
    """Whether the response ends by itself, and cleanly; False when it is broken."""
    async with asyncio.timeout(10):
        try:
            async for _ in response.body():
                pass
        except Broken:
            return False
        finally:
            response.cut()
    return True


class OfficialWriter:
    """
    Uploads lines as the official client does.

    Args:
        cuts: After how many bytes of the body each of its first requests is cut.
    """

    def __init__(self, gateway: Where, path: str, *, client: str = "c0ffee00", cuts: Sequence[int] = ()) -> None:
        self._gateway, self._path, self._client = gateway, path, client
        self._cuts = list(cuts)

    async def probe(self) -> int:
        """The number of the last line that is stored. While that can't be told, as if there were none."""
        response = await answered(await request(self._gateway, "HEAD", self._path, {"x-client-id": self._client}))
        response.cut()
        if response.status >= 500:
            return -1
        assert response.status == 200
        return int(response.headers["x-last-chunk-index"])

    async def _where(self) -> int:
        for _ in range(200):
            try:
                return await self.probe()
            except (Broken, ConnectionError):
                await asyncio.sleep(0.05)
        raise Broken("nobody is there any more")

    async def begin(self, first: int = 0) -> Response:
        """One request, whose body is still to be written."""
        headers = {
            "x-client-id": self._client,
            "x-resume-from-chunk": str(first),
            "x-stream-version": "v1",
            "content-type": "application/json",
            "transfer-encoding": "chunked",
        }
        return await request(self._gateway, "POST", self._path, headers)

    async def write(self, values: Sequence[Any], *, step: int = 50, pause: float = 0.0) -> None:
        """Upload all of *values*, from the beginning, through all cuts: *step* bytes at a time, with pauses between."""
        body = [json.dumps(value, separators=(",", ":")).encode() + b"\n" for value in values]
        first = 0
        while True:
            try:
                await self._try(b"".join(body[first:]), first, step, pause)
                return
            except (Broken, ConnectionError):
                first = await self._where() + 1

    async def _try(self, body: bytes, first: int, step: int, pause: float) -> None:
        request = await self.begin(first)
        cut = self._cuts.pop(0) if self._cuts else None
        for start in range(0, len(body) if cut is None else min(cut, len(body)), step):
            send(request, body[start : start + step if cut is None else min(start + step, cut)])
            await request.writer.drain()
            if pause:
                await asyncio.sleep(pause)
        if cut is not None:
            request.cut()
            raise Broken
        status = (await finished(request)).status
        if status >= 500:
            raise Broken
        assert status == 200

    def __repr__(self) -> str:
        return f"OfficialWriter({self._client})"


def send(request: Response, data: bytes) -> None:
    """Some of the request's body."""
    if data:
        request.writer.write(b"%x\r\n%s\r\n" % (len(data), data))


async def finished(request: Response) -> Response:
    """End the request's body, and wait for the answer."""
    request.writer.write(b"0\r\n\r\n")
    response = await answered(request)
    request.writer.close()
    return response
