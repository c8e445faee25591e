"""
The ceiling: what this language and this kernel can do, and what nobody could use.

A bare protocol on uvloop. It hears events from Redis with hiredis, all that came at once, makes one frame of each, and
writes that frame to the socket of every viewer. The handshake is as short as clients permit, frames that viewers send
are ignored, and there is nothing else: no tokens, no cursors, no state. Whatever a gateway does beside this costs
something, and what it costs is the distance to this.

Two ways to write, because they differ by an order of magnitude: one event at a time, or all events of a feed that came
in one turn of the loop in one piece (`--together`).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gc
import hashlib
import re
import struct
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import hiredis
import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Events of a feed are published on the channel of this name and the feed's.
CHANNEL: Final = "bench:"
BACKLOG: Final = 16_384
#: What a socket may hold before its viewer is passed over until it has drained, so that overload costs no memory.
UNSENT_LIMIT: Final = 256 * 1024
_KEY: Final = re.compile(rb"sec-websocket-key: *(\S+)", re.IGNORECASE)
_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_EVENT_STREAM: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def text_frame(event: bytes) -> bytes:
    """An unmasked text frame (RFC 6455, section 5.2)."""
    size = len(event)
    if size < 126:
        return bytes((0x81, size)) + event
    return (b"\x81\x7e" + struct.pack("!H", size) if size < 65_536 else b"\x81\x7f" + struct.pack("!Q", size)) + event


def stream_event(event: bytes) -> bytes:
    return b"data: " + event + b"\n\n"


class Feed:
    """The sockets of those who follow one feed, by the framing that they speak."""

    __slots__ = ("_viewers",)

    def __init__(self) -> None:
        self._viewers: dict[Callable[[bytes], bytes], set[asyncio.Transport]] = {text_frame: set(), stream_event: set()}

    def viewers(self, framing: Callable[[bytes], bytes]) -> set[asyncio.Transport]:
        return self._viewers[framing]

    def tell(self, events: Iterable[bytes]) -> None:
        for framing, viewers in self._viewers.items():
            if viewers:
                frames = b"".join(map(framing, events))
                for transport in tuple(viewers):  # writing may take one out (pause_writing)
                    transport.write(frames)


class Subscription(asyncio.Protocol):
    """The connection to Redis, on which each feed is heard once."""

    def __init__(self, *, together: bool) -> None:
        self._reader = hiredis.Reader()
        self._tell = self._tell_together if together else self._tell_each
        self._feeds: dict[bytes, Feed] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so

    def feed(self, name: str) -> Feed:
        channel = (CHANNEL + name).encode()
        if channel not in self._feeds:
            self._feeds[channel] = Feed()
            self._transport.write(hiredis.pack_command((b"SUBSCRIBE", channel)))  # type: ignore[arg-type]
        return self._feeds[channel]

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        replies = []
        while (reply := self._reader.gets()) is not False:
            replies.append(reply)
        self._tell((channel, event) for kind, channel, event in replies if kind == b"message")

    def _tell_each(self, heard: Iterable[tuple[bytes, bytes]]) -> None:
        for channel, event in heard:
            self._feeds[channel].tell((event,))

    def _tell_together(self, heard: Iterable[tuple[bytes, bytes]]) -> None:
        events: dict[bytes, list[bytes]] = {}
        for channel, event in heard:
            events.setdefault(channel, []).append(event)
        for channel, of_feed in events.items():
            self._feeds[channel].tell(of_feed)


class Viewer(asyncio.Protocol):
    """One socket: `GET /ws?feed=NAME` or `GET /events?feed=NAME`, and then nothing but what it is told."""

    __slots__ = ("_subscription", "_transport", "_viewers")

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._viewers: set[asyncio.Transport] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=UNSENT_LIMIT)

    def data_received(self, data: bytes) -> None:
        if self._viewers is None:  # a whole request in one piece, as every client on loopback sends it
            path, _, feed = data.split(b" ", 2)[1].partition(b"?feed=")
            key = _KEY.search(data)
            self._transport.write(_switching(key[1]) if key else _EVENT_STREAM)
            framing = text_frame if path == b"/ws" else stream_event
            self._viewers = self._subscription.feed(feed.decode()).viewers(framing)
            self._viewers.add(self._transport)

    def pause_writing(self) -> None:
        if self._viewers is not None:
            self._viewers.discard(self._transport)

    def resume_writing(self) -> None:
        if self._viewers is not None:
            self._viewers.add(self._transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.pause_writing()
        self._viewers = None


def _switching(key: bytes) -> bytes:
    accept = base64.b64encode(hashlib.sha1(key + _MAGIC).digest())
    head = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    return head + b"sec-websocket-accept: " + accept + b"\r\n\r\n"


async def serve(port: int, redis_url: str, *, together: bool) -> None:
    loop = asyncio.get_running_loop()
    redis = urlsplit(redis_url)
    _, subscription = await loop.create_connection(
        lambda: Subscription(together=together), redis.hostname or "127.0.0.1", redis.port or 6379
    )
    server = await loop.create_server(lambda: Viewer(subscription), "127.0.0.1", port, backlog=BACKLOG)
    gc.freeze()
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--redis-url", required=True)
    parser.add_argument("--together", action="store_true", help="one write for all events of a turn of the loop")
    arguments: Any = parser.parse_args()
    uvloop.run(serve(arguments.port, arguments.redis_url, together=arguments.together))


if __name__ == "__main__":
    main()
