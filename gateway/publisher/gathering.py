"""
What is said in a block of `together`: collected there, and sent many at a time. No I/O.

A round trip for each change is what a job that reports one thing after the other has to pay to hear what became of it.
Who creates a thousand runs need not.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

#: What waits in a block goes out after so much time, too, however long the block lasts.
GATHERING_SECONDS: Final = 0.05
#: As many changes as may wait for each run that goes out, on average: each goes with a round trip of its own.
CHANGES_PER_RUN: Final = 4
#: More than it takes to send all that waits of a block, one by one. (Others may go on saying things of the same runs.)
MOST_ROUNDS: Final = 500

_present: Final[ContextVar[Gathering | None]] = ContextVar("runcast_gathering", default=None)


class Gathering:
    """
    The runs that said something in a block.

    What is said by the thread or task that is in the block belongs to it, and by tasks that it starts there, as long
    as the block lasts.
    """

    __slots__ = ("_is_open", "_outer", "_owner", "count", "handed_over", "runs")

    def __init__(self, owner: object) -> None:
        self._owner = owner
        self._outer: Gathering | None = None
        self._is_open = False
        self.runs: dict[str, None] = {}
        #: Changes that wait. (A run may have said several.)
        self.count = 0
        #: Runs that are somebody else's to send; who was handed others before has sent those.
        self.handed_over: list[str] = []

    def add(self, run: str) -> None:
        self.runs[run] = None
        self.count += 1

    def is_full(self, most: int) -> bool:
        """Whether as many runs wait as go out together, or all in all too much."""
        return len(self.runs) >= most or self.count >= CHANGES_PER_RUN * most

    def take(self) -> list[str]:
        """The runs; from now on there are none."""
        runs, self.runs, self.count = list(self.runs), {}, 0
        return runs

    def __enter__(self) -> Self:
        self._outer, self._is_open = _present.get(), True
        _present.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        _present.set(self._outer)


def gathering_of(owner: object) -> Gathering | None:
    """The block of *owner* that the code at hand is in; None nearly always."""
    gathering = _present.get()
    while gathering is not None and not (gathering._owner is owner and gathering._is_open):
        gathering = gathering._outer
    return gathering
