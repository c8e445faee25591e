"""
The leases that a process holds: which runs are at work in it, and when it says next that it lives. No I/O and no clock.

A lease is worth something only now, so a renewal is never kept: what can't be said is said again, in a moment, until
the run ends, its handle is gone, or somebody else has it.
"""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.changes import Change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.store.writing import Applied

#: So one that is lost, or late, harms nothing.
RENEWALS_PER_LEASE: Final = 3
#: While Redis is away one renewal is tried so often at least, to be there when it is back.
AGAIN_SECONDS: Final = 1.0
AT_WORK: Final = "EXECUTING"


@dataclass(slots=True)
class Held:
    """One run that is at work here."""

    run: str
    #: Who works on it. A handle that nobody has any more will never say how it ended.
    holder: weakref.ref[object]
    lease_ms: int
    #: As the store counts; None until it has heard of the beginning.
    attempt: int | None
    due: float

    @property
    def third(self) -> float:
        return self.lease_ms / 1000 / RENEWALS_PER_LEASE

    @property
    def renewal(self) -> Change:
        return Change(run=self.run, attempt=self.attempt, lease_ms=self.lease_ms)


class Leases:
    """Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self._next = math.inf  # nothing is due before; something may not be due then any more

    def __len__(self) -> int:
        return len(self._held)

    def note(self, change: Change, holder: object | None, now: float) -> None:
        """Something is about to be said: does it begin work here, or end it?"""
        if change.status == AT_WORK and change.lease_ms and holder is not None:
            held = Held(change.run, weakref.ref(holder), change.lease_ms, None, now)
            held.due = now + held.third
            self._held[change.run] = held
        elif change.status not in (None, AT_WORK) or change.lease_ms == 0:
            self._held.pop(change.run, None)

    def begun(self, change: Change, applied: Applied, now: float) -> None:
        """The store has answered *change*."""
        held = self._held.get(change.run)
        if held is None or held.attempt is not None or change.lease_ms is None:
            return
        if applied.status != AT_WORK or change.attempt not in (None, applied.attempt):
            del self._held[change.run]  # it came too late: the run has ended, or another attempt has begun
            return
        held.attempt, held.due = applied.attempt, now + held.third
        self._next = min(self._next, held.due)

    def next_due(self) -> float | None:
        """When to ask for `due` again; None when nothing is held."""
        return self._next if self._next < math.inf else None

    def due(self, now: float) -> list[Held]:
        """What is to be renewed now; each comes again a third of its lease later, whatever becomes of it."""
        if now < self._next:
            return []
        due: list[Held] = []
        self._next = math.inf
        for held in list(self._held.values()):
            if held.holder() is None:
                del self._held[held.run]
            elif held.attempt is not None:
                if held.due <= now:
                    held.due = now + held.third
                    due.append(held)
                self._next = min(self._next, held.due)
        return due

    def renewed(self, held: Held, applied: Applied) -> None:
        """The store has answered a renewal: whose run ended, or is somebody else's by now, is let go."""
        if (applied.status, applied.attempt) != (AT_WORK, held.attempt) and self._held.get(held.run) is held:
            del self._held[held.run]

    def not_renewed(self, unsaid: Sequence[Held], now: float) -> None:
        """Redis did not answer: again soon."""
        for held in unsaid:
            held.due = min(held.due, now + AGAIN_SECONDS)
            self._next = min(self._next, held.due)
