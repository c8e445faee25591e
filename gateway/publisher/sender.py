"""
Sends what is in the outbox, for one process: with a client, a turn per run, and a thread for what waits.

All of it belongs to the process that made it. After a fork the child makes its own, and what the parent had not sent
stays the parent's to send.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from gateway.changes import Change, Outcome
from gateway.publisher.cancelling import COLUMNS
from gateway.publisher.gathering import MOST_ROUNDS, Gathering, gathering_of
from gateway.publisher.hearing import Hearing
from gateway.publisher.mailing import (
    COMMANDS_AT_ONCE,
    DEFERRED,
    DROPPED,
    TIMEOUT_SECONDS,
    TURNS,
    Mailing,
    Told,
    turn_of,
)
from gateway.publisher.reading import read_document, read_on
from gateway.publisher.sending import REDIS_ERRORS, read_columns, renew, say
from gateway.publisher.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from gateway.changes import Operation
    from gateway.publisher.cancelling import Wish
    from gateway.publisher.configuration import Address
    from gateway.publisher.leases import Held
    from gateway.publisher.places import Place
    from gateway.publisher.sending import Asking
    from gateway.publisher.unsent import Unsent
    from gateway.store.writing import ChangeWriter

#: The thread that sends what waits. What others log in it is of our own doing.
THREAD_NAME: Final = "runcast publisher"


class _Here(threading.local):
    """Whether this thread is saying something."""

    busy = False


class Sender(Mailing):
    """Says the changes of one process to Redis. Safe for threads; never raises because of Redis."""

    def __init__(self, address: Address, writer: ChangeWriter) -> None:
        super().__init__(address, writer)
        self._wire: Wire | None = None
        self._news = threading.Condition(self._lock)
        self._here = _Here()
        self._interruptions: deque[Callable[[], object]] = deque()
        self._turns = [threading.RLock() for _ in range(TURNS)]
        self._thread: threading.Thread | None = None
        self._hearing: Hearing | None = None
        self._closed = False

    def say(self, change: Change, holder: object = None) -> Told:
        """
        Send a change now, in this thread; kept for later when Redis is away.

        A lease that it begins is renewed until the run ends, or *holder* is gone.
        """
        if self._here.busy:
            return self._say_later(lambda: self._put(change, holder))
        self._here.busy = True
        try:
            gathering = gathering_of(self)
            if gathering is not None:
                with self._lock:
                    self._put(change, holder, apart=True)
                return self._gather(change.run, gathering)
            with self._turns[turn_of(change.run)]:
                with self._lock:
                    self._put(change, holder)
                return self._send(change.run)
        finally:
            self._here.busy = False
            self._say_what_was_interrupted()

    def operate(self, run: str, operation: Operation, attempt: int | None) -> Told:
        """Change metadata: at once if it is some time since the last, else soon, together with what follows."""
        if self._here.busy:
            return self._say_later(lambda: self._put(Change(run=run, attempt=attempt, operations=(operation,)), None))
        self._here.busy = True
        try:
            with self._lock:
                outcome = self._outbox.operate(run, operation, attempt, time.monotonic())
                if outcome is Outcome.DEFERRED:
                    self._wake(self._outbox.due(run))
            return self._send_if_due(run, outcome)
        finally:
            self._here.busy = False
            if self._interruptions:
                self._say_what_was_interrupted()

    def append(self, run: str, stream: str, chunks: list[bytes]) -> Told:
        """Write to a stream: at once if it is some time since the last, else soon, together with what follows."""
        if self._here.busy:
            return self._say_later(lambda: self._write(run, stream, chunks))
        self._here.busy = True
        try:
            return self._send_if_due(run, self._write(run, stream, chunks))
        finally:
            self._here.busy = False
            if self._interruptions:
                self._say_what_was_interrupted()

    def _send_if_due(self, run: str, outcome: Outcome | None) -> Told:
        """Send now, unless the outbox has said what becomes of it."""
        if outcome is not None:
            return DEFERRED if outcome is Outcome.DEFERRED else DROPPED
        gathering = gathering_of(self)
        if gathering is not None:
            return self._gather(run, gathering)
        return self._send_now(run)

    def _send_now(self, run: str) -> Told:
        try:
            with self._turns[turn_of(run)]:
                return self._send(run)
        except BaseException:  # a time limit of the job's, say, while it waited for its turn
            with self._lock:
                self._wake()
            raise

    @contextmanager
    def together(self) -> Iterator[None]:
        """What this thread says in the block goes out together; at its end, all of it has."""
        gathering = Gathering(self)
        try:
            with gathering:
                yield
        finally:
            if not self._here.busy:  # a signal handler's block, in the middle of sending: see `_say_later`
                self._here.busy = True
                try:
                    self._send_rest(gathering)
                finally:
                    self._here.busy = False
                    self._say_what_was_interrupted()

    def _gather(self, run: str, gathering: Gathering) -> Told:
        """Let what was just put into the outbox wait for what else is said in the block."""
        with self._lock:
            self._postpone(run, gathering)
        if gathering.is_full(self._at_once) and not self._hand_over(gathering):
            self._send_all(gathering.take())
        return DEFERRED

    def _send_rest(self, gathering: Gathering) -> None:
        handed_over = gathering.handed_over
        self._send_all(self._still_waiting(dict.fromkeys((*handed_over, *gathering.take()))))
        for run in handed_over:  # what the thread is sending is done when we have its turn
            with self._turns[turn_of(run)]:
                pass

    def _send_all(self, runs: Sequence[str]) -> None:
        for _ in range(MOST_ROUNDS):  # each time what the runs say next
            if not runs:
                return
            with self._turns_for(runs) as held:
                if not self._send_together(held):
                    return  # what is kept goes when Redis is back
            runs = self._still_waiting(runs)

    def _say_later(self, put: Callable[[], object]) -> Told:
        """A signal handler speaks while its thread is in here, with locks and half-done work: it has to wait."""
        self._interruptions.append(put)
        return DEFERRED

    def _say_what_was_interrupted(self) -> None:
        while self._interruptions:
            self._here.busy = True  # a handler that comes now waits, too
            try:
                with self._lock:
                    if self._interruptions:  # another thread may have been here
                        self._interruptions.popleft()()
                        self._wake()
            finally:
                self._here.busy = False

    def read(self, run: str, names: Sequence[str]) -> list[Any] | None:
        """Some columns of a run, decoded; None when Redis does not answer, or is known not to."""
        values: list[Any] | None = self._read(read_columns(run, names, self._writer))
        return values

    def document(self, run: str) -> dict[str, Any] | None:
        """The metadata of a run, after what waits to be sent for it; None as for `read`."""
        if not self._here.busy:  # a signal handler asks, in the middle of sending
            self._here.busy = True
            try:
                self._send_now(run)
            finally:
                self._here.busy = False
                self._say_what_was_interrupted()
        document: dict[str, Any] | None = self._read(read_document(run, self._writer))
        return document

    def look(self, place: Place) -> bool:
        """Read on in a stream. Returns whether Redis answered."""
        return self._read(read_on(place, self._lock, self._writer)) is not None

    def _read(self, conversation: Asking) -> Any:
        if not self._may_read():
            return None
        try:
            return self._drive(conversation)
        except REDIS_ERRORS as error:
            self._not_read(error)
            return None

    def wish(self, run: str, *, anew: bool = False) -> Wish:
        """Whether somebody asked the run to stop: known for a second, or *anew*; as it was, while Redis is away."""
        return self._known_wish(run, anew=anew) or self._learn_wish(run, self.read(run, COLUMNS))

    @property
    def lock(self) -> AbstractContextManager[object]:
        """For what this process knows of places in streams."""
        return self._lock

    def hearing(self) -> Hearing:
        """Hears for who waits in this process."""
        with self._lock:
            if self._hearing is None:
                self._hearing = Hearing(self._address.url, self._writer.environment)
                self._hearing.closed = self._closed
            return self._hearing

    def flush(self, timeout: float) -> bool:
        """Send everything that waits, for so many seconds at most and a Redis time-out. Returns whether it is done."""
        if self._here.busy:  # a signal handler asks, in the middle of sending
            return False
        self._here.busy = True
        try:
            return self._flush(time.monotonic() + timeout)
        finally:
            self._here.busy = False
            self._say_what_was_interrupted()

    def _flush(self, deadline: float) -> bool:
        while not self._flush_once(deadline):
            pause = self._pause()
            if time.monotonic() + pause >= deadline:
                return self._is_all_sent()
            time.sleep(pause + 0.001)
        return True

    def _is_all_sent(self) -> bool:
        for turn in self._turns:  # what another thread is sending does not wait any more, and is not sent yet
            if not turn.acquire(blocking=False):
                return False
            turn.release()
        return not self.statistics.unsent

    def _flush_once(self, deadline: float) -> bool:
        insist = True  # the pause was meant to spare the job, which is over or asks for it
        while runs := self._some_unsent():
            with self._turns_for(runs) as held:
                if not self._send_together(held, insist=insist) or time.monotonic() > deadline:
                    return False
            insist = False
        for turn in self._turns:  # what another thread is sending is done when we have its turn
            if not turn.acquire(timeout=max(0.0, deadline - time.monotonic())):
                return False
            turn.release()
        return not self.statistics.unsent

    def close(self, timeout: float) -> bool:
        """As `flush`, then let go of thread and connections. Closing twice is harmless."""
        done = self.flush(timeout)
        with self._lock:
            self._closed = True
            self._news.notify_all()
            thread, wire, self._wire = self._thread, self._wire, None
            hearing = self._hearing
        if hearing is not None:
            hearing.close()
        if thread is not None and thread.ident is not None and thread is not threading.current_thread():
            thread.join(TIMEOUT_SECONDS)
        if wire is not None:
            wire.close()
        return done

    def _send(self, run: str, *, insist: bool = False) -> Told:
        """Everything the run has to say, in order. Needs its turn."""
        told = DEFERRED
        while (unsent := self._take(run, insist=insist)) is not None:
            told = self._post(unsent)
            if told is DEFERRED or not self._outbox.waits(run):
                break
        return told

    def _post(self, unsent: Unsent) -> Told:
        try:
            said = self._drive(say(unsent, self._writer, time.monotonic()))
        except REDIS_ERRORS as error:
            return self._not_sent(unsent, error)
        except BaseException:
            self._interrupted(unsent)
            raise
        return self._sent(unsent, said)

    def _send_together(self, runs: Sequence[str], *, insist: bool = False) -> bool:
        """What each of the runs has to say next, together. Needs their turns. Returns whether Redis answered."""
        taken = self._take_some(runs, insist=insist)
        now = time.monotonic()
        try:
            results = self._connected().hold_all([say(unsent, self._writer, now) for unsent in taken])
        except BaseException:
            for unsent in taken:
                self._interrupted(unsent)
            raise
        return self._settle(taken, results)

    @contextmanager
    def _turns_for(self, runs: Sequence[str]) -> Iterator[list[str]]:
        """
        Wait for the turn of the first run; those of others come along if their turn is free, too.

        So nobody who has a turn waits for another, and who says something waits for one round trip at most.
        """
        turns = dict.fromkeys(turn_of(run) for run in runs)
        held: set[int] = set()
        try:
            for turn in turns:
                if self._turns[turn].acquire(blocking=not held):
                    held.add(turn)
            yield [run for run in runs if turn_of(run) in held]
        finally:
            for turn in held:
                self._turns[turn].release()

    def _drive(self, conversation: Asking) -> Any:
        return self._connected().hold(conversation)

    def _connected(self) -> Wire:
        wire = self._wire
        if wire is not None:
            return wire
        with self._lock:
            if self._wire is None:
                self._wire = Wire(self._address.url, self._unanswered)
            return self._wire

    def _unanswered(self, wire: Wire) -> None:
        with self._lock:
            self._outbox.breaker.failed(time.monotonic())
            if wire.is_stuck and self._wire is wire:
                self._wire = None

    def _move(self) -> None:
        self._wire = None
        hearing, self._hearing = self._hearing, None
        if hearing is not None:
            hearing.give_up()

    def _wake(self, due: float | None = None) -> None:
        if due is None:
            due = self._next_due()
        if due is None or self._closed:
            return
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._send_what_waits, name=THREAD_NAME, daemon=True)
            with suppress(RuntimeError):  # the interpreter is about to end; the flush at exit sends the rest
                self._thread.start()
        elif due < self._wakes_at:
            self._news.notify_all()

    def _send_what_waits(self) -> None:
        while True:
            with self._lock:
                runs: list[str] = []
                leases: list[Held] = []
                while not runs and not leases and not self._closed:
                    runs, leases = self._wait_for_due(), self._leases_due()
                if self._closed:
                    return
            self._renew(leases)
            while runs:
                some, runs = runs[: self._at_once], runs[self._at_once :]
                with self._turns_for(some) as held:
                    if not self._send_together(held):
                        break

    def _renew(self, leases: list[Held]) -> None:
        for start in range(0, len(leases), COMMANDS_AT_ONCE):
            some = leases[start : start + COMMANDS_AT_ONCE]
            results = self._connected().hold_all([renew(held.renewal, self._writer) for held in some])
            if not self._settle_leases(some, results, leases[start:]):
                return

    def _wait_for_due(self) -> list[str]:
        due, now = self._next_due(), time.monotonic()
        if due is None or due > now:
            self._wakes_at = due if due is not None else float("inf")
            self._news.wait(None if due is None else due - now)
            self._wakes_at = 0.0
        return self._outbox.due_runs(time.monotonic())
