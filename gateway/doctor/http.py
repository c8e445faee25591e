"""
HTTP/1.1 as it goes over the wire, for looking at it: when each part of an answer came, and what stood in its headers.

A comfortable client would hide what is looked for: it retries, follows, unpacks, and keeps connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from gateway.viewer.address import http_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

_PIECE_BYTES: Final = 64 * 1024
_BODY_BYTES: Final = 1024 * 1024
#: What a probe may wait for by default: far more than any gateway takes, and what a person will wait.
PATIENCE_SECONDS: Final = 5.0


class NotHttp(Exception):
    """What answered does not speak HTTP, or stopped in the middle."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a gateway is, as it was named."""

    scheme: str
    host: str
    port: int
    #: What stands before `/v1`, where a proxy puts the gateway under a path.
    path: str

    @classmethod
    def parse(cls, url: str) -> Target:
        """
        Read an address.

        Raises:
            Misconfigured: When it is not one of a gateway.
        """
        parts = urlsplit(http_url(url))
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return cls(parts.scheme, parts.hostname or "", port, parts.path)

    @property
    def is_encrypted(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """As the Host header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_encrypted else 80) else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


@dataclass(slots=True)
class Answer:
    """The head of an answer, and its body as it comes."""

    version: str
    status: int
    headers: Sequence[tuple[str, str]]
    #: Seconds from the request to the end of the head.
    took: float
    _reader: asyncio.StreamReader
    _chunked: bool = field(init=False)
    _left: int | None = field(init=False)

    def __post_init__(self) -> None:
        self._chunked = "chunked" in (self.header("transfer-encoding") or "").lower()
        length = self.header("content-length") or ""
        self._left = int(length) if length.isdigit() else None

    def header(self, name: str) -> str | None:
        """The first of that name (in lower case)."""
        return next((value for key, value in self.headers if key == name), None)

    def every(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    async def piece(self) -> bytes:
        """
        The next part of the body, as soon as there is one; empty at its end.

        Raises:
            NotHttp, OSError: When it broke off.
        """
        if self._left == 0:
            return b""
        if not self._chunked:
            data = await self._reader.read(min(self._left or _PIECE_BYTES, _PIECE_BYTES))
            if self._left is not None:
                if not data:
                    raise NotHttp("the answer broke off")
                self._left -= len(data)
            return data
        line = await _line(self._reader)
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            raise NotHttp(f"a chunk begins with {line[:40]!r}") from None
        if size > _BODY_BYTES:
            raise NotHttp("a chunk is larger than anything that was asked for")
        try:
            data = await self._reader.readexactly(size + 2)
        except asyncio.IncompleteReadError:
            raise NotHttp("the answer broke off") from None
        if size == 0:
            self._left = 0
        return data[:-2]

    async def body(self) -> bytes:
        """All of it, up to a megabyte. Raises as `piece`."""
        whole = b""
        while len(whole) < _BODY_BYTES and (data := await self.piece()):
            whole += data
        return whole


@contextlib.asynccontextmanager
async def asking(
    target: Target,
    method: str,
    path: str,
    headers: Sequence[tuple[str, str]] = (),
    *,
    patience: float = PATIENCE_SECONDS,
) -> AsyncIterator[Answer]:
    """
    Ask on a connection of its own, which lasts as long as the block.

    Raises:
        TimeoutError: When the head of the answer did not come within *patience* seconds.
        NotHttp, OSError: When it can't be had at all. (`ssl.SSLError` is an OSError.)
    """
    async with asyncio.timeout(patience):
        reader, writer = await asyncio.open_connection(
            target.host, target.port, ssl=_tls() if target.is_encrypted else None, limit=2 * _PIECE_BYTES
        )
    try:
        began = time.monotonic()
        given = [("Host", target.authority), ("User-Agent", "runcast-doctor"), *headers]
        lines = [f"{method} {target.path}{path} HTTP/1.1", *(f"{name}: {value}" for name, value in given), "", ""]
        writer.write("\r\n".join(lines).encode())
        async with asyncio.timeout(patience):
            head = await _head(reader)
        version, status, found = head
        yield Answer(version, status, found, time.monotonic() - began, reader)
    finally:
        writer.transport.abort()


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


async def _head(reader: asyncio.StreamReader) -> tuple[str, int, list[tuple[str, str]]]:
    first = (await _line(reader)).decode("latin-1").split(" ", 2)
    if len(first) < 2 or not first[0].startswith("HTTP/") or not first[1].isdigit():
        raise NotHttp(f"it answers {' '.join(first)[:60]!r}")
    headers = []
    while line := await _line(reader):
        name, _, value = line.decode("latin-1").partition(":")
        headers.append((name.strip().lower(), value.strip()))
    return first[0], int(first[1]), headers


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return (await reader.readuntil(b"\r\n"))[:-2]
    except asyncio.IncompleteReadError:
        raise NotHttp("it closed the connection without an answer") from None
    except asyncio.LimitOverrunError:
        raise NotHttp("a line of its answer never ends") from None
