"""Server-Sent Events of one response, as a client reads them: event by event, with comments counted."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.conformance.shape_client import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import httpx2


@dataclass(frozen=True)
class Event:
    """One event."""

    kind: str
    data: str
    id: str

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class Events:
    """The events of *answer*, in order. `comments` have been passed over, `ended` tells of a clean end."""

    def __init__(self, answer: httpx2.Response) -> None:
        self.answer = answer
        self.comments = 0
        self.ended = False
        self._pieces: AsyncIterator[bytes] = answer.aiter_bytes()
        self._buffer = b""

    @property
    def headers(self) -> httpx2.Headers:
        return self.answer.headers

    async def next(self, *, seconds: float = PATIENCE_SECONDS) -> Event | None:
        """The next event; None when the body has ended."""
        async with asyncio.timeout(seconds):
            while True:
                block, separator, rest = self._buffer.partition(b"\n\n")
                if not separator:
                    if not await self._more():
                        return None
                    continue
                self._buffer = rest
                event = self._event(block.decode())
                if event is not None:
                    return event

    async def until_comment(self, *, seconds: float) -> None:
        """Wait for a comment, and see that no event and no end comes before it."""
        before = self.comments
        async with asyncio.timeout(seconds):
            while b"\n\n" not in self._buffer:
                assert await self._more(), "the body ended"
        block, _, self._buffer = self._buffer.partition(b"\n\n")
        assert self._event(block.decode()) is None, block
        assert self.comments > before, block

    async def cut_at(self, size: int) -> bool:
        """Take *size* bytes at most and nothing behind them, and return whether the body has ended before."""
        while len(self._buffer) < size:
            if not await self._more():
                return True
        self._buffer = self._buffer[:size]
        self._pieces = _nothing()
        return False

    async def _more(self) -> bool:
        try:
            self._buffer += await anext(self._pieces)
        except StopAsyncIteration:
            self.ended = True
            return False
        return True

    def _event(self, block: str) -> Event | None:
        fields: dict[str, list[str]] = {}
        for line in block.split("\n"):
            name, _, value = line.rstrip("\r").partition(":")
            if not name:
                self.comments += bool(value or line)
                continue
            fields.setdefault(name, []).append(value.removeprefix(" "))
        if "data" not in fields:
            return None
        kind, last = fields.get("event", ["message"])[-1], fields.get("id", [""])[-1]
        return Event(kind, "\n".join(fields["data"]), last)


async def _nothing() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for piece in nothing:
        yield piece


@contextlib.asynccontextmanager
async def open_events(
    http: httpx2.AsyncClient, path: str, headers: Mapping[str, str], parameters: Mapping[str, str] | None = None
) -> AsyncIterator[Events]:
    """The answer to one request, which must be a stream of events."""
    asked = {"accept": "text/event-stream", **headers}
    async with http.stream("GET", path, headers=asked, params=dict(parameters or {})) as answer:
        if answer.status_code != 200:
            await answer.aread()
        assert answer.status_code == 200, (answer.status_code, answer.text)
        assert answer.headers["content-type"].partition(";")[0] == "text/event-stream"
        yield Events(answer)
