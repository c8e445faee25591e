"""
One viewer's place in one feed.

    CATCHING_UP   it waits for what changed after its cursor
    LIVE          it is told each change as it happens
    BEHIND        its socket took no more; it is told nothing until it drained
    LEFT          it follows no more

The rest of the room moves followers only along this table.
"""

from __future__ import annotations

from enum import Enum, StrEnum, auto
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.cursors import Cursor
    from gateway.feed.connection import Connection
    from gateway.feed.group import Group


class Phase(Enum):
    """Where a follower stands between coming and leaving."""

    CATCHING_UP = auto()  # the state is read for it
    LIVE = auto()  # it is told each change as it comes
    BEHIND = auto()  # it is told nothing: its sink holds all that we keep for one viewer
    LEFT = auto()


class Signal(Enum):
    """What happens to a follower."""

    CAUGHT_UP = auto()
    FEED_BROKEN = auto()  # changes may have been missed, or can't be shown as they came
    SINK_FULL = auto()
    SINK_DRAINED = auto()
    VIEWER_LEFT = auto()


class Reason(StrEnum):
    """Why a follower has to be brought up to date; each is counted."""

    JOINED = "joined"  # it came, and has nothing yet
    RETURNED = "returned"  # it came with a cursor
    FELL_BEHIND = "fell_behind"  # it took too little, and has taken it now
    RESUBSCRIBED = "resubscribed"  # the subscription broke, so changes may have been missed
    EPOCH = "epoch"  # numbers begin anew: Redis lost data, or another server was promoted
    LARGE_VALUE = "large_value"  # something is too large to be published, and is read once for all
    OVER_LIMIT = "over_limit"  # the environment's changes come faster than they may, and not all of them are told
    CUT_OFF = "cut_off"  # a part of a run that a cut-off snapshot did not have, or that is not known to


TRANSITIONS: Final[Mapping[Phase, Mapping[Signal, Phase]]] = MappingProxyType(
    {
        Phase.CATCHING_UP: {
            Signal.CAUGHT_UP: Phase.LIVE,
            Signal.FEED_BROKEN: Phase.CATCHING_UP,  # what it is told next is read after the break
            Signal.SINK_FULL: Phase.BEHIND,
            Signal.VIEWER_LEFT: Phase.LEFT,
        },
        Phase.LIVE: {
            Signal.FEED_BROKEN: Phase.CATCHING_UP,
            Signal.SINK_FULL: Phase.BEHIND,
            Signal.VIEWER_LEFT: Phase.LEFT,
        },
        Phase.BEHIND: {
            Signal.FEED_BROKEN: Phase.BEHIND,
            Signal.SINK_FULL: Phase.BEHIND,
            Signal.SINK_DRAINED: Phase.CATCHING_UP,
            Signal.VIEWER_LEFT: Phase.LEFT,
        },
        Phase.LEFT: {Signal.VIEWER_LEFT: Phase.LEFT},  # leaving twice is not a mistake
    }
)


class Follower:
    """What the hub keeps of a viewer for each feed it follows. Thousands exist, so it has slots and little else."""

    __slots__ = ("at", "base", "connection", "ended", "epoch", "group", "partial", "phase", "replaces", "write")

    def __init__(self, connection: Connection, group: Group, cursor: Cursor | None) -> None:
        self.connection = connection
        self.group = group
        self.phase = Phase.CATCHING_UP
        #: It has been told everything up to this number of this epoch. While it is live its group knows better.
        self.epoch = cursor.epoch if cursor is not None else ""
        self.at = cursor.sequence if cursor is not None else 0
        #: Whether that is in the middle of a reading (`Cursor.partial`).
        self.partial = cursor is not None and cursor.partial
        #: Whether the next snapshot page replaces what the viewer has.
        self.replaces = cursor is None
        #: It knows each run that changed between this number and its place; older ones only if this is 0. None until
        #: it is known where it starts.
        self.base: int | None = None
        #: The attempt whose end it was told; 0 for none, or when the run goes on.
        self.ended = 0
        #: Where its share of a loop turn goes: the connection decides, by how many feeds it follows.
        self.write: Callable[[bytes], None] = connection.sink.write

    def move(self, signal: Signal) -> Phase:
        """
        Take the step that *signal* calls for.

        Raises:
            RuntimeError: When there is no such step: a mistake of ours, named by phase and signal.
        """
        try:
            self.phase = TRANSITIONS[self.phase][signal]
        except KeyError:
            raise RuntimeError(f"a follower that is {self.phase.name} can't be told {signal.name}") from None
        return self.phase
