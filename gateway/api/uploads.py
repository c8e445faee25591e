"""
Bodies of one JSON value a line, read as they come: for as long as there are any, and for as long as they may.

An upload lasts, as a viewer's connection does. So it ends as one does: when its token ends, and when the server stops.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gateway.api.endpoint import BODIES, LARGE_BYTES, Gone, parse_json
from gateway.codec import encode_json
from gateway.errors import BadInput, TooLarge, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.api.calls import Call
    from gateway.transports.sinks import ASGIMessage

LINES_TYPE: Final = "application/x-ndjson"
#: Lines that are looked at before others have their turn, and that are given out together.
MOST_AT_ONCE: Final = 500
#: How often we look whether an upload that sends nothing may go on.
_LOOK_SECONDS: Final = 0.5
#: What has lasted for less is no upload that a stopping server needs to send away.
_SHORT_SECONDS: Final = 1.0


#: What a line is as a chunk, from its bytes and what errors call it; None when it is none. Raises BadInput.
Spelling = Callable[[bytes, str], bytes | None]


def spelled(line: bytes, what: str) -> bytes | None:
    """
    JSON as it was written, but for white space that would end a line of an event; an empty line is no chunk.

    Raises:
        BadMessage: For what is not JSON.
    """
    text = line.strip()
    if not text:
        return None
    value = parse_json(text, what)
    return encode_json(value, what="a chunk") if b"\r" in text else text


async def lines(call: Call, spelling: Spelling = spelled) -> AsyncIterator[list[bytes]]:
    """
    The body's lines as they come, each as the chunk that it is, some at a time.

    Raises:
        Gone: When the client left; what it had not ended with a newline is no line.
        BadInput, TooLarge: For a line that is not JSON, or too large; those before it have been given out.
        TokenExpired, TokenRevoked: When the token ended meanwhile.
        Unavailable: When the server stops; all that came has been given out.
    """
    limit = call.services.settings.limits.chunk_bytes
    splitter, number, more, began = _Splitter(), 0, True, time.monotonic()
    while more:
        message = await _receive(call, began)
        if message["type"] == "http.disconnect":
            raise Gone
        more = message.get("more_body", False)
        good: list[bytes] = []
        taken = splitter.take(message.get("body", b""), last=not more)
        if not more and not taken[-1]:
            taken.pop()  # behind the last newline there is nothing, not an empty line
        for line in taken:
            number += 1
            try:
                chunk = await _chunk(line, number, limit, spelling)
                if chunk is not None:
                    good.append(chunk)
            except BadInput:
                if good:
                    yield good
                raise
            if len(good) == MOST_AT_ONCE:
                yield good
                good = []
        if good:
            yield good
        if splitter.left > limit:
            raise TooLarge(f"line {number + 1}", size=splitter.left, limit=limit)
        BODIES.forget(call)
        BODIES.keep(call, splitter.left)


async def _receive(call: Call, began: float) -> ASGIMessage:
    services = call.services
    while True:
        services.admission.check_still(call.admitted)
        if services.lifecycle.draining and time.monotonic() - began > _SHORT_SECONDS:
            raise Unavailable("the server is stopping; go on after the last chunk that was stored")
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                return await call.receive()
        except TimeoutError:
            continue


async def _chunk(line: bytes, number: int, limit: int, spelling: Spelling) -> bytes | None:
    if len(line) > limit:
        raise TooLarge(f"line {number}", size=len(line), limit=limit)
    what = f"line {number}"
    try:
        # Most are small, and a thread for each would cost more than it spares the others.
        return spelling(line, what) if len(line) <= LARGE_BYTES else await asyncio.to_thread(spelling, line, what)
    except BadInput as error:
        error.field = what
        raise


class _Splitter:
    """Takes a body apart at its line ends, at a cost of what came and not of what was kept."""

    def __init__(self) -> None:
        self._rest = bytearray()

    @property
    def left(self) -> int:
        """Bytes of the line that has not ended yet."""
        return len(self._rest)

    def take(self, data: bytes, *, last: bool) -> list[bytes]:
        """The lines that are whole with *data*; after the *last* of it what is left is one, too."""
        ended, newline, rest = data.rpartition(b"\n")
        whole: list[bytes] = []
        if newline:
            self._rest += ended
            whole = bytes(self._rest).split(b"\n")
            self._rest = bytearray()
        self._rest += rest
        if last:
            whole.append(bytes(self._rest))
            self._rest = bytearray()
        return whole
