"""
Sends what is in the outbox, for one process: with a client, a turn per run, and a thread for what waits.

All of it belongs to the process that made it. After a fork the child makes its own, and what the parent had not sent
stays the parent's to send.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - see `rehearse`
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.changes import Change, Outcome
from gateway.errors import Misconfigured
from gateway.publisher.cancelling import COLUMNS
from gateway.publisher.hearing import Hearing
from gateway.publisher.mailing import CONNECTIONS, DEFERRED, DROPPED, TIMEOUT_SECONDS, TURNS, Mailing, Told, turn_of
from gateway.publisher.reading import read_document, read_on
from gateway.publisher.sending import REDIS_ERRORS, Pause, read_columns, renew, say

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from contextlib import AbstractContextManager

    from gateway.changes import Operation
    from gateway.publisher.cancelling import Wish
    from gateway.publisher.configuration import Address
    from gateway.publisher.leases import Held
    from gateway.publisher.places import Place
    from gateway.publisher.unsent import Unsent
    from gateway.store.writing import ChangeWriter, Command

#: The thread that sends what waits. What others log in it is of our own doing.
THREAD_NAME: Final = "runcast publisher"


class _Here(threading.local):
    """Whether this thread is saying something."""

    busy = False


class Sender(Mailing):
    """Says the changes of one process to Redis. Safe for threads; never raises because of Redis."""

    def __init__(self, address: Address, writer: ChangeWriter) -> None:
        super().__init__(address, writer)
        self._client: redis.Redis | None = None
        self._news = threading.Condition(self._lock)
        self._here = _Here()
        self._interruptions: deque[Callable[[], object]] = deque()
        self._turns = [threading.RLock() for _ in range(TURNS)]
        self._connections = threading.BoundedSemaphore(CONNECTIONS)
        self._thread: threading.Thread | None = None
        self._hearing: Hearing | None = None
        self._wakes_at = 0.0  # when the thread looks again by itself
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
                    self._wake()
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
        try:
            with self._turns[turn_of(run)]:
                return self._send(run)
        except BaseException:  # a time limit of the job's, say, while it waited for its turn
            with self._lock:
                self._wake()
            raise

    def _put(self, change: Change, holder: object) -> None:
        now = time.monotonic()
        self._leases.note(change, holder, now)
        self._outbox.put(change, now)

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
                self._send_if_due(run, None)
            finally:
                self._here.busy = False
                self._say_what_was_interrupted()
        document: dict[str, Any] | None = self._read(read_document(run, self._writer))
        return document

    def look(self, place: Place) -> bool:
        """Read on in a stream. Returns whether Redis answered."""
        return self._read(read_on(place, self._lock, self._writer)) is not None

    def _read(self, conversation: Generator[Any, Any, Any]) -> Any:
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
        for index, turn in enumerate(self._turns):
            if not turn.acquire(timeout=max(0.0, deadline - time.monotonic())):
                return False
            try:  # what another thread is sending is done when we have its turn
                for run in self._waiting(index):
                    if self._send(run, insist=insist) is DEFERRED or time.monotonic() > deadline:
                        return False
                    insist = False
            finally:
                turn.release()
        return not self.statistics.unsent

    def close(self, timeout: float) -> bool:
        """As `flush`, then let go of thread and connections. Closing twice is harmless."""
        done = self.flush(timeout)
        with self._lock:
            self._closed = True
            self._news.notify_all()
            thread, client, self._client = self._thread, self._client, None
            hearing = self._hearing
        if hearing is not None:
            hearing.close()
        if thread is not None and thread.ident is not None and thread is not threading.current_thread():
            thread.join(TIMEOUT_SECONDS)
        if client is not None:
            with suppress(*REDIS_ERRORS):
                client.close()
        return done

    def _send(self, run: str, *, insist: bool = False) -> Told:
        """Everything the run has to say, in order. Needs its turn."""
        told = DEFERRED
        while (unsent := self._take(run, insist=insist)) is not None:
            told = self._post(unsent)
            if told is DEFERRED:
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

    def _drive(self, conversation: Generator[Any, Any, Any]) -> Any:
        """Hand what *conversation* asks to the client, and the replies back."""
        client: Any = self._connected()
        try:
            command = next(conversation)
            while True:
                if isinstance(command, Pause):
                    time.sleep(command.seconds)
                    command = conversation.send(None)
                    continue
                try:
                    reply = self._ask(client, command)
                except REDIS_ERRORS as error:
                    command = conversation.throw(error)
                else:
                    command = conversation.send(reply)
        except StopIteration as end:
            return end.value

    def _ask(self, client: Any, command: Command) -> Any:
        # redis-py opens a connection for each command at the same moment, and keeps it.
        if not self._connections.acquire(blocking=False):
            self._wait_for_a_connection()
        try:
            return client.execute_command(*command)
        except (redis.ConnectionError, redis.TimeoutError, OSError):
            with self._lock:  # before another one tries, who waits for this connection
                self._outbox.breaker.failed(time.monotonic())
            raise
        finally:
            self._connections.release()

    def _wait_for_a_connection(self) -> None:
        if not self._connections.acquire(timeout=TIMEOUT_SECONDS):
            raise redis.TimeoutError("all connections wait for Redis")
        with self._lock:
            away = self._outbox.breaker.open
        if away:  # whoever had the connection found out; it would only take another time-out to see the same
            self._connections.release()
            raise redis.TimeoutError("Redis did not answer others")

    def _connected(self) -> redis.Redis:
        with self._lock:
            if self._client is None:
                self._client = make_client(self._address.url)
            return self._client

    def _move(self) -> None:
        self._client = None
        hearing, self._hearing = self._hearing, None
        if hearing is not None:
            hearing.give_up()

    def _wake(self) -> None:
        due = self._next_due()
        if due is None:
            return
        if self._closed:
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
            for run in runs:
                with self._turns[turn_of(run)]:
                    self._send(run)

    def _renew(self, leases: list[Held]) -> None:
        for index, held in enumerate(leases):
            try:
                applied = self._drive(renew(held.renewal, self._writer))
            except REDIS_ERRORS as error:
                if not self._not_renewed(leases[index:], error):
                    return
            else:
                self._renewed(held, applied)

    def _wait_for_due(self) -> list[str]:
        due, now = self._next_due(), time.monotonic()
        if due is None or due > now:
            self._wakes_at = due if due is not None else float("inf")
            self._news.wait(None if due is None else due - now)
            self._wakes_at = 0.0
        return self._outbox.due_runs(time.monotonic())


def rehearse(url: str) -> None:
    """
    Load what the first connection would load; connects to nothing.

    A fork while another thread imports a module leaves the child with one that is being imported for ever, and its
    own first import of it waits for that. So nothing may be left to import when publishing begins: neither what
    redis-py loads for its first connection, nor what Python loads for its first name look-up.

    Raises:
        Misconfigured: When *url* can't be one.
    """
    make_client(url).connection_pool.make_connection()


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
