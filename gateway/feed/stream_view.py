"""How a stream is shown: its chunks, each with its index, from the begin to the end of its run. Does no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from gateway.codec import AppendEvent, encode_message, public_status
from gateway.cursors import Cursor, spell_cursor
from gateway.feed.view import Message
from gateway.runs import FINAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.codec import Chunk, Event
    from gateway.feeds import FeedId
    from gateway.runs import Status
    from gateway.store.pages import StreamPage


class OneStream:
    """What every view of a stream is like, however its chunks are spelled: it has no columns, window or limit."""

    __slots__ = ()
    feed: FeedId
    since: Final = 0
    limit: Final = 0
    columns: Final[tuple[str, ...]] = ()
    shows_metadata: Final = False

    def hiding(self, hidden: frozenset[str]) -> Self:
        return self

    def admits(self, event: Event | AppendEvent) -> bool:
        return not isinstance(event, AppendEvent) or event.stream == self.feed.names[1]

    def lacks(self, event: Event | AppendEvent) -> bool:
        return isinstance(event, AppendEvent) and event.left_out

    def is_partial(self, event: Event | AppendEvent) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class StreamView(OneStream):
    """
    One stream of a run, the same for all who follow it (docs/protocol.md, "Streams").

    Its channel brings the appends to all streams of the run, and that the run ended, or goes on.
    """

    feed: FeedId
    #: How each chunk begins.
    _head: bytes = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_head", b'{"type":"chunk","feed":"%b","index":' % str(self.feed).encode())

    def messages(self, event: Event | AppendEvent, cursor: str) -> list[Message]:
        if isinstance(event, AppendEvent):
            return [self._chunk(chunk, event.epoch) for chunk in event.chunks]
        transition = event.transition
        if transition is None or public_status(transition.status) not in FINAL:
            return []
        return [self._end(public_status(transition.status), transition.attempt, cursor)]

    def entries(self, page: StreamPage) -> list[Chunk]:
        return page.chunks

    def show(self, chunk: Chunk) -> Chunk:
        return chunk

    def page(self, page: StreamPage, shown: Sequence[Chunk], *, replaces: bool, truncated: bool) -> list[Message]:
        told = [self._chunk(chunk, page.epoch) for chunk in shown]
        if not replaces:
            return told
        # What this reader may have had before is void, or there was nothing. Its cursor stands before the first chunk.
        before = shown[0].sequence - 1 if shown else page.end
        return [self.begin(page.first_index, Cursor(page.epoch, before)), *told]

    def begin(self, index: int, at: Cursor) -> Message:
        """What a reader is told that begins at *index*: it has everything up to *at* that it is to have."""
        message = {"type": "begin", "feed": str(self.feed), "firstIndex": index, "cursor": str(at)}
        return Message("begin", encode_message(message), str(at))

    def end_at(self, page: StreamPage) -> Message | None:
        if page.status is None or page.status not in FINAL:
            return None
        return self._end(page.status, page.attempt, str(Cursor(page.epoch, page.end)))

    def _chunk(self, chunk: Chunk, epoch: str) -> Message:
        # Put together by hand, at half the price: the name of a feed is its own JSON (gateway/feeds.py).
        cursor = spell_cursor(epoch, chunk.sequence)
        parts = (self._head, chunk.index, chunk.text, cursor.encode())
        return Message("chunk", b'%b%d,"chunk":%b,"cursor":"%b"}' % parts, cursor)

    def _end(self, status: Status, attempt: int, cursor: str) -> Message:
        body = encode_message({"type": "end", "feed": str(self.feed), "status": status, "cursor": cursor})
        return Message("end", body, cursor, attempt)
