"""
How much of a stream one reader has read. No I/O and no clock: who has a client reads, and hands in what came.

A value is taken once and in order, whatever is read again meanwhile: by another thread, after a lost answer, or after
Redis was restarted.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from gateway.cursors import Cursor, History
from gateway.runs import FINAL

if TYPE_CHECKING:
    from gateway.store.stream_reading import Reading, StoredChunk


class Place:
    """Where a reader is in one stream. Not safe for threads: whoever uses it holds a lock."""

    def __init__(self, run: str, stream: str, *, after: str | None = None, start: int = 0) -> None:
        """
        Args:
            after: The cursor of a reader that went before.
            start: The index of the first chunk that is wanted.

        Raises:
            BadCursor: When *after* is none.
        """
        self.run, self.stream = run, stream
        given = Cursor.parse(after) if after else None
        #: Whose numbers the next is; "" before anything was read.
        self.epoch = given.epoch if given else ""
        #: Everything up to this number was read.
        self.after = given.sequence if given else 0
        #: Chunks before this index are not wanted, or were read.
        self._least = start
        self._start = start
        self._next_index = 0
        self._waiting: deque[tuple[str, StoredChunk]] = deque()
        self._taken = given
        #: When somebody looked without waiting; seconds of the reader's clock.
        self.looked_at = 0.0
        #: Whether the run has ended, and everything it wrote was read.
        self.ended = False

    @property
    def cursor(self) -> str | None:
        """Where a reader goes on that follows this one: after the last value that was taken. None before the first."""
        return str(self._taken) if self._taken else None

    @property
    def first(self) -> StoredChunk | None:
        """The next value, which stays."""
        return self._waiting[0][1] if self._waiting else None

    def take(self) -> StoredChunk | None:
        """The next value, if it was read already."""
        if not self._waiting:
            return None
        epoch, chunk = self._waiting.popleft()
        self._taken = Cursor(epoch, chunk.sequence)
        return chunk

    def learn(self, reading: Reading) -> None:
        """Take in what was read after `after`, at some time; another reading may have been faster."""
        if reading.epoch != self.epoch:
            if self.epoch:
                return  # of a history that this reader does not know: `go_on_in` first
            self.epoch = reading.epoch
        for chunk in reading.chunks:
            if chunk.sequence <= self.after:
                continue
            self._next_index = chunk.index + 1
            if chunk.index >= self._least:
                self._waiting.append((reading.epoch, chunk))
        self.after = max(self.after, reading.end)
        self.ended = reading.complete and reading.status in FINAL

    def go_on_in(self, history: History, next_index: int) -> None:
        """
        Redis was restarted, or another server was promoted.

        Args:
            next_index: The index that the stream's next chunk will have, there.
        """
        end = _end_of(self.epoch, history)
        if end is not None:
            self.after = min(self.after, end)  # what came later was lost, and its numbers are given again
        else:
            # Nobody knows that epoch any more. If the stream is the one that was read, its indexes go on.
            self.after = 0
            self._least = max(self._start, self._next_index) if next_index >= self._next_index else self._start
        self.epoch = history.epoch


def _end_of(epoch: str, history: History) -> int | None:
    """The last number of *epoch* that is part of this history; None when it never was, or is forgotten."""
    end: int | None = None
    for name, last in history.past:
        end = last if end is None else min(end, last)
        if name == epoch:
            return end
    return None
