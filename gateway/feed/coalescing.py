"""
What is still to be told when changes come faster than they can be told one by one: of each run what it comes to.

Progress may be skipped on the way to something newer, a status never. So a change is merged with the one of the same
run that waits before it, unless it brings another status. What is told then has the later number: whoever is cut off
before that was told nothing of either, and is brought up to date by the row. Does no I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.codec import AppendEvent, Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Coalesced:
    """Events in the order of their numbers, merged where nothing is lost by it."""

    __slots__ = ("_events", "_newest")

    def __init__(self, events: Iterable[Event | AppendEvent]) -> None:
        self._events: dict[int, Event | AppendEvent] = {}
        #: The number of each run's last one.
        self._newest: dict[str, int] = {}
        for event in events:
            self.append(event)

    def append(self, event: Event | AppendEvent) -> None:
        """Add what came next."""
        if isinstance(event, Event):
            earlier = self._events.get(self._newest.get(event.run, 0))
            if event.transition is None and isinstance(earlier, Event):
                del self._events[earlier.sequence]
                event = merge(earlier, event)
            self._newest[event.run] = event.sequence
        self._events[event.sequence] = event

    def __iter__(self) -> Iterator[Event | AppendEvent]:
        return iter(self._events.values())


def merge(earlier: Event, later: Event) -> Event:
    """What two changes of a run come to; the later one brings no status."""
    if later.whole:
        columns, metadata, deleted = later.columns, later.metadata, later.deleted
    else:
        columns = {**earlier.columns, **later.columns}
        metadata = {**earlier.metadata, **later.metadata}
        deleted = ()
        if earlier.deleted or later.deleted:
            for key in later.deleted:
                metadata.pop(key, None)
            if not earlier.whole:  # the whole of a run has no keys to take away from
                gone = dict.fromkeys(earlier.deleted + later.deleted)
                deleted = tuple([key for key in gone if key not in metadata])
    return Event(
        later.sequence,
        later.epoch,
        later.run,
        later.created,
        later.tags,
        columns,
        earlier.whole or later.whole,
        metadata,
        deleted,
        {**earlier.left_out, **later.left_out},
        earlier.transition,
        earlier.added | later.added,
    )
