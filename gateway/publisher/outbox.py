"""
What is not yet sent. No I/O, no clock and no lock of its own: the shells around it bring these.

While Redis answers, a change of status passes through at once, and metadata waits for a tenth of a second so that
what follows it can come along. While Redis is away this is the place that decides what to keep.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Final

from gateway.changes import Change, Operation, Operator, Outcome
from gateway.metadata import Merging
from gateway.publisher.breaker import Breaker
from gateway.publisher.chunks import Numbering, extend
from gateway.publisher.unsent import LARGE, Unsent, chunk_bytes, merge, says_something, size, without_large

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROGRESS: Final = "progress"

#: About ten changes of metadata a second are as many as anyone sees; each costs a script call and a message per viewer.
INTERVAL_SECONDS: Final = 0.1
#: Chunks that are read by people may come together in so much time.
STREAM_INTERVAL_SECONDS: Final = 0.05
#: Where so many runs of a process speak in an interval, a round trip for each would hold the job up. Then the first
#: thing that a run says waits for so long, too, and leaves together with what others say.
MANY_RUNS: Final = 16
GATHERING_SECONDS: Final = 0.02
MAX_RUNS: Final = 10_000
MAX_OPERATIONS: Final = 1_000
#: Outputs of ten thousand runs would fill any worker's memory: beyond this, kept changes lose their large columns.
MAX_KEPT_BYTES: Final = 64 * 1024 * 1024
#: While Redis answers, a run that has so many operations waiting doesn't wait longer.
MANY_OPERATIONS: Final = 200
#: The same for chunks of streams, and what is kept of them in all; more is dropped, and counted.
MANY_CHUNK_BYTES: Final = 256 * 1024
MAX_CHUNK_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Statistics:
    """What became of everything that was said, in this process."""

    #: Changes that Redis took.
    sent: int
    #: Metadata operations that travelled in a later change, or were overwritten before they were sent.
    coalesced: int
    #: What was given up, by reason.
    dropped: Mapping[str, int]
    #: Attempts that Redis did not answer.
    failures: int
    #: Changes, operations and chunks that wait to be sent.
    unsent: int

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(
            self.sent + other.sent,
            self.coalesced + other.coalesced,
            dict(Counter(self.dropped) + Counter(other.dropped)),
            self.failures + other.failures,
            self.unsent + other.unsent,
        )


class Outbox:
    """
    Keeps the order of each run, and a bound on everything. Times are seconds of one monotonic clock.

    `put` and `operate` take what is said; `take` hands out what may be sent now, to be followed by exactly one of
    `sent`, `refused` or `failed`. Who takes must hold the run's turn until then: nobody else may send for this run.
    """

    def __init__(
        self,
        *,
        interval: float = INTERVAL_SECONDS,
        max_runs: int = MAX_RUNS,
        max_operations: int = MAX_OPERATIONS,
        max_kept_bytes: int = MAX_KEPT_BYTES,
    ) -> None:
        self._interval, self._max_runs = interval, max_runs
        self._max_operations, self._max_kept_bytes = max_operations, max_kept_bytes
        self.breaker = Breaker()
        # Usually one per run. A second one when the first may have arrived and must not be mixed with later operations.
        self._runs: OrderedDict[str, deque[Unsent]] = OrderedDict()
        self._last: dict[str, float] = {}  # when metadata of a run was last sent, the oldest first
        self._operations = 0
        self._kept_bytes = 0
        self._chunk_bytes = 0
        self._written: dict[str, float] = {}  # the same of its chunks
        self.numbering = Numbering()
        self._sent = self._coalesced = self._failures = 0
        self._dropped: Counter[str] = Counter()

    # What is said.

    def put(self, change: Change, now: float, *, apart: bool = False) -> None:
        """
        A change that is to be sent at once; what waits for its run goes with it.

        Of two statuses that wait the newer one is kept; *apart* they are sent one after the other, if Redis answers.
        """
        entries = self._runs.get(change.run)
        stands_alone = entries is None or (
            apart and not self.breaker.open and change.status and entries[-1].change.status
        )
        if stands_alone and not change.operations:  # as nearly always
            unsent = Unsent(change, happened=now if change.status else 0.0, due=now)
            if entries is None:
                self._runs[change.run] = deque((unsent,))
            else:
                entries.append(unsent)
            self._kept_bytes += size(change)
            self._bound()
            return
        operations = self._welcome(change.operations)
        unsent = self._open(change.run, now)
        if unsent.operations and change.status:
            self._coalesced += 1  # they travel with the status
        self._kept_bytes -= size(unsent.change)
        merge(unsent, replace(change, operations=()), now)
        self._kept_bytes += size(unsent.change)
        unsent.due = now
        for operation in operations:
            self._add(unsent, operation)
        self._bound()

    def operate(self, run: str, operation: Operation, attempt: int | None, now: float) -> Outcome | None:
        """
        A metadata operation. Returns None when it is due now; otherwise it waits for `due_runs`, or was dropped.

        The first of a run is due at once, or soon where many runs speak; what follows within the interval goes
        together, when it is over.
        """
        if self.breaker.open and not self._welcome((operation,)):
            return Outcome.DROPPED
        entries = self._runs.get(run)
        if entries is None or entries[-1].once:
            unsent = self._open(run, now)
            unsent.due = _first_due(self._last, run, now, self._interval)
        else:
            unsent = entries[-1]
        if attempt is not None and unsent.change.attempt is None:
            unsent.change = replace(unsent.change, attempt=attempt)
        self._add(unsent, operation)
        if len(unsent.operations) >= MANY_OPERATIONS:
            unsent.due = now
        return None if unsent.due <= now else Outcome.DEFERRED

    def append(self, run: str, stream: str, chunks: list[bytes], now: float) -> Outcome | None:
        """Chunks for the end of a stream. Returns as `operate` does."""
        size = sum(map(len, chunks))
        # What is said at once while nothing waits may be more: the caller has it in memory, and it goes out now.
        if self._chunk_bytes + size > MAX_CHUNK_BYTES and (self._chunk_bytes or self.breaker.open):
            self._dropped["chunks"] += len(chunks)
            return Outcome.DROPPED
        entries = self._runs.get(run)
        is_new = entries is None or bool(entries[-1].once)
        unsent = self._open(run, now)
        due = _first_due(self._written, run, now, STREAM_INTERVAL_SECONDS)
        unsent.due = due if is_new else min(unsent.due, due)
        extend(unsent.batches, [self.numbering.batch(run, stream, chunks)])
        self._chunk_bytes += size
        if chunk_bytes(unsent.batches) >= MANY_CHUNK_BYTES:
            unsent.due = now
        self._bound()
        return None if unsent.due <= now else Outcome.DEFERRED

    def _welcome(self, operations: Sequence[Operation]) -> Sequence[Operation]:
        """The operations to keep while Redis is away: progress goes, and the rest has a bound."""
        if not self.breaker.open:
            return operations
        kept: list[Operation] = []
        for operation in operations:
            if _is_progress(operation):
                self._dropped["progress"] += 1
            elif self._operations + len(kept) >= self._max_operations:
                self._dropped["too_many_operations"] += 1
            else:
                kept.append(operation)
        return kept

    def _open(self, run: str, now: float) -> Unsent:
        """The one that still takes more."""
        # Whatever is raised in here from outside (a time limit of the job's), no run is left with an empty list.
        entries = self._runs.get(run)
        if entries is None or entries[-1].once:
            unsent = Unsent(Change(run=run), due=now)
            if entries is not None:
                entries.append(unsent)
            else:
                self._runs[run] = deque((unsent,))
            return unsent
        return entries[-1]

    def _add(self, unsent: Unsent, operation: Operation) -> None:
        before = len(unsent.operations)
        if unsent.merging.add(operation):
            self._coalesced += 1
        self._operations += len(unsent.operations) - before

    def _bound(self) -> None:
        if self._kept_bytes > self._max_kept_bytes and self.breaker.open:
            self._lighten()  # what only passes through is gone before the next one comes
        while len(self._runs) > self._max_runs:
            _, entries = self._runs.popitem(last=False)
            self._forget(entries)
            self._dropped["too_many_runs"] += 1

    def _lighten(self) -> None:
        for entries in self._runs.values():
            for unsent in entries:
                if any(name in unsent.change.columns or name in unsent.change.initial for name in LARGE):
                    self._kept_bytes -= size(unsent.change)
                    unsent.change = without_large(unsent.change)
                    self._dropped["large_columns"] += 1
                    self._kept_bytes += size(unsent.change)
            if self._kept_bytes <= self._max_kept_bytes:
                return

    def _forget(self, entries: deque[Unsent]) -> None:
        for unsent in entries:
            self._operations -= len(unsent.operations)
            self._kept_bytes -= size(unsent.change)
            self._chunk_bytes -= chunk_bytes(unsent.batches)

    # What is sent.

    def next_due(self) -> float | None:
        """When there will be something to send; None when nothing waits."""
        if not self._runs:
            return None
        if self.breaker.retry_at is not None:
            return self.breaker.retry_at
        return min(entries[0].due for entries in self._runs.values())

    def due_runs(self, now: float) -> list[str]:
        """The runs that have something to send now: while Redis is away the longest waiting one, to try."""
        if self.breaker.retry_at is not None:
            return list(self._runs)[:1] if now >= self.breaker.retry_at else []
        return [run for run, entries in self._runs.items() if entries[0].due <= now]

    def unsent_runs(self, most: int | None = None) -> list[str]:
        """The runs that have something to send, whenever that is due; *most* of them, who wait longest."""
        return list(islice(self._runs, most))

    def take(self, run: str, now: float, *, insist: bool = False) -> Unsent | None:
        """What *run* has to send, or None: nothing, or not now. With *insist* the pause after a failure is ignored."""
        entries = self._runs.get(run)
        if not entries or not (self.breaker.allows(now) or insist):
            return None
        unsent = entries[0]
        if len(entries) > 1:
            entries.popleft()
        else:
            del self._runs[run]
        self._operations -= len(unsent.operations)
        self._kept_bytes -= size(unsent.change)
        self._chunk_bytes -= chunk_bytes(unsent.batches)
        if unsent.batches:
            self._remember(self._written, run, now)
        if unsent.operations:
            self._remember(self._last, run, now)
            unsent.name_operations()
        return unsent

    def take_all(self) -> list[Unsent]:
        """Everything, for another outbox to put back."""
        taken = [unsent for entries in self._runs.values() for unsent in reversed(entries)]
        for entries in self._runs.values():
            self._forget(entries)
        self._runs.clear()
        return taken

    def _remember(self, moments: dict[str, float], run: str, now: float) -> None:
        # The oldest stand first. One comes, up to two go: only as many are known as speak in an interval.
        moments.pop(run, None)
        moments[run] = now
        for _ in range(2):
            oldest = next(iter(moments))
            if now - moments[oldest] < self._interval:
                return
            del moments[oldest]

    def due(self, run: str) -> float | None:
        """When *run* has something to send; None when it has not."""
        entries = self._runs.get(run)
        return entries[0].due if entries else None

    def postpone(self, run: str, due: float) -> None:
        """What *run* said last goes later than it would."""
        entries = self._runs.get(run)
        if entries:
            entries[-1].due = due

    def hasten(self, run: str, now: float) -> None:
        """All that *run* has said goes now."""
        for unsent in self._runs.get(run, ()):
            unsent.due = now

    def waits(self, run: str) -> bool:
        """Whether *run* has something to send, whenever that is due."""
        return run in self._runs

    def sent(self) -> None:
        self._sent += 1
        self.breaker.succeeded()

    def drop(self, reason: str, count: int = 1) -> None:
        """Count what is given up."""
        if count:
            self._dropped[reason] += count

    def failed(self, unsent: Unsent, now: float) -> None:
        """Redis did not answer: keep what is worth it, in front of what was said since. It may have arrived, too."""
        self.unanswered(now)
        self.put_back(unsent, now)

    def unanswered(self, now: float) -> None:
        """Redis did not answer to something that is not kept."""
        self._failures += 1
        self.breaker.failed(now)

    def put_back(self, unsent: Unsent, now: float) -> None:
        """As `failed`, when it was our side that gave up."""
        if not unsent.once:
            kept = self._welcome(unsent.operations)
            unsent.merging = Merging(kept)
        if not unsent.operations and not unsent.batches and not says_something(unsent.change):
            return
        entries = self._runs.pop(unsent.change.run, deque())
        if entries and not unsent.once and not entries[0].once:
            later = entries.popleft()
            self._operations -= len(later.operations)
            self._kept_bytes -= size(later.change)
            self._chunk_bytes -= chunk_bytes(later.batches)
            extend(unsent.batches, later.batches)
            merge(unsent, later.change, later.happened)
            self._coalesced += sum(unsent.merging.add(operation) for operation in later.operations)
        unsent.due = now
        entries.appendleft(unsent)
        self._runs[unsent.change.run] = entries
        self._operations += len(unsent.operations)
        self._kept_bytes += size(unsent.change)
        self._chunk_bytes += chunk_bytes(unsent.batches)
        self._bound()

    @property
    def statistics(self) -> Statistics:
        waiting = [unsent for entries in self._runs.values() for unsent in entries]
        statuses = sum(says_something(unsent.change) for unsent in waiting)
        chunks = sum(len(batch.chunks) for unsent in waiting for batch in unsent.batches)
        unsent = statuses + self._operations + chunks
        return Statistics(self._sent, self._coalesced, dict(self._dropped), self._failures, unsent)


def _is_progress(operation: Operation) -> bool:
    return operation.operator is Operator.SET and operation.key == PROGRESS


def _first_due(moments: dict[str, float], run: str, now: float, interval: float) -> float:
    """
    When what a run says first may leave, if nothing of it waits.

    Args:
        moments: When runs were last sent something of the same kind, the oldest first.
    """
    last = moments.get(run)
    if last is not None and last + interval > now:
        return last + interval
    speaking = next(islice(reversed(moments.values()), MANY_RUNS - 1, None), None)
    return now + GATHERING_SECONDS if speaking is not None and speaking + interval > now else now
