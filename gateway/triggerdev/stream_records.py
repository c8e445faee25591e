"""
How a stream is spelled for the official clients (Trigger.dev realtime protocol, section 6.5): events of several records
(v2), or one event for each chunk (v1). Both count chunks by their index in the stream. Does no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from gateway.codec import AppendEvent, encode_json, public_status
from gateway.feed.stream_view import OneStream
from gateway.feed.view import Message
from gateway.runs import FINAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.codec import Chunk, Event
    from gateway.feeds import FeedId
    from gateway.store.pages import StreamPage

#: What one event carries: who is cut off within it gets all of it again.
_EVENT_RECORDS: Final = 100
_EVENT_BYTES: Final = 64 * 1024
_NOTHING: Final = b": ping\n\n"
_ANEW: Final = b": anew "
#: A record that nobody can read. A client of v2 takes its connection for broken, and comes back after the last one that
#: it could. (What is spelled as v1 has nothing of the kind: a client takes whatever comes for a chunk.)
UNREADABLE: Final = b'event: batch\ndata: {"records":[null]}\n\n'


class Spelling(StrEnum):
    """How chunks are spelled."""

    V1 = "v1"
    V2 = "v2"
    #: As v2, of an input stream: each value is JSON text in a string, which its reader takes apart (section 7.1).
    INPUT = "input"

    @property
    def version(self) -> str:
        """What the response says in `X-Stream-Version`."""
        return "v1" if self is Spelling.V1 else "v2"


@dataclass(frozen=True, slots=True)
class RecordsView(OneStream):
    """
    One stream of a run, the same for all who follow it in one spelling.

    What is told is spelled here down to the event, so that all of them share the bytes (transports/framings.py adds
    nothing). Chunks before the index *first* are not told: of a reader whose place nobody has written to yet.
    """

    feed: FeedId
    spelling: Spelling
    first: int = 0

    def messages(self, event: Event | AppendEvent, cursor: str) -> list[Message]:
        if isinstance(event, AppendEvent):
            return self._told([self.show(chunk) for chunk in event.chunks if chunk.index >= self.first])
        transition = event.transition
        if transition is None:
            return []
        # 0: the run goes on after all.
        ended = transition.attempt if public_status(transition.status) in FINAL else 0
        return [Message("end", b"", "", ended)]

    def entries(self, page: StreamPage) -> list[Chunk]:
        return [chunk for chunk in page.chunks if chunk.index >= self.first]

    def show(self, chunk: Chunk) -> bytes:
        if self.spelling is Spelling.V1:
            return b"id: %d-%d\ndata: %s\n\n" % (chunk.at, chunk.index, chunk.text)
        text = chunk.text.decode(errors="replace")
        if self.spelling is Spelling.INPUT:
            value = encode_json(text, what="a value").decode()
            envelope = f'{{"data":{value},"id":"inp_{chunk.sequence:012x}"}}'
        else:
            envelope = f'{{"data":{text},"id":"{chunk.sequence:x}"}}'
        body = encode_json(envelope, what="a record")
        return b'{"seq_num":%d,"timestamp":%d,"body":%s}' % (chunk.index, chunk.at, body)

    def page(self, page: StreamPage, shown: Sequence[bytes], *, replaces: bool, truncated: bool) -> list[Message]:
        told = self._told(shown)
        return [Message("anew", page.epoch.encode(), ""), *told] if replaces else told

    def end_at(self, page: StreamPage) -> Message | None:
        if page.status is None or page.status not in FINAL:
            return None
        return Message("end", b"", "", page.attempt)

    def _told(self, shown: Sequence[bytes]) -> list[Message]:
        if not shown:
            return []
        events = shown if self.spelling is Spelling.V1 else map(_batch, _some(shown))
        return [Message("chunks", b"".join(events), "")]


def _batch(records: Sequence[bytes]) -> bytes:
    return b'event: batch\ndata: {"records":[%s]}\n\n' % b",".join(records)


def _some(records: Sequence[bytes]) -> Iterator[list[bytes]]:
    """*records*, as many at a time as one event carries."""
    some: list[bytes] = []
    size = 0
    for record in records:
        if some and (len(some) == _EVENT_RECORDS or size + len(record) > _EVENT_BYTES):
            yield some
            some, size = [], 0
        some.append(record)
        size += len(record)
    yield some


class Anew(bytes):
    """What is told to a reader whose place does not hold: all that there is, of another *epoch* perhaps."""

    epoch: str


class RecordsFraming:
    """Events as a view spelled them; everything else is a comment, for the clients take each event for a chunk."""

    def __init__(self, *, chunked: bool) -> None:
        self._chunked = chunked

    def frame(self, kind: str, body: bytes, cursor: str) -> bytes:
        match kind:
            case "chunks":
                return body
            case "anew":
                return b"%s%s\n\n" % (_ANEW, body)
            case _:
                return _NOTHING

    def wrap(self, frames: bytes) -> bytes:
        """One chunk (RFC 9112, section 7.1) for all that goes out together, where the connection is chunked."""
        data = b"%x\r\n%s\r\n" % (len(frames), frames) if self._chunked else frames
        if not frames.startswith(_ANEW):
            return data
        anew = Anew(data)
        anew.epoch = frames[len(_ANEW) : frames.index(b"\n")].decode()
        return anew


#: By whether the connection is chunked.
RECORDS: Final = {chunked: RecordsFraming(chunked=chunked) for chunked in (False, True)}
