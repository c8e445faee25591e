"""What is read of a feed, or of a stream: where its viewers start, and a page of what changed since."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.codec import Chunk, Row
    from gateway.cursors import Cursor, History
    from gateway.runs import Status


@dataclass(frozen=True, slots=True)
class Place:
    """Where viewers of a feed start: rows numbered above `start` are those within the limit."""

    history: History
    start: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class Page:
    """
    All rows of a feed that changed after some number, up to `end`, the oldest change first.

    When it is complete there are no others, and `end` is the number of the environment's newest change. When `epoch`
    is not the one that was asked for, nothing was read.
    """

    epoch: str
    end: int
    complete: bool
    rows: list[Row]

    @property
    def start(self) -> int:
        """Who has been told less than up to this number has missed what can't be read any more."""
        return 0


@dataclass(frozen=True, slots=True)
class StreamPage(Page):
    """As `Page`, of a stream: its chunks numbered above what was asked, up to `end`, oldest first. `rows` is empty."""

    chunks: list[Chunk]
    #: The index at which the stream begins: later than 0 when its oldest chunks were removed.
    first_index: int
    #: The index that its next chunk will have.
    next_index: int
    #: Of the run; None when there is none.
    status: Status | None
    attempt: int
    #: Chunks up to this number were removed to keep the stream within its limit.
    trimmed: int

    @property
    def start(self) -> int:
        return self.trimmed


@dataclass(frozen=True, slots=True)
class StreamPlace:
    """Where a reader of a stream begins."""

    #: It has everything up to here that it is to have.
    cursor: Cursor
    #: The index that the stream's next chunk will have.
    next_index: int
    #: Of the run; None when there is none.
    status: Status | None
    #: How long ago the run ended (seconds); 0 when it has not.
    ended_seconds: float
