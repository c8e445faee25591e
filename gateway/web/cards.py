"""
What a view that shows HTML knows of the runs of its feed (feed/remembering.py): as much of each as is shown, brought up
to date by every change. Does no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from gateway.codec import decode_json
from gateway.runs import METADATA
from gateway.web.fragments import COLUMNS, PROGRESS, run_fragment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.codec import Event, Row

#: Runs that one view keeps, those that changed last. What changes of another is read.
MOST_CARDS: Final = 2_000
#: Runs that changed and are not known, until they are read.
_MOST_AWAITED: Final = 2_000


@dataclass(frozen=True, slots=True)
class Card:
    """One run as of some number, and the HTML that shows it."""

    run: str
    epoch: str
    sequence: int
    #: By column, decoded.
    values: Mapping[str, Any]
    progress: Any
    html: bytes

    @classmethod
    def of(cls, run: str, epoch: str, sequence: int, values: Mapping[str, Any], progress: Any) -> Card:
        return cls(run, epoch, sequence, values, progress, run_fragment(run, values, progress))


class Cards:
    """
    The runs of one view.

    Args:
        hidden: Columns that are shown to nobody here: nothing of them is ever kept.
    """

    __slots__ = ("_awaited", "_known", "_trusts", "columns", "shows_metadata")

    def __init__(self, hidden: frozenset[str]) -> None:
        self.columns = tuple(name for name in COLUMNS if name not in hidden)
        self.shows_metadata = METADATA not in hidden
        self._known: dict[str, Card] = {}
        #: Of runs that changed while they were not known: the number from which on what is read can be gone on from.
        self._awaited: dict[str, int] = {}
        #: Whether what is read is as new as what is heard.
        self._trusts = False

    def find(self, run: str) -> Card | None:
        return self._known.get(run)

    def begin(self) -> None:
        self._trusts = True

    def forget(self) -> None:
        self._trusts = False
        self._known.clear()
        self._awaited.clear()

    def read(self, row: Row, epoch: str) -> Card:
        """A run as it was read. It is kept unless something newer is known, or was heard and could not be told."""
        values = {name: decode_json(row.columns[name]) for name in self.columns if name in row.columns}
        text = row.metadata.get(PROGRESS.encode()) if self.shows_metadata else None
        card = Card.of(row.run, epoch, row.sequence, values, None if text is None else decode_json(text))
        if self._trusts and row.sequence >= self._awaited.get(row.run, 0):
            self._awaited.pop(row.run, None)
            known = self._known.get(row.run)
            if known is None or known.epoch != epoch or known.sequence <= row.sequence:
                self._keep(card)
        return card

    def shows(self, event: Event) -> bool:
        """Whether anything of the change is shown here."""
        if event.whole or event.transition is not None:
            return True
        touched = PROGRESS in event.metadata or PROGRESS in event.deleted
        return (self.shows_metadata and touched) or any(name in event.columns for name in self.columns)

    def lacks(self, event: Event) -> bool:
        """Whether the event leaves something out that is shown."""
        return bool(event.left_out) and any(name in self.columns for name in event.left_out)

    def hear(self, event: Event) -> Card | None:
        """A change: the run as it is by it, or None when only the row can tell."""
        known = self._known.get(event.run)
        if self.lacks(event) or (not event.whole and (known is None or known.epoch != event.epoch)):
            self._await(event)
            return None
        if known is not None and known.epoch == event.epoch and known.sequence >= event.sequence:
            return known  # it was read meanwhile
        if known is not None and not self.shows(event):
            card = replace(known, sequence=event.sequence)  # and looks as before
        else:
            card = self._changed(known, event)
        self._awaited.pop(event.run, None)
        self._keep(card)
        return card

    def _changed(self, known: Card | None, event: Event) -> Card:
        values: dict[str, Any] = {} if event.whole or known is None else dict(known.values)
        progress = None if event.whole or known is None else known.progress
        values |= {name: event.columns[name] for name in self.columns if name in event.columns}
        transition = event.transition
        if transition is not None and "transitions" in self.columns and "transitions" not in event.columns:
            entry = [transition.sequence, transition.status, transition.at, transition.attempt]
            values["transitions"] = [*(values.get("transitions") or ()), entry]
        if self.shows_metadata:
            if PROGRESS in event.deleted:
                progress = None
            progress = event.metadata.get(PROGRESS, progress)
        return Card.of(event.run, event.epoch, event.sequence, values, progress)

    def _keep(self, card: Card) -> None:
        self._known.pop(card.run, None)
        self._known[card.run] = card
        if len(self._known) > MOST_CARDS:
            del self._known[next(iter(self._known))]

    def _await(self, event: Event) -> None:
        self._known.pop(event.run, None)
        self._awaited[event.run] = event.sequence
        if len(self._awaited) > _MOST_AWAITED:
            self.forget()
