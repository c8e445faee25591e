"""The answers of a shape: status, headers and body, which go out together (shape protocol, sections 3, 4 and 10)."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gateway.triggerdev.shape.columns import schema_of

if TYPE_CHECKING:
    from gateway.transports.sinks import Send
    from gateway.triggerdev.refusals import Headers

#: Status, headers, body.
Answer = tuple[int, "Headers", bytes]

_JSON: Final = (b"content-type", b"application/json")
_EVENTS: Final = (b"content-type", b"text/event-stream")
_NO_STORE: Final = (b"cache-control", b"no-store")
#: The body is the same for everybody; the official clients hand it to their readers.
_MUST_REFETCH: Final = b'[{"headers":{"control":"must-refetch"}}]'

_schema: Final = lru_cache(maxsize=256)(schema_of)


def told(handle: str, offset: int, body: bytes, hidden: frozenset[str], *, up_to_date: bool) -> Answer:
    """What a request without `live` is answered. It has no cursor, and says how values are to be read."""
    return _told(handle, offset, body, (b"electric-schema", _schema(hidden)), up_to_date=up_to_date)


def told_live(handle: str, offset: int, body: bytes, cursor: str, *, up_to_date: bool = True) -> Answer:
    """What a request with `live` is answered."""
    return _told(handle, offset, body, (b"electric-cursor", next_cursor(cursor)), up_to_date=up_to_date)


def _told(handle: str, offset: int, body: bytes, own: tuple[bytes, bytes], *, up_to_date: bool) -> Answer:
    # `_1` when it is a part of an answer, after which another begins (requests.py).
    place = [(b"electric-handle", handle.encode()), (b"electric-offset", b"%d_%d" % (offset, not up_to_date))]
    headers = [_JSON, _NO_STORE, *place, own]
    if up_to_date:
        headers.append((b"electric-up-to-date", b""))
    return 200, headers, body


def live_head(handle: str) -> bytes:
    """The lines of `told_live`'s headers that are the same in each answer to a client."""
    headers = [_JSON, _NO_STORE, (b"electric-handle", handle.encode()), (b"electric-up-to-date", b"")]
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def must_refetch(handle: str) -> Answer:
    """What the client has does not hold: it begins anew, under another handle."""
    return 409, [_JSON, _NO_STORE, (b"electric-handle", handle.encode())], _MUST_REFETCH


def event_headers(handle: str, offset: int, cursor: str) -> Headers:
    """How a response begins that brings changes as Server-Sent Events."""
    return [
        _EVENTS,
        (b"cache-control", b"no-store, no-transform"),
        (b"x-accel-buffering", b"no"),  # nginx would hold events back until a buffer is full
        (b"electric-handle", handle.encode()),
        (b"electric-offset", b"%d_0" % offset),
        (b"electric-cursor", next_cursor(cursor)),
    ]


def next_cursor(cursor: str) -> bytes:
    """Any text but the request's own: it makes the next URL another one (section 6)."""
    now = int(time.time())
    return b"%d" % (now + 1 if cursor == str(now) else now)


async def send_answer(send: Send, answer: Answer) -> None:
    """Send it all at once."""
    status, headers, body = answer
    headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
