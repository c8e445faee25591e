"""
How each transport spells messages on the wire. One object for all connections that spell alike, so that what is
spelled once serves all of them.
"""

from __future__ import annotations

import struct
from typing import Final


class WebSocketFraming:
    """Server text frames (RFC 6455, section 5.2): final, unmasked, never compressed, so one serves everybody."""

    def frame(self, kind: str, body: bytes, cursor: str) -> bytes:
        size = len(body)
        if size < 126:
            return b"\x81" + bytes((size,)) + body
        if size < 65536:
            return b"\x81\x7e" + struct.pack("!H", size) + body
        return b"\x81\x7f" + struct.pack("!Q", size) + body

    def wrap(self, frames: bytes) -> bytes:
        return frames


class LineFraming:
    """One message a line, for servers that frame themselves; JSON on one line has no newline in it."""

    def frame(self, kind: str, body: bytes, cursor: str) -> bytes:
        return body + b"\n"

    def wrap(self, frames: bytes) -> bytes:
        return frames


class EventFraming:
    """
    Server-Sent Events (WHATWG HTML, section 9.2).

    With several feeds on a connection one change may be told more than once, and a cut between the two would lose
    the second, had the first carried its number. So there only heartbeats, which speak for all feeds, have an id.
    """

    def __init__(self, *, several_feeds: bool, chunked: bool) -> None:
        self._several_feeds = several_feeds
        self._chunked = chunked

    def frame(self, kind: str, body: bytes, cursor: str) -> bytes:
        if cursor and (kind == "heartbeat" or not self._several_feeds):
            return b"id: %s\nevent: %s\ndata: %s\n\n" % (cursor.encode(), kind.encode(), body)
        return b"event: %s\ndata: %s\n\n" % (kind.encode(), body)

    def id_line(self, kind: str, cursor: str) -> bytes:
        """The line that says *cursor* in an event that is spelled in another way; empty when it says none."""
        return b"id: %s\n" % cursor.encode() if cursor and (kind == "heartbeat" or not self._several_feeds) else b""

    def wrap(self, frames: bytes) -> bytes:
        """One chunk (RFC 9112, section 7.1) for all that goes out together, where the connection is chunked."""
        return b"%x\r\n%s\r\n" % (len(frames), frames) if self._chunked else frames


WEBSOCKET: Final = WebSocketFraming()
LINES: Final = LineFraming()
#: By (several feeds, chunked).
EVENTS: Final = {
    (several, chunked): EventFraming(several_feeds=several, chunked=chunked)
    for several in (False, True)
    for chunked in (False, True)
}
