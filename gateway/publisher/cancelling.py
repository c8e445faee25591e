"""
Whether somebody asked a run to stop, for jobs that ask about it in a tight loop: Redis is asked once a second. No I/O.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.codec import public_status
from gateway.runs import FINAL, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What is read of a run.
COLUMNS: Final = ("cancelRequestedAt", "cancelReason", "status")
LOOK_SECONDS: Final = 1.0
#: Runs whose last answer is remembered; the others are just asked about again.
REMEMBERED: Final = 10_000
#: What a run that goes on may be taken for meanwhile: its worker's word ends that.
_PRESUMED: Final = frozenset({Status.CRASHED, Status.EXPIRED})


@dataclass(frozen=True, slots=True)
class Wish:
    """What is known of one run."""

    requested: bool = False
    reason: str | None = None
    #: It has ended by itself, so that nobody needs to wait for a wish.
    ended: bool = False


NO_WISH: Final = Wish()


class Wishes:
    """What is known of each run, and since when. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[float, Wish]] = OrderedDict()

    def look(self, run: str, now: float) -> Wish | None:
        """What is known, or None when it is time to read it: whoever is told so does, for everybody."""
        looked, wish = self._known.get(run, (None, NO_WISH))
        if looked is not None and now - looked < LOOK_SECONDS:
            return wish
        self._remember(run, wish, now)
        return None

    def doubt(self, run: str) -> None:
        """Something happened to the run: it is time to read it. What was known holds until then."""
        if run in self._known:
            self._known[run] = (-math.inf, self._known[run][1])

    def learn(self, run: str, columns: Sequence[Any] | None, now: float) -> Wish:
        """What was read, decoded; None when Redis did not say, and what was known holds."""
        if columns is None:
            return self._known.get(run, (now, NO_WISH))[1]
        asked, reason, status = columns
        public = public_status(status) if status else None
        wish = Wish(
            requested=asked is not None or public is Status.CANCELED,
            reason=reason,
            ended=public in FINAL - _PRESUMED - {Status.CANCELED},
        )
        self._remember(run, wish, now)
        return wish

    def _remember(self, run: str, wish: Wish, now: float) -> None:
        self._known[run] = (now, wish)
        self._known.move_to_end(run)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
