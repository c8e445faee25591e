"""
Peers that say anything: raw sockets, because clients are too polite for what is tried here.

Whatever the server tells them is kept, so that a test can look for what must never be said.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Enough for a machine that does much else at the same time; nothing here waits as long by design.
PATIENCE_SECONDS: Final = 20.0

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA


async def eventually(condition: Callable[[], bool], *, what: str) -> None:
    """Return as soon as *condition* holds."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"never came true: {what}") from None


class Peer:
    """One TCP connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: bytearray) -> None:
        self._reader = reader
        self._writer = writer
        self._heard = heard
        self._buffer = bytearray()

    @classmethod
    async def connect(cls, port: int, heard: bytearray, *, receive_buffer: int | None = None) -> Self:
        """*receive_buffer* makes the kernel take that little for a peer that does not read."""
        own = socket.socket()
        if receive_buffer is not None:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        own.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", port))
        except OSError:
            own.close()
            raise
        # A short limit: whoever does not read here stops the kernel soon, and so the server's writes.
        reader, writer = await asyncio.open_connection(sock=own, limit=64 * 1024)
        return cls(reader, writer, heard)

    def send(self, data: bytes) -> None:
        """Whether anybody still takes it, as a sender can't know."""
        if not self._writer.transport.is_closing():
            self._writer.write(data)

    async def sent(self) -> None:
        """Return when the kernel has taken what was sent."""
        await self._writer.drain()

    def pause_reading(self) -> None:
        """Take nothing any more."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def half_close(self) -> None:
        """Say that nothing will be sent any more, and listen on."""
        self._writer.write_eof()

    def reset(self) -> None:
        """Go without a word: the server sees a reset."""
        own = self._writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _read_more(self) -> bool:
        """Whether there is more; a reset is an end like any other."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                data = await self._reader.read(65536)
        except TimeoutError:
            raise AssertionError(f"nothing came, and no end, behind {bytes(self._heard[-200:])!r}") from None
        except OSError:
            data = b""
        self._buffer += data
        self._heard += data
        return bool(data)

    async def take(self, size: int) -> bytes:
        """
        Exactly *size* bytes.

        Raises:
            EOFError: When the server closes before.
        """
        while len(self._buffer) < size:
            if not await self._read_more():
                raise EOFError(bytes(self._buffer))
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def take_until(self, marker: bytes) -> bytes:
        """Everything up to *marker*, with it."""
        while marker not in self._buffer:
            if not await self._read_more():
                raise EOFError(bytes(self._buffer))
        return await self.take(self._buffer.index(marker) + len(marker))

    async def take_all(self) -> bytes:
        """What comes until the server closes."""
        while await self._read_more():
            pass
        return await self.take(len(self._buffer))


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json"
        problem: dict[str, Any] = json.loads(self.body)
        assert problem["status"] == self.status
        return problem


class HttpPeer(Peer):
    """Speaks HTTP as far as it likes to."""

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the next response."""
        first, *lines = (await self.take_until(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
        fields = (line.partition(": ") for line in lines)
        return int(first.split(" ")[1]), {name.lower(): value for name, _, value in fields}

    async def answer(self) -> Answer:
        """The next response, whole."""
        status, headers = await self.head()
        return Answer(status, headers, await self.take(int(headers.get("content-length", 0))))

    async def chunks_until(self, marker: bytes) -> bytes:
        """What the chunks of a body hold, up to the one with *marker*."""
        body = b""
        while marker not in body:
            chunk = await self.chunk()
            assert chunk, "the body ended"
            body += chunk
        return body

    async def chunk(self) -> bytes:
        """The next chunk of a body; empty is the end."""
        size = int(await self.take_until(b"\r\n"), 16)
        data = await self.take(size)
        assert await self.take(2) == b"\r\n"
        return data


def request(
    target: str | bytes = "/v1/events", *headers: str | bytes, method: str = "GET", version: str = "1.1"
) -> bytes:
    """A request as it is on the wire; nothing is checked or escaped."""
    lines = [f"{method} ".encode() + _bytes(target) + f" HTTP/{version}".encode(), b"Host: localhost"]
    return b"\r\n".join([*lines, *map(_bytes, headers), b"", b""])


def _bytes(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text


def upgrade(*headers: str | bytes, target: str = "/v1/ws") -> bytes:
    """The request that opens a WebSocket."""
    return request(
        target,
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        *headers,
    )


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """A WebSocket frame (RFC 6455, section 5.2), right or wrong."""
    head = bytes((fin << 7 | reserved << 4 | opcode,))
    size, bit = len(payload), masked << 7
    if size < 126:
        head += bytes((bit | size,))
    elif size < 65536:
        head += bytes((bit | 126,)) + struct.pack("!H", size)
    else:
        head += bytes((bit | 127,)) + struct.pack("!Q", size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


def say(message: object) -> bytes:
    """A message as a text frame; what is not text yet becomes JSON."""
    return frame(TEXT, (message if isinstance(message, str) else json.dumps(message)).encode())


@dataclass(frozen=True)
class Closed:
    """How a WebSocket ended: what the close frame said, or nothing of it."""

    code: int | None
    reason: str = ""


class WebSocketPeer(HttpPeer):
    """Speaks frames as far as it likes to."""

    pongs = 0

    async def open(self, *headers: str) -> dict[str, str]:
        self.send(upgrade(*headers))
        return await self.opened()

    async def opened(self) -> dict[str, str]:
        status, answer = await self.head()
        assert status == 101, (status, answer)
        return answer

    async def hear(self) -> dict[str, Any] | Closed:
        """The next message, or how it ended. Pongs are counted."""
        while True:
            try:
                head, size = await self.take(2)
                assert head & 0x70 == 0, "a frame with reserved bits"
                assert size < 128, "a masked frame"
                if size == 126:
                    (size,) = struct.unpack("!H", await self.take(2))
                elif size == 127:
                    (size,) = struct.unpack("!Q", await self.take(8))
                payload = await self.take(size)
            except EOFError:
                return Closed(None)
            if head & 0xF == CLOSE:
                (code,) = struct.unpack("!H", payload[:2]) if payload else (None,)
                return Closed(code, payload[2:].decode())
            if head & 0xF == PONG:
                self.pongs += 1
                continue
            assert head == 0x80 | TEXT, f"unexpected frame {head:x}"
            message: dict[str, Any] = json.loads(payload)
            if message["type"] != "heartbeat":
                return message

    async def message(self, kind: str) -> dict[str, Any]:
        """The next message, which must be of *kind*."""
        heard = await self.hear()
        assert isinstance(heard, dict), heard
        assert heard["type"] == kind, heard
        return heard

    async def error(self) -> dict[str, Any]:
        """The next message, which must be an error that people can read."""
        error = await self.message("error")
        assert error["message"]
        assert isinstance(error["retry"], bool)
        return error

    async def end(self) -> Closed:
        """How it ends; messages before that are passed over."""
        while isinstance(heard := await self.hear(), dict):
            pass
        return heard

    async def refusal(self) -> tuple[str, Closed]:
        """The code of the error that comes before the end, and the end."""
        error = await self.error()
        return error["code"], await self.end()


def events(body: bytes) -> Iterable[tuple[str, dict[str, Any]]]:
    """Type and data of each Server-Sent Event in *body*, but for heartbeats."""
    for block in body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        if fields.get("event", "heartbeat") != "heartbeat":
            yield fields["event"], json.loads(fields["data"])
