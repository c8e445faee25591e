"""One Redis channel that this gateway hears, and the groups that it feeds."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from typing import TYPE_CHECKING

from gateway.limits import Hearing

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.codec import AppendEvent, Event
    from gateway.cursors import Cursor
    from gateway.feed.group import Group
    from gateway.feed.view import Shown
    from gateway.feeds import EnvironmentId


class Channel:
    """
    The groups whose feed has this channel.

    `joined` is set while every message of the channel is heard. `breaks` counts how often that ended, so that whoever
    read the state in between can tell.
    """

    __slots__ = ("breaks", "catch_ups", "dirty", "environment", "groups", "hearing", "joined", "last_settled", "name")

    def __init__(
        self,
        name: bytes,
        environment: EnvironmentId,
        dirty: Callable[[Group], None],
        catch_ups: Counter[str] | None = None,
        hearing: Hearing | None = None,
    ) -> None:
        self.name = name
        self.environment = environment
        self.groups: dict[Shown, Group] = {}
        self.joined = asyncio.Event()
        self.breaks = 0
        #: Called by a group that has something to write at the end of the loop turn.
        self.dirty = dirty
        #: How often followers had to be brought up to date, by reason; of all channels together.
        self.catch_ups = Counter[str]() if catch_ups is None else catch_ups
        #: Whether the environment's changes come faster than they may.
        self.hearing = Hearing(math.inf, environment, Counter()) if hearing is None else hearing
        #: Up to here all changes of the environment were heard and written, on this channel too.
        self.last_settled: Cursor | None = None

    def hear(self, event: Event | AppendEvent, *, late: bool = False) -> None:
        """A change came; *late* when they come faster than each of them can be told."""
        for group in list(self.groups.values()):
            group.hear(event, late=late)

    def skip(self) -> None:
        """A change came that is told to nobody: those who follow it catch up later."""
        for group in list(self.groups.values()):
            group.skip()

    def broke(self) -> None:
        """Messages may have been missed: until the channel is joined again nobody on it is live."""
        self.joined.clear()
        self.breaks += 1
        # First: should the server have lost its newest changes, only who was told one of them must begin anew.
        self.last_settled = None
        for group in list(self.groups.values()):
            group.broke()

    def settled(self, epoch: str) -> int:
        """The number up to which nothing is missing on this channel, if it is known and of *epoch*; else 0."""
        if self.last_settled is None or self.last_settled.epoch != epoch:
            return 0
        return self.last_settled.sequence
