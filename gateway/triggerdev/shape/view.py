"""
How a feed is shown to a shape: rows and changes in the form that the shape protocol sends, and the two framings in
which the hub hands them over. Does no I/O.

Each message is a small head, a tab, and JSON without line breaks. A shape's own follower reads them as lines of a log;
whoever catches up reads pages alone, whose rows are spelled once for everybody who waits for the same page.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.codec import AppendEvent, decode_json, encode_json, encode_message, raw_json
from gateway.feed.view import MAX_LIMIT, Message
from gateway.runs import METADATA
from gateway.triggerdev.shape.columns import STORED, Values, event_values, row_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.codec import Event, Row
    from gateway.feeds import FeedId
    from gateway.store.pages import Page

_CHANGE: Final = "change"
_PAGE: Final = "page"
#: A type without which what it belongs to can't be read.
_TYPE_OF: Final = (("payload", "payloadType"), ("output", "outputType"))


@dataclass(frozen=True, slots=True)
class ShownRow:
    """One row as it is sent: its place, and the change object that inserts it."""

    sequence: int
    run: str
    text: bytes


@dataclass(frozen=True, slots=True)
class ShapeView:
    """A feed as the shape protocol shows it (feed/view.py: Shown). Those who asked for the same share one shape."""

    feed: FeedId
    #: Columns of the shape that are left out.
    hidden: frozenset[str] = frozenset()
    #: Only runs created at or after this moment (ms since 1970); 0 for all.
    since: int = 0
    limit: int = MAX_LIMIT
    #: The stored columns that this view needs.
    columns: tuple[str, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        types = {kind for name, kind in _TYPE_OF if name not in self.hidden}
        needed = tuple(name for name in STORED if name not in self.hidden or name in types)
        object.__setattr__(self, "columns", needed)

    @property
    def shows_metadata(self) -> bool:
        return METADATA not in self.hidden

    def hiding(self, hidden: frozenset[str]) -> ShapeView:
        """The same feed without other columns."""
        return ShapeView(self.feed, hidden, self.since, self.limit)

    def admits(self, event: Event | AppendEvent) -> bool:
        """Whether the run that changed belongs to this feed, as far as its channel does not say."""
        if isinstance(event, AppendEvent) or event.created < self.since:
            return False
        return self.feed.kind != "tag" or len(self.feed.names) == 1 or set(self.feed.names) <= set(event.tags)

    def lacks(self, event: Event) -> bool:
        """Whether the event leaves something out that this view shows, so that only the row can tell."""
        return bool(event.left_out) and any(name in self.columns for name in event.left_out)

    def is_partial(self, event: Event) -> bool:
        """Whether only who has the run already can be told the event."""
        return not event.whole

    def messages(self, event: Event, cursor: str) -> list[Message]:
        """What is told of a change: what of it is shown here, and which keys of the metadata it touched."""
        values = event_values(event, self.hidden)
        head: dict[str, Any] = {"s": event.sequence, "r": event.run}
        if event.whole:
            head["w"] = True
            if self.shows_metadata:
                document = event.metadata
                values[METADATA] = encode_json(document, what=METADATA).decode() if document else None
        elif self.shows_metadata and (event.metadata or event.deleted):
            head["m"], head["d"] = event.metadata, event.deleted
        elif values.keys() <= {"id", "updatedAt"}:
            # Nothing is shown; but who had a cut-off snapshot may lack the run.
            if self.feed.kind == "run":
                return []
            return [Message(_CHANGE, b"%s\t{}" % encode_message({**head, "q": True}), cursor)]
        if event.transition is not None:
            head["t"] = True
        return [Message(_CHANGE, b"%s\t%s" % (encode_message(head), encode_message(values)), cursor)]

    def entries(self, page: Page) -> list[Row]:
        """What of a page is told, each with its number."""
        return page.rows

    def show(self, row: Row) -> ShownRow:
        """A row as it is sent."""
        values = encode_message(row_values(row, self.hidden))
        return ShownRow(row.sequence, row.run, change_text(row.run, values, operation="insert"))

    def page(self, page: Page, shown: Sequence[ShownRow], *, replaces: bool, truncated: bool) -> list[Message]:
        """What is told of a page to who lacks *shown* of it."""
        head = {
            "epoch": page.epoch,
            "end": page.end,
            "complete": page.complete,
            "replaces": replaces,
            "truncated": truncated,
            "rows": [(row.sequence, row.run, len(row.text)) for row in shown],
        }
        return [Message(_PAGE, b"%s\t%s" % (encode_message(head), b",".join([row.text for row in shown])), "")]

    def end_at(self, page: Page) -> Message | None:
        """A shape tells no end: a row with `completedAt` is one."""
        return None


def change_text(run: str, values: bytes, *, operation: str) -> bytes:
    """One change of a row, as the protocol sends it (section 4)."""
    message = {
        "key": f'"public"."TaskRun"/"{run.replace("/", "//")}"',
        "value": raw_json(values),
        "headers": {"operation": operation},
    }
    return encode_message(message)


class LogFraming:
    """What a shape's own follower reads: changes and pages, one a line. Nothing else concerns it."""

    def frame(self, kind: str, body: bytes, cursor: str) -> bytes:
        return body + b"\n" if kind in (_CHANGE, _PAGE) else b""

    def wrap(self, frames: bytes) -> bytes:
        return frames


class PageFraming:
    """What somebody reads who catches up once: pages, each in a write of its own."""

    def frame(self, kind: str, body: bytes, cursor: str) -> bytes:
        return body if kind == _PAGE else b""

    def wrap(self, frames: bytes) -> bytes:
        return frames


LOG: Final = LogFraming()
PAGE: Final = PageFraming()


@dataclass(frozen=True, slots=True)
class ReadPage:
    """A page as it was framed."""

    epoch: str
    #: Everything up to this number is in it, and in those before it.
    end: int
    complete: bool
    #: Whether it begins a snapshot that replaces what was told before.
    replaces: bool
    #: Whether more runs match than are shown.
    truncated: bool
    #: Of each row its number, its run and the length of its text in `changes`.
    rows: list[tuple[int, str, int]]
    #: The change objects, joined by commas.
    changes: bytes


@dataclass(frozen=True, slots=True)
class ReadChange:
    """A change as it was framed."""

    sequence: int
    run: str
    whole: bool
    #: Whether it brought another status.
    transition: bool
    #: Metadata keys that were set, and those that were deleted.
    changed: dict[str, Any]
    deleted: list[str]
    values: Values
    #: Whether nothing of it is shown.
    silent: bool = False


def read_page(data: bytes) -> ReadPage:
    """What PAGE framed."""
    head, _, changes = data.partition(b"\t")
    return ReadPage(**decode_json(head), changes=changes)


def read_log(data: bytes) -> list[ReadChange | ReadPage]:
    """What LOG framed."""
    return [_read(line) for line in data.split(b"\n") if line]


def _read(line: bytes) -> ReadChange | ReadPage:
    text, _, rest = line.partition(b"\t")
    head = decode_json(text)
    if "rows" in head:
        return ReadPage(**head, changes=rest)
    return ReadChange(
        sequence=head["s"],
        run=head["r"],
        whole="w" in head,
        transition="t" in head,
        changed=head.get("m", {}),
        deleted=head.get("d", []),
        values=decode_json(rest),
        silent="q" in head,
    )
