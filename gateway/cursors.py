"""A viewer's place in what happened: one kind for every feed and every transport."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from gateway.errors import BadCursor

# Epochs are made by store/scripts/lib/history.lua: the microsecond of their beginning and a digest of whose they are,
# in hexadecimal.
_CURSOR = re.compile(r"([0-9a-f]{1,16})-([0-9]{1,16})(p?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How much of an environment a viewer has seen. Numbers compare only within one epoch."""

    epoch: str
    sequence: int
    #: Whether it is in the middle of a reading. It holds in its own epoch alone: a run that was changed again
    #: meanwhile stands beyond it; should Redis lose that change it stands before it again, and was never told.
    partial: bool = False

    def __str__(self) -> str:
        return spell_cursor(self.epoch, self.sequence) + ("p" if self.partial else "")

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """
        Read a cursor that we printed.

        Raises:
            BadCursor: When *text* is anything else.
        """
        match = _CURSOR.fullmatch(text)
        if match is None:
            raise BadCursor(text)
        return cls(match[1], int(match[2]), bool(match[3]))


def spell_cursor(epoch: str, sequence: int) -> str:
    """The text of a cursor that is not partial, without making one: each change that is told has its own."""
    return f"{epoch}-{sequence}"


@dataclass(frozen=True, slots=True)
class History:
    """
    The line of epochs of one environment: which numbers still mean what they meant.

    A new epoch begins when Redis lost data, was restarted, or another server was promoted. What happened up to
    the end of an earlier epoch is part of the present one; what came after it was lost. So a cursor of an
    earlier epoch is good exactly when it does not lie beyond that epoch's end: a restart that kept everything
    costs viewers nothing, and one that lost the last second is noticed by those who saw that second.
    """

    epoch: str
    #: The number of the newest change.
    sequence: int
    #: Earlier epochs with the last number that each handed on.
    past: tuple[tuple[str, int], ...] = field(default=())

    @property
    def cursor(self) -> Cursor:
        """The place of a viewer who has seen everything."""
        return Cursor(self.epoch, self.sequence)

    def keeps(self, cursor: Cursor) -> bool:
        """Whether everything that a viewer at *cursor* has seen is still part of this history."""
        if cursor.epoch == self.epoch:
            return cursor.sequence <= self.sequence
        if cursor.partial:
            return False
        # Numbers beyond an epoch's end were given again by its successor, to other changes. So the
        # cursor must lie before the end of its own epoch and of every epoch between it and now.
        end = None
        for epoch, last in self.past:
            end = last if end is None else min(end, last)
            if epoch == cursor.epoch:
                return cursor.sequence <= end
        return False
