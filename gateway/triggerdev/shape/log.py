"""
What a shape remembers: its latest changes, and the answers that were made of them. Bounded; whatever is older is read
from Redis again.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.codec import encode_message
from gateway.triggerdev.shape.view import change_text

if TYPE_CHECKING:
    from gateway.triggerdev.shape.columns import Values

MAX_ENTRIES: Final = 1000
MAX_BYTES: Final = 1024 * 1024
#: Larger ones are not kept: whoever needs one reads it with everybody else who does.
MAX_ENTRY_BYTES: Final = MAX_BYTES // 2
#: Answers that were made since the last change; when they are more, they are made again.
_ANSWER_BYTES: Final = 4 * MAX_BYTES
#: Runs whose last number is known. When more come, we start over.
_MAX_RUNS: Final = 50_000

UP_TO_DATE: Final = b'{"headers":{"control":"up-to-date"}}'


@dataclass(frozen=True, slots=True)
class Entry:
    """One change of the shape."""

    sequence: int
    run: str
    values: Values
    #: Whether it is the whole row.
    whole: bool
    #: Whether it brought another status, or may have.
    transition: bool
    size: int
    #: The number of the change of this run before it; 0 when that is not known.
    previous: int = 0
    #: Whether nothing of it is shown: only who lacks the run is told, and reads it.
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """Changes as they are sent, joined by commas, and the number up to which there are no others."""

    changes: bytes
    end: int
    #: The body of an answer that ends with them.
    body: bytes
    #: Who may lack runs that did not change after this number can't be told; None when everybody can.
    floor: int | None = None


class OutOfLog(Exception):
    """The log does not reach so far back, or can't tell this client what happened."""


class Log:
    """
    Changes in order, complete from `start` to `position`. Of those up to `start` it knows nothing.

    Args:
        paced: Whether each status of a run goes into an answer of its own. Clients fold an answer into one state.
    """

    __slots__ = (
        "_answer_bytes",
        "_answers",
        "_base",
        "_bytes",
        "_entries",
        "_hushed",
        "_last",
        "_paced",
        "_sequences",
        "epoch",
        "position",
        "start",
        "version",
    )

    def __init__(self, epoch: str, start: int, *, paced: bool) -> None:
        self.epoch = epoch
        self.start = self.position = start
        self._paced = paced
        self._entries: list[Entry] = []
        self._sequences: list[int] = []
        self._bytes = 0
        self._last: dict[str, int] = {}
        #: The highest base that somebody came with; 0 when nobody lacks a run.
        self._base = 0
        #: The last change that was not kept, as nothing of it is shown, and nobody of such a base lacked its run.
        self._hushed = 0
        #: By how many entries their reader has seen.
        self._answers: dict[int, Told] = {}
        self._answer_bytes = 0
        #: Another one when somebody may be told something else than before.
        self.version = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """Bytes of its entries, about."""
        return self._bytes

    def append(self, sequence: int, run: str, values: Values, *, whole: bool, transition: bool, size: int) -> None:
        """The next change."""
        entry = Entry(sequence, run, values, whole, transition, size, self._last.get(run, 0))
        self.learn(sequence, run)
        self._keep(entry)

    def _keep(self, entry: Entry) -> None:
        self.position = max(self.position, entry.sequence)
        self._entries.append(entry)
        self._sequences.append(entry.sequence)
        self._bytes += entry.size
        self._changed()
        if len(self._entries) > MAX_ENTRIES or self._bytes > MAX_BYTES:
            self._shorten()

    def hush(self, sequence: int, run: str) -> None:
        """
        The next change shows nothing here. Who has its run is not woken; but who had a cut-off snapshot may lack the
        run, which is now among those that changed last.
        """
        previous = self._last.get(run, 0)
        self.learn(sequence, run)
        if not self._base or previous > self._base:
            self.position = max(self.position, sequence)
            self._hushed = sequence
        else:
            self._keep(Entry(sequence, run, {}, False, False, 200, previous, silent=True))

    def skip(self, sequence: int, run: str) -> None:
        """The next change is too large to be kept, or is not known: whoever lacks it reads it."""
        self.advance(sequence)
        self.learn(sequence, run)
        self.cut(sequence)

    def advance(self, position: int) -> None:
        """Up to here there is nothing else."""
        if position > self.position:
            self.position = position
            self._changed()

    def cut(self, start: int) -> None:
        """Forget everything up to *start*."""
        gone = bisect_right(self._sequences, start)
        self._bytes -= sum(entry.size for entry in self._entries[:gone])
        del self._entries[:gone], self._sequences[:gone]
        self.start = max(self.start, start)
        self.position = max(self.position, start)
        self._changed()

    def restart(self, epoch: str, start: int) -> None:
        """Another history begins, or what came in between is not known."""
        self.epoch, self.start, self.position = epoch, start, start
        self._entries.clear()
        self._sequences.clear()
        self._last.clear()
        self._base = self._hushed = 0
        self._bytes = 0
        self._changed()

    def _changed(self) -> None:
        self._answers.clear()
        self._answer_bytes = 0
        self.version += 1

    def learn(self, sequence: int, run: str) -> None:
        """The run's last change had this number."""
        if len(self._last) >= _MAX_RUNS:
            self._last.clear()
        self._last[run] = sequence

    def _shorten(self) -> None:
        count, left = 0, self._bytes
        while len(self._entries) - count > MAX_ENTRIES * 3 // 4 or left > MAX_BYTES * 3 // 4:
            left -= self._entries[count].size
            count += 1
        self.cut(self._entries[count - 1].sequence)

    def after(self, offset: int, base: int) -> Told | None:
        """
        What a client is told that has seen everything up to *offset*; None when there is nothing.

        Args:
            base: It knows each run that changed after this number, and if this is 0 all others, too.

        Raises:
            OutOfLog: When that must be read.
        """
        if base > self._base:
            self._base = base
            if self._hushed > self.start:
                self.cut(self._hushed)  # whoever was not there yet may lack a run that changed without a sign
        if offset < self.start:
            raise OutOfLog
        if not self._sequences or self._sequences[-1] <= offset:
            return None
        seen = bisect_right(self._sequences, offset)
        told = self._answers.get(seen)
        if told is None:
            told = self._compose(seen)
            if self._answer_bytes > _ANSWER_BYTES:
                self._answers.clear()
                self._answer_bytes = 0
            self._answers[seen] = told
            self._answer_bytes += 2 * len(told.body)
        if base and told.floor is not None and told.floor <= base:
            raise OutOfLog  # something is a part of a run that was cut off, perhaps
        return told if told.changes else None

    def _compose(self, seen: int) -> Told:
        folded: dict[str, tuple[bool, Values]] = {}
        turned: set[str] = set()
        end, floor = 0, None
        for entry in self._entries[seen:]:
            if entry.transition and self._paced:
                if entry.run in turned:
                    break
                turned.add(entry.run)
            if not entry.whole and entry.run not in folded:
                floor = entry.previous if floor is None else min(floor, entry.previous)
            end = entry.sequence
            if entry.silent:
                continue
            whole, values = folded.get(entry.run, (False, {}))
            if entry.whole:
                folded[entry.run] = (True, entry.values)
            else:
                folded[entry.run] = (whole, {**values, **entry.values})
        changes = b",".join(
            [
                change_text(run, encode_message(values), operation="insert" if whole else "update")
                for run, (whole, values) in folded.items()
            ]
        )
        return Told(changes, end, body_of(changes), floor)


def body_of(changes: bytes, *, up_to_date: bool = True) -> bytes:
    """The body of an answer: its changes, and that there are no others, if that is so."""
    if not up_to_date:
        return b"[%s]" % changes
    return b"[%s,%s]" % (changes, UP_TO_DATE) if changes else b"[%s]" % UP_TO_DATE
