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
from gateway.publisher.gathering import GATHERING_SECONDS
from gateway.publisher.leases import Leases
from gateway.publisher.outbox import Outbox
from gateway.publisher.sending import Journal, Loss, is_refusal
from gateway.publisher.unsent import size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.changes import Change
    from gateway.publisher.cancelling import Wish
    from gateway.publisher.configuration import Address
    from gateway.publisher.gathering import Gathering
    from gateway.publisher.leases import Held
    from gateway.publisher.outbox import Statistics
    from gateway.publisher.sending import Said
    from gateway.publisher.unsent import Unsent
    from gateway.store.writing import ChangeWriter

#: What a job waits for Redis at most, to connect and to be answered. A healthy one takes less than a millisecond.
TIMEOUT_SECONDS: Final = 0.5
#: The same for all that was asked together, while one answer comes after the other.
PATIENCE_SECONDS: Final = 1.5
#: Runs that share a turn wait for each other; with so many turns, threads seldom do.
TURNS: Final = 64
#: Connections of one publisher, however many threads or tasks speak at the same moment; who takes turns needs one. With
#: two, one group of changes is written while another is under way; more would only make the groups smaller.
CONNECTIONS: Final = 2


#: What goes out together at most. More would keep the first of them waiting for the last, and Redis from others.
COMMANDS_AT_ONCE: Final = 32
BYTES_AT_ONCE: Final = 256 * 1024


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
        #: When the thread or task looks again by itself; 0 while there is none, or it is at work.
        self._wakes_at = 0.0
        #: How many changes go out together: fewer to a server that does not get through with more in time.
        self._at_once = COMMANDS_AT_ONCE
        # Reentrant, because a signal handler may ask for the statistics while its thread is in here.
        self._lock = threading.RLock()

    @abstractmethod
    def _wake(self, due: float | None = None) -> None:
        """See to it that what waits is sent when it is due: at *due*, if the caller knows. Called with the lock."""

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
                self._wake(self._outbox.due(run))
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
            was_away = self._outbox.breaker.open
            self._outbox.sent()
            if was_away:  # what was kept meanwhile may go now
                self._wake()
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

    def _put(self, change: Change, holder: object, *, apart: bool = False) -> None:
        """Called with the lock."""
        now = time.monotonic()
        self._leases.note(change, holder, now)
        self._outbox.put(change, now, apart=apart)

    def _postpone(self, run: str, gathering: Gathering) -> None:
        """What *run* has just said waits for what else is said in a block. Called with the lock."""
        due = time.monotonic() + GATHERING_SECONDS
        self._outbox.postpone(run, due)
        if not gathering.runs:
            self._wake(due)
        gathering.add(run)

    def _hand_over(self, gathering: Gathering) -> bool:
        """
        Leave what was gathered to the thread or task, if it has nothing to do; the one who is in the block gathers more
        meanwhile. So Redis need not wait for us, nor we for Redis.
        """
        with self._lock:
            if not self._wakes_at:
                return False
            now = time.monotonic()
            for run in gathering.runs:
                self._outbox.hasten(run, now)
            self._wake(now)
            self._wakes_at = 0.0
        gathering.handed_over = gathering.take()
        return True

    def _still_waiting(self, runs: Iterable[str]) -> list[str]:
        with self._lock:
            return [run for run in runs if self._outbox.waits(run)]

    def _some_unsent(self) -> list[str]:
        """Runs that have something to send, whenever that is due: as many as go together."""
        with self._lock:
            return self._outbox.unsent_runs(self._at_once)

    def _take_some(self, runs: Sequence[str], *, insist: bool) -> list[Unsent]:
        """As `_take`, of several runs; while Redis is away, of one of them, to try."""
        with self._lock:
            now = time.monotonic()
            taken: list[Unsent] = []
            carried = 0
            for run in runs[: 1 if self._outbox.breaker.open else self._at_once]:
                unsent = self._outbox.take(run, now, insist=insist)
                if unsent is not None:
                    taken.append(unsent)
                    carried += size(unsent.change)
                if carried > BYTES_AT_ONCE:
                    break
            if len(taken) < len(runs):
                self._wake()
            return taken

    def _settle(self, taken: Sequence[Unsent], results: Sequence[Any]) -> bool:
        """Note what became of changes that were sent together. Returns whether Redis answered, to all of them."""
        if not taken:  # others were faster, or nobody may ask now
            return not self._outbox.breaker.open
        answered = True
        for unsent, result in zip(taken, results, strict=True):
            if not isinstance(result, Exception):
                self._sent(unsent, result)
            elif answered or is_refusal(result):
                answered = self._not_sent(unsent, result) is not DEFERRED and answered
            else:  # it is the same failure
                self._interrupted(unsent)
        self._at_once = min(2 * self._at_once, COMMANDS_AT_ONCE) if answered else max(self._at_once // 4, 1)
        return answered

    def _next_due(self) -> float | None:
        """When there will be something to send, or a lease to renew. Called with the lock."""
        due = [due for due in (self._outbox.next_due(), self._leases.next_due()) if due is not None]
        return min(due, default=None)

    def _leases_due(self) -> list[Held]:
        with self._lock:
            return self._leases.due(time.monotonic())

    def _settle_leases(self, held: Sequence[Held], results: Sequence[Any], left: Sequence[Held]) -> bool:
        """
        Note what became of renewals. Returns whether Redis answered; if not, those that are *left* are said again soon.

        Args:
            results: For each that was sent, what came of it, or the error of Redis.
        """
        for number, (lease, result) in enumerate(zip(held, results, strict=True)):
            if not isinstance(result, Exception):
                with self._lock:
                    self._outbox.breaker.succeeded()
                    self._leases.renewed(lease, result)
                self._journal.back()
            elif is_refusal(result):
                self._journal.refused(lease.run, result)
            else:
                with self._lock:
                    now = time.monotonic()
                    self._outbox.unanswered(now)
                    self._leases.not_renewed(left[number:], now)
                    self._look_again()
                self._journal.away(result)
                return False
        return True

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
