"""
What a reader of a stream asks for: from which chunk on, and for how long (Trigger.dev realtime protocol, section 6.5).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gateway.api.calls import Answer, Call
from gateway.api.forms import wrong
from gateway.errors import NotFound
from gateway.feeds import FeedId
from gateway.triggerdev.stream_reader import Reading, send_stream
from gateway.triggerdev.stream_records import RecordsView

if TYPE_CHECKING:
    from gateway.triggerdev.stream_records import Spelling

_LONGEST_SECONDS: Final = 600
#: Of v2 the index of the last chunk that came, of v1 its event: a time, and the index.
_POSITION: Final = re.compile("(?:[0-9]{1,15}-)?([0-9]{1,15})")
_FOUND: Final = "reading"


async def find_stream(call: Call, stream: str, spelling: Spelling) -> None:
    """
    Look where the reader begins, and whether it may read. The stream need not be there, but its run must.

    Raises:
        BadMessage: For a header that can't be right.
        NotFound: When there is no such run.
        NotAllowed, TooManyConnections: As everywhere.
        Unavailable: When that can't be known now.
    """
    run, services = call.path["id"], call.services
    silence, index = _silence(call), _index(call)
    place = await services.store.find_chunk(call.environment, run, stream, index)
    if place.status is None:
        raise NotFound("Run not found")
    await services.admission.check_feed(call.admitted, FeedId.run(run))
    services.quotas.check_connection(call.environment, call.admitted.token)
    ahead = index if index is not None and index > place.next_index else 0
    view = RecordsView(FeedId.stream(run, stream), spelling, first=ahead)
    call.found[_FOUND] = Reading(view, place.cursor, silence, place.ended_seconds)


async def answer_stream(call: Call) -> Answer | None:
    """Answer with what `find_stream` found; a `HEAD` with the headers alone."""
    found: Reading = call.found[_FOUND]
    if call.scope["method"] == "HEAD":
        return Answer(200, b"", (("x-stream-version", found.view.spelling.version),), "text/event-stream")
    await send_stream(call.services, found, call.admitted, call.scope, call.receive, call.send)
    return None


def _silence(call: Call) -> float | None:
    """After how many seconds without a chunk the response ends."""
    text = call.headers.get("timeout-seconds")
    if text is None:
        return None
    seconds = int(text) if text.isascii() and text.isdecimal() and len(text) < 5 else 0
    if not 1 <= seconds <= _LONGEST_SECONDS:
        raise wrong("Timeout-Seconds", f"must be a whole number from 1 to {_LONGEST_SECONDS}")
    return float(seconds)


def _index(call: Call) -> int | None:
    """The index of the first chunk that the reader wants; None for the newest that there is."""
    text = call.headers.get("last-event-id", "").strip()
    if text == "-1":
        return 0
    if text:
        match = _POSITION.fullmatch(text)
        if match is None:
            raise wrong("Last-Event-ID", "must be the position of a chunk, as it came with it, or a chunk's index")
        return int(match[1]) + 1
    # With the newest one it has a position, by which it goes on should the connection break before the next.
    return None if call.headers.get("x-trigger-stream-start") == "latest" else 0
