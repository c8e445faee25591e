"""
A group whose view knows each run that it shows, so that a change of a part of it can be told as the whole.

What the view knows was read, or told whole, and has heard every change since. Whenever that can't be said any more it
forgets: what is read next it learns anew, and a change of a run that it does not know is read instead of told. So it
need keep no more than it has room for.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from gateway.feed.follower import Reason
from gateway.feed.group import Group

if TYPE_CHECKING:
    from gateway.codec import AppendEvent, Event

_log = logging.getLogger("runcast.feed")

#: Why a group has to catch up, when that is because it did not hear everything.
_MISSED: Final = frozenset({Reason.RESUBSCRIBED, Reason.EPOCH, Reason.OVER_LIMIT})


class RememberingView(ABC):
    """What a view is that remembers (feed/view.py: Shown). One object belongs to one group."""

    __slots__ = ()

    @abstractmethod
    def begin(self) -> None:
        """What is read from here on is as new as what was heard, and every change from here on is heard."""

    @abstractmethod
    def note(self, event: Event | AppendEvent) -> None:
        """A change of the feed's channel came, in order; nothing was missed before it that `forget` did not tell."""

    @abstractmethod
    def forget(self) -> None:
        """Changes may have been missed. What is being read now may be older than that, until `begin`."""


class RememberingGroup(Group):
    """Tells its view what was heard, when reading begins, and when something was missed."""

    __slots__ = ("_memory",)

    def remember(self, view: RememberingView) -> RememberingGroup:
        """Have *view*, which is the group's, remember. To be called first."""
        self._memory = view
        return self

    def begin(self, epoch: str) -> None:
        super().begin(epoch)
        if self.channel.joined.is_set():  # else what happens from here on is missed
            self._memory.begin()

    def hear(self, event: Event | AppendEvent, *, late: bool = False) -> None:
        try:
            self._memory.note(event)
        except Exception:
            # Whoever can reach Redis can publish; what can't be understood is read, as what was not heard.
            _log.exception("a change of %s can't be noted", self.view.feed)
            self._memory.forget()
        super().hear(event)  # never merged with another: what was noted is of this one

    def skip(self) -> None:
        super().skip()
        self._memory.forget()

    def broke(self, reason: Reason = Reason.RESUBSCRIBED) -> None:
        super().broke(reason)  # it tells what was heard before
        if reason in _MISSED:
            self._memory.forget()
