"""
What the two senders share: the outbox and what happens to what they take from it. No I/O.
"""

from __future__ import annotations

import threading
import time
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.changes import Outcome
from gateway.publisher.cancelling import Wishes
from gateway.publisher.leases import Leases
from gateway.publisher.outbox import Outbox
from gateway.publisher.sending import Journal, Loss, is_refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.publisher.cancelling import Wish
    from gateway.publisher.configuration import Address
    from gateway.publisher.leases import Held
    from gateway.publisher.outbox import Statistics
    from gateway.publisher.sending import Said
    from gateway.publisher.unsent import Unsent
    from gateway.store.writing import Applied, ChangeWriter

#: What a job waits for Redis at most, to connect and to be answered. A healthy one takes less than a millisecond.
TIMEOUT_SECONDS: Final = 0.5
#: Runs that share a turn wait for each other; with so many turns, threads seldom do.
TURNS: Final = 64
#: Connections of one publisher, however many threads or tasks speak at the same moment; who takes turns needs one.
CONNECTIONS: Final = 4


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
        self._leases = Leases()
        self._wishes = Wishes()
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

    def _write(self, run: str, stream: str, chunks: list[bytes]) -> Outcome | None:
        """Put chunks into the outbox. Returns as its `append`; what is dropped is logged, too."""
        with self._lock:
            outcome = self._outbox.append(run, stream, chunks, time.monotonic())
            if outcome is Outcome.DEFERRED:
                self._wake()
        if outcome is Outcome.DROPPED:
            self._journal.lost(run, Loss("chunks", len(chunks), "so much waits to be sent that there is no room"))
        return outcome

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

    def _sent(self, unsent: Unsent, said: Said) -> Told:
        run = unsent.change.run
        with self._lock:
            self._outbox.sent()
            for loss in said.losses:
                self._outbox.drop(loss.reason, loss.count)
            for stream in said.renamed:
                self._outbox.numbering.forget(run, stream)
            if said.applied is not None and unsent.change.lease_ms:
                self._leases.begun(unsent.change, said.applied, time.monotonic())
                self._wake()
        self._journal.back()
        for loss in said.losses:
            self._journal.lost(run, loss)
        if said.applied is None:  # nothing but chunks
            return DROPPED if said.losses else Told(Outcome.APPLIED)
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

    def _next_due(self) -> float | None:
        """When there will be something to send, or a lease to renew. Called with the lock."""
        due = [due for due in (self._outbox.next_due(), self._leases.next_due()) if due is not None]
        return min(due, default=None)

    def _leases_due(self) -> list[Held]:
        with self._lock:
            return self._leases.due(time.monotonic())

    def _renewed(self, held: Held, applied: Applied) -> None:
        with self._lock:
            self._outbox.breaker.succeeded()
            self._leases.renewed(held, applied)
        self._journal.back()

    def _not_renewed(self, held: list[Held], error: Exception) -> bool:
        """The first of them was not. Returns whether it makes sense to go on with the others."""
        if is_refusal(error):
            self._journal.refused(held[0].run, error)
            return True
        with self._lock:
            now = time.monotonic()
            self._outbox.unanswered(now)
            self._leases.not_renewed(held, now)
            self._look_again()
        self._journal.away(error)
        return False

    def _interrupted(self, unsent: Unsent) -> None:
        """A time limit of the job's, say, was raised in the middle of it."""
        with self._lock:
            self._outbox.put_back(unsent, time.monotonic())
            self._wake()

    def _known_wish(self, run: str, *, anew: bool) -> Wish | None:
        with self._lock:
            if anew:
                self._wishes.doubt(run)
            return self._wishes.look(run, time.monotonic())

    def _learn_wish(self, run: str, columns: list[Any] | None) -> Wish:
        with self._lock:
            return self._wishes.learn(run, columns, time.monotonic())

    def _may_read(self) -> bool:
        with self._lock:
            return self._outbox.breaker.allows(time.monotonic())

    def _not_read(self, error: Exception) -> None:
        with self._lock:
            self._outbox.breaker.failed(time.monotonic())
            self._look_again()
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
