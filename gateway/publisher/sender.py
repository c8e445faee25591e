"""
Sends what is in the outbox, for one process: with a client, a turn per run, and a thread for what waits.

All of it belongs to the process that made it. After a fork the child makes its own, and what the parent had not sent
stays the parent's to send.
"""

from __future__ import annotations

import threading
import time
import zlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.changes import Outcome
from gateway.errors import Misconfigured
from gateway.publisher.outbox import Outbox
from gateway.publisher.sending import REDIS_ERRORS, Journal, Pause, is_refusal, read_columns, say

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from gateway.changes import Change, Operation
    from gateway.publisher.configuration import Address
    from gateway.publisher.outbox import Statistics, Unsent
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


_DEFERRED: Final = Told(Outcome.DEFERRED)
_DROPPED: Final = Told(Outcome.DROPPED)


class Sender:
    """
    Says the changes of one process to Redis. Safe for threads; never raises because of Redis.

    Whoever sends for a run has its turn, so that the order of each run is kept.
    """

    def __init__(self, address: Address, writer: ChangeWriter) -> None:
        self._address, self._writer = address, writer
        self._outbox = Outbox()
        self._journal = Journal()
        self._client: redis.Redis | None = None
        # Reentrant, because a signal handler may report progress while its thread is in here.
        self._lock = threading.RLock()
        self._news = threading.Condition(self._lock)
        self._turns = [threading.RLock() for _ in range(TURNS)]
        self._thread: threading.Thread | None = None
        self._wakes_at = 0.0  # when the thread looks again by itself
        self._closed = False

    @property
    def statistics(self) -> Statistics:
        with self._lock:
            return self._outbox.statistics

    def say(self, change: Change) -> Told:
        """Send a change now, in this thread; kept for later when Redis is away."""
        with self._turn(change.run):
            with self._lock:
                self._outbox.put(change, time.monotonic())
            return self._send(change.run)

    def operate(self, run: str, operation: Operation, attempt: int | None) -> Told:
        """Change metadata: at once if it is some time since the last, else soon, together with what follows."""
        with self._lock:
            outcome = self._outbox.operate(run, operation, attempt, time.monotonic())
            if outcome is Outcome.DEFERRED:
                self._wake()
        if outcome is not None:
            return _DEFERRED if outcome is Outcome.DEFERRED else _DROPPED
        with self._turn(run):
            return self._send(run)

    def read(self, run: str, names: Sequence[str]) -> list[Any] | None:
        """Some columns of a run, decoded; None when Redis does not answer, or is known not to."""
        with self._lock:
            if not self._outbox.breaker.allows(time.monotonic()):
                return None
        try:
            values: list[Any] = self._drive(read_columns(run, names, self._writer))
        except REDIS_ERRORS as error:
            with self._lock:
                self._outbox.breaker.failed(time.monotonic())
            self._journal.away(error)
            return None
        return values

    def drop(self, reason: str) -> None:
        """Count something that can't be sent."""
        with self._lock:
            self._outbox.drop(reason)

    def flush(self, timeout: float) -> bool:
        """Send everything that waits, for so many seconds at most and a Redis time-out. Returns whether it is done."""
        deadline = time.monotonic() + timeout
        while True:
            if self._flush_once(deadline):
                return True
            with self._lock:
                now = time.monotonic()
                pause = max(0.0, (self._outbox.breaker.retry_at or now) - now)
            if now + pause >= deadline:
                return False
            time.sleep(pause + 0.001)

    def _flush_once(self, deadline: float) -> bool:
        insist = True  # the pause was meant to spare the job, which is over or asks for it
        for index, turn in enumerate(self._turns):
            if not turn.acquire(timeout=max(0.0, deadline - time.monotonic())):
                return False
            try:  # what another thread is sending is done when we have its turn
                for run in self._waiting(index):
                    if self._send(run, insist=insist).outcome is Outcome.DEFERRED or time.monotonic() > deadline:
                        return False
                    insist = False
            finally:
                turn.release()
        return not self.statistics.unsent

    def _waiting(self, turn: int) -> list[str]:
        with self._lock:
            return [run for run in self._outbox.unsent_runs() if _turn_of(run) == turn]

    def close(self, timeout: float) -> bool:
        """As `flush`, then let go of thread and connections. Closing twice is harmless."""
        done = self.flush(timeout)
        with self._lock:
            self._closed = True
            self._news.notify_all()
            thread, client, self._client = self._thread, self._client, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(TIMEOUT_SECONDS)
        if client is not None:
            with suppress(*REDIS_ERRORS):
                client.close()
        return done

    # Sending.

    @contextmanager
    def _turn(self, run: str) -> Iterator[None]:
        with self._turns[_turn_of(run)]:
            yield

    def _send(self, run: str, *, insist: bool = False) -> Told:
        """Everything the run has to say, in order. Needs its turn."""
        told = _DEFERRED
        while True:
            with self._lock:
                unsent = self._outbox.take(run, time.monotonic(), insist=insist)
                if unsent is None:
                    if self._outbox.has(run):
                        told = _DEFERRED
                        self._wake()
                    return told
            told = self._post(unsent)
            if told is _DEFERRED:
                return told

    def _post(self, unsent: Unsent) -> Told:
        run = unsent.change.run
        try:
            said = self._drive(say(unsent, self._writer, time.monotonic()))
        except REDIS_ERRORS as error:
            return self._not_sent(unsent, error)
        except BaseException:  # a time limit of the job's, say, that is raised wherever it happens to be
            with self._lock:
                self._outbox.put_back(unsent, time.monotonic())
                self._wake()
            raise
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
            with self._lock:
                self._outbox.drop("refused")
            self._journal.refused(unsent.change.run, error)
            return _DROPPED
        with self._lock:
            self._outbox.failed(unsent, time.monotonic())
            self._look_again()
            self._wake()
        self._journal.away(error)
        return _DEFERRED

    def _drive(self, conversation: Generator[Any, Any, Any]) -> Any:
        """Hand what *conversation* asks to the client, and the replies back."""
        client = self._connected()
        try:
            command = next(conversation)
            while True:
                if isinstance(command, Pause):
                    time.sleep(command.seconds)
                    command = conversation.send(None)
                    continue
                try:
                    reply = client.execute_command(*command)
                except REDIS_ERRORS as error:
                    command = conversation.throw(error)
                else:
                    command = conversation.send(reply)
        except StopIteration as end:
            return end.value

    def _connected(self) -> redis.Redis:
        with self._lock:
            if self._client is None:
                self._client = make_client(self._address.url)
            return self._client

    def _look_again(self) -> None:
        address = self._address.again()
        if address != self._address:
            self._address, self._client = address, None

    # The thread.

    def _wake(self) -> None:
        """Make sure that the thread looks when the next thing is due. Needs the lock."""
        due = self._outbox.next_due()
        if due is None:
            return
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._send_what_waits, name="runcast publisher", daemon=True)
            with suppress(RuntimeError):  # the interpreter is about to end; the flush at exit sends the rest
                self._thread.start()
        elif due < self._wakes_at:
            self._news.notify_all()

    def _send_what_waits(self) -> None:
        while True:
            with self._lock:
                runs: list[str] = []
                while not runs and not self._closed:
                    runs = self._wait_for_due()
                if self._closed:
                    return
            for run in runs:
                with self._turn(run):
                    self._send(run)

    def _wait_for_due(self) -> list[str]:
        due, now = self._outbox.next_due(), time.monotonic()
        if due is None or due > now:
            self._wakes_at = due if due is not None else float("inf")
            self._news.wait(None if due is None else due - now)
            self._wakes_at = 0.0
        return self._outbox.due_runs(time.monotonic())


def make_client(url: str) -> redis.Redis:
    """
    A client that never keeps a job waiting for long. It does not retry: `sending` says what is tried again.

    Raises:
        Misconfigured: When *url* can't be one.
    """
    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError as error:
        raise Misconfigured(f"the Redis URL can't be one: {error}") from error


def _turn_of(run: str) -> int:
    return zlib.crc32(run.encode()) % TURNS
