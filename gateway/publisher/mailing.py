"""
What the two senders share: the outbox and what happens to what they take from it. No I/O.
"""

from __future__ import annotations

import threading
import time
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.changes import Outcome
from gateway.publisher.outbox import Outbox
from gateway.publisher.sending import Journal, Loss, is_refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.publisher.configuration import Address
    from gateway.publisher.outbox import Statistics
    from gateway.publisher.sending import Said
    from gateway.publisher.unsent import Unsent
    from gateway.store.writing import ChangeWriter

#: What a job waits for Redis at most, to connect and to be answered. A healthy one takes less than a millisecond.
TIMEOUT_SECONDS: Final = 0.5
#: Runs that share a turn wait for each other; with so many turns, threads seldom do.
TURNS: Final = 64


@dataclass(frozen=True, slots=True)
class Told:
    """What became of something that was said, and the run's attempt if Redis answered."""

    outcome: Outcome
    attempt: int = 0


DEFERRED: Final = Told(Outcome.DEFERRED)
DROPPED: Final = Told(Outcome.DROPPED)


def turn_of(run: str) -> int:
    """Which turn a run has to have to be sent for."""
    return zlib.crc32(run.encode()) % TURNS


class Mailing(ABC):
    """
    The outbox of one process or loop, with what to do when Redis answers, refuses, or does not answer.

    Whoever sends for a run has its turn, so that the order of each run is kept.
    """

    def __init__(self, address: Address, writer: ChangeWriter) -> None:
        self._address, self._writer = address, writer
        self._outbox = Outbox()
        self._journal = Journal()
        # Reentrant, because a signal handler may ask for the statistics while its thread is in here.
        self._lock = threading.RLock()

    @abstractmethod
    def _wake(self) -> None:
        """See to it that what waits is sent when it is due. Called with the lock."""

    @abstractmethod
    def _move(self) -> None:
        """Connect to the new address from now on. Called with the lock."""

    @property
    def statistics(self) -> Statistics:
        with self._lock:
            return self._outbox.statistics

    def lose(self, run: str, loss: Loss) -> None:
        """Count and log something that a run can't store."""
        with self._lock:
            self._outbox.drop(loss.reason, loss.count)
        self._journal.lost(run, loss)

    def adopt(self, others: Iterable[Unsent]) -> None:
        """Take over what another one could not send."""
        with self._lock:
            for unsent in others:
                self._outbox.put_back(unsent, time.monotonic())

    def abandon(self) -> list[Unsent]:
        """Hand over what is not sent."""
        with self._lock:
            return self._outbox.take_all()

    def _take(self, run: str, *, insist: bool) -> Unsent | None:
        with self._lock:
            unsent = self._outbox.take(run, time.monotonic(), insist=insist)
            if unsent is None:
                self._wake()
            return unsent

    def _sent(self, run: str, said: Said) -> Told:
        with self._lock:
            self._outbox.sent()
            for loss in said.losses:
                self._outbox.drop(loss.reason, loss.count)
        self._journal.back()
        for loss in said.losses:
            self._journal.lost(run, loss)
        return Told(said.applied.public, said.applied.attempt)

    def _not_sent(self, unsent: Unsent, error: Exception) -> Told:
        if is_refusal(error):
            self.lose(unsent.change.run, Loss("refused", 1, str(error)))
            return DROPPED
        with self._lock:
            self._outbox.failed(unsent, time.monotonic())
            self._look_again()
            self._wake()
        self._journal.away(error)
        return DEFERRED

    def _interrupted(self, unsent: Unsent) -> None:
        """A time limit of the job's, say, was raised in the middle of it."""
        with self._lock:
            self._outbox.put_back(unsent, time.monotonic())
            self._wake()

    def _may_read(self) -> bool:
        with self._lock:
            return self._outbox.breaker.allows(time.monotonic())

    def _not_read(self, error: Exception) -> None:
        with self._lock:
            self._outbox.breaker.failed(time.monotonic())
        self._journal.away(error)

    def _look_again(self) -> None:
        address = self._address.again()
        if address != self._address:
            self._address = address
            self._move()

    def _pause(self) -> float:
        """How long it is until the next attempt may be made."""
        with self._lock:
            now = time.monotonic()
            return max(0.0, (self._outbox.breaker.retry_at or now) - now)

    def _waiting(self, turn: int) -> list[str]:
        with self._lock:
            return [run for run in self._outbox.unsent_runs() if turn_of(run) == turn]
