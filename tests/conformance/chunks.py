"""Readers and writers of a run's streams, as the official clients are: trigger-realtime.md, section 6."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.conformance.events import Events, open_events
from tests.hardening.peers import HttpPeer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tests.conformance.world import World


@dataclass(frozen=True)
class Part:
    """One chunk as a reader gets it, with the position that a reader goes on from."""

    position: str
    chunk: Any
    id: str = ""


class Reader:
    """Reads what it is given in the version that the header names; drops records whose id it had, as clients do."""

    def __init__(self, events: Events) -> None:
        self.events = events
        self.version = events.headers.get("x-stream-version", "v1")
        self.parts: list[Part] = []
        self._seen: set[str] = set()
        self._waiting: list[Part] = []

    async def next(self, *, seconds: float = 10) -> Part | None:
        """The next chunk; None when the stream has ended."""
        while not self._waiting:
            event = await self.events.next(seconds=seconds)
            if event is None:
                return None
            self._waiting = list(self._read(event.kind, event.data, event.id))
        part = self._waiting.pop(0)
        self.parts.append(part)
        return part

    async def take(self, count: int) -> list[Any]:
        """The next *count* chunks."""
        found: list[Any] = []
        while len(found) < count:
            part = await self.next()
            assert part is not None, f"the stream ended after {len(found)} of {count}"
            found.append(part.chunk)
        return found

    async def rest(self, *, seconds: float = 15) -> list[Any]:
        """All chunks up to the clean end of the stream."""
        found: list[Any] = []
        while (part := await self.next(seconds=seconds)) is not None:
            found.append(part.chunk)
        assert self.events.ended
        return found

    def _read(self, kind: str, data: str, id: str) -> Iterable[Part]:
        if self.version == "v1":  # every event is a chunk, whatever its name
            yield Part(id, _json_or_text(data))
            return
        assert self.version == "v2"
        if kind != "batch":
            return
        last = int(self.parts[-1].position) if self.parts else -1
        for record in json.loads(data)["records"]:
            assert isinstance(record["body"], str)
            assert isinstance(record["timestamp"], int)
            assert record["seq_num"] > last, "positions only grow"
            last = record["seq_num"]
            envelope = json.loads(record["body"])
            if envelope["id"] not in self._seen:
                self._seen.add(envelope["id"])
                yield Part(str(last), envelope["data"], envelope["id"])


def _json_or_text(data: str) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data


@contextlib.asynccontextmanager
async def reading(
    world: World, run: str, key: str, *, bearer: str | None = None, **headers: str
) -> AsyncIterator[Reader]:
    """Read a stream; *headers* with underscores for dashes."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    credential = world.secret if bearer is None else bearer
    path = f"/realtime/v1/streams/{run}/{key}"
    async with open_events(world.http, path, {"authorization": f"Bearer {credential}", **sent}) as events:
        yield Reader(events)


def path_of(run: str, key: str, target: str = "self") -> str:
    """Where writers of a stream go."""
    return f"/realtime/v1/streams/{run}/{target}/{key}"


def lines(chunks: Iterable[Any]) -> bytes:
    """Chunks as a writer sends them."""
    return b"".join(json.dumps(chunk).encode() + b"\n" for chunk in chunks)


class Upload:
    """
    One POST of a v1 writer, on a socket of its own: it can be cut anywhere.

    Args:
        client: The writer's name for itself, 8 hex digits.
        first: The number of the first line in this request.
    """

    def __init__(self, peer: HttpPeer) -> None:
        self._peer = peer

    @classmethod
    async def begin(cls, world: World, run: str, key: str, client: str, first: int = 0) -> Upload:
        peer = await HttpPeer.connect(world.gateway.port, bytearray())
        head = [
            f"POST {path_of(run, key)} HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {world.secret}",
            "Content-Type: application/json",
            "Transfer-Encoding: chunked",
            f"X-Client-Id: {client}",
            f"X-Resume-From-Chunk: {first}",
            "X-Stream-Version: v1",
        ]
        peer.send("\r\n".join([*head, "", ""]).encode())
        return cls(peer)

    async def write(self, data: bytes) -> None:
        """*data*, as one piece of the body."""
        self._peer.send(b"%x\r\n%b\r\n" % (len(data), data))
        await self._peer.sent()

    async def end(self) -> int:
        """End the body, and return the status of the answer."""
        self._peer.send(b"0\r\n\r\n")
        status = (await self._peer.answer()).status
        await self._peer.close()
        return status

    def cut(self) -> None:
        """The network dies."""
        self._peer.reset()
