"""How a feed is shown: which runs, which columns, and the messages that say so (docs/protocol.md). Does no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from gateway.codec import AppendEvent, encode_message, public_changes, public_run, public_status
from gateway.cursors import Cursor
from gateway.runs import COLUMNS, FINAL, METADATA, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.codec import Event, Row
    from gateway.feeds import FeedId
    from gateway.runs import Status
    from gateway.store.pages import Page

MAX_LIMIT: Final = 1000


class Framing(Protocol):
    """How a transport spells messages. One object for all connections that spell them alike."""

    def frame(self, kind: str, body: bytes, cursor: str) -> bytes:
        """One message: its type, its JSON, and the cursor of who has seen it ("" when it moves nobody)."""

    def wrap(self, frames: bytes) -> bytes:
        """The frames of one loop turn, as they go to the socket."""


class Message(NamedTuple):
    """One message to the viewers of a feed, before a transport spells it."""

    kind: str
    body: bytes
    cursor: str
    #: Of a run feed: the attempt whose end it tells, 0 when it tells that the run goes on, None when neither.
    ends: int | None = None


class Shown(Protocol):
    """
    How a feed is shown: `View` for runs, `StreamView` for chunks. A group needs nothing else of it.

    Those who asked for the same are equal, and share everything up to the socket. Events are `Event` and `AppendEvent`,
    entries `Row` and `Chunk`: what comes on a view's channel and pages is of its own kind.
    """

    @property
    def feed(self) -> FeedId:
        """What is followed."""

    @property
    def since(self) -> int:
        """Only runs created at or after this moment are shown (ms since 1970); 0 for all."""

    @property
    def limit(self) -> int:
        """The most entries of a first snapshot."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What is read of each row."""

    @property
    def shows_metadata(self) -> bool:
        """Whether metadata is read, too."""

    def hiding(self, hidden: frozenset[str]) -> Shown:
        """The same, without these columns."""

    def admits(self, event: Any) -> bool:
        """Whether the event belongs to this view, as far as its channel does not say."""

    def lacks(self, event: Any) -> bool:
        """Whether the event leaves out something that is shown here, so that it must be read."""

    def is_partial(self, event: Any) -> bool:
        """Whether only who has the entry already can be told the event."""

    def messages(self, event: Any, cursor: str) -> list[Message]:
        """What is told of the event, in order; who has heard it stands at *cursor*."""

    def entries(self, page: Any) -> list[Any]:
        """What of a page is told, each with its number."""

    def show(self, entry: Any) -> Any:
        """An entry as `page` takes it."""

    def page(self, page: Any, shown: Sequence[Any], *, replaces: bool, truncated: bool) -> list[Message]:
        """
        What is told of a page to who lacks *shown* of it.

        Args:
            replaces: Whether it takes the place of all that was told before.
            truncated: Whether older runs are left out by the view's limit.
        """

    def end_at(self, page: Any) -> Message | None:
        """The message that the feed is over, if the page says so."""


@dataclass(frozen=True, slots=True)
class View:
    """A feed as some viewers asked to see it. Those who asked for the same share everything up to the socket."""

    feed: FeedId
    hidden: frozenset[str] = frozenset()
    #: Only runs created at or after this moment (ms since 1970); 0 for all.
    since: int = 0
    #: The most runs of a snapshot: those that changed last.
    limit: int = MAX_LIMIT
    #: The stored columns that this view needs.
    columns: tuple[str, ...] = field(init=False, compare=False, repr=False)
    #: How its updates begin: what of them is not the same in all feeds.
    _head: bytes = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        shown = [name for name, column in COLUMNS.items() if column.kind is not Kind.INTERNAL]
        object.__setattr__(self, "columns", tuple(name for name in shown if name not in self.hidden))
        object.__setattr__(self, "_head", encode_message({"type": "update", "feed": str(self.feed)})[:-1] + b",")

    @property
    def shows_metadata(self) -> bool:
        return METADATA not in self.hidden

    def hiding(self, hidden: frozenset[str]) -> View:
        """The same feed without other columns."""
        return replace(self, hidden=hidden)

    def admits(self, event: Event | AppendEvent) -> bool:
        """Whether the run that changed belongs to this feed, as far as its channel does not say."""
        if isinstance(event, AppendEvent) or event.created < self.since:
            return False
        return self.feed.kind != "tag" or len(self.feed.names) == 1 or set(self.feed.names) <= set(event.tags)

    def lacks(self, event: Event) -> bool:
        """Whether the event leaves something out that this view shows, so that only the row can tell."""
        return bool(event.left_out) and any(name not in self.hidden for name in event.left_out)

    def is_partial(self, event: Event) -> bool:
        """Whether only who has the run already can be told the event."""
        return not event.whole

    def messages(self, event: Event, cursor: str) -> list[Message]:
        """What is told of a change, in order."""
        update = self.update(event, cursor)
        if event.transition is None:  # as nearly all of them
            return [] if update is None else [update]
        return [message for message in (update, self.end_of(event, cursor)) if message is not None]

    def update(self, event: Event, cursor: str) -> Message | None:
        """What changed, or None when nothing of it is shown here."""
        # A run is in several feeds, and its change comes once for each that somebody follows: but for the feed's name
        # they are told the same, which is spelled once.
        told = event.told
        if self.hidden in told:
            body = told[self.hidden]
        else:
            body = told[self.hidden] = self._spell(event, cursor)
        if body is None:
            return None
        goes_on = 0 if event.transition is not None and self.feed.kind == "run" else None
        return Message("update", self._head + body, cursor, goes_on)

    def _spell(self, event: Event, cursor: str) -> bytes | None:
        """The rest of an update, after its head."""
        run = {"id": event.run, **public_changes(event.columns, self.hidden)}
        message: dict[str, Any] = {"run": run}
        tells_metadata = self.shows_metadata and bool(event.metadata or event.deleted)
        if event.whole:
            message["whole"] = True
            if self.shows_metadata:
                run["metadata"] = event.metadata
        elif tells_metadata:
            message["metadata"] = {"changed": event.metadata, "deleted": event.deleted}
        elif run.keys() <= {"id", "updatedAt"}:
            return None
        if event.transition is not None and "transitions" not in self.hidden:
            message["transition"] = event.transition.public()
        message["cursor"] = cursor
        return encode_message(message)[1:]

    def snapshot(
        self, runs: Sequence[bytes], cursor: Cursor, *, replaces: bool, complete: bool, truncated: bool
    ) -> Message:
        """Whole runs, each already encoded."""
        head = encode_message(
            {
                "type": "snapshot",
                "feed": str(self.feed),
                "replaces": replaces,
                "complete": complete,
                "truncated": truncated,
                "cursor": str(cursor),
            }
        )
        return Message("snapshot", b'%s,"runs":[%s]}' % (head[:-1], b",".join(runs)), str(cursor))

    def entries(self, page: Page) -> list[Row]:
        """What of a page is told, each with its number."""
        return page.rows

    def show(self, row: Row) -> bytes:
        """The public object of a row, as this view shows it."""
        return public_run(row, self.hidden)

    def page(self, page: Page, shown: Sequence[bytes], *, replaces: bool, truncated: bool) -> list[Message]:
        """What is told of a page to who lacks *shown* of it."""
        cursor = Cursor(page.epoch, page.end, partial=not page.complete)
        return [self.snapshot(shown, cursor, replaces=replaces, complete=page.complete, truncated=truncated)]

    def end_at(self, page: Page) -> Message | None:
        """As `end`, by what was read."""
        if self.feed.kind != "run" or not page.rows:
            return None
        row = page.rows[0]
        return self.end(row.status, row.attempt, str(Cursor(page.epoch, page.end)))

    def end(self, status: Status, attempt: int, cursor: str) -> Message | None:
        """For a run feed: the message that its run reached its final status, or None when it has not."""
        if self.feed.kind != "run" or status not in FINAL:
            return None
        body = encode_message({"type": "end", "feed": str(self.feed), "status": status, "cursor": cursor})
        return Message("end", body, cursor, attempt)

    def end_of(self, event: Event, cursor: str) -> Message | None:
        """As `end`, for a change that may have brought it."""
        if event.transition is None:
            return None
        return self.end(public_status(event.transition.status), event.transition.attempt, cursor)
