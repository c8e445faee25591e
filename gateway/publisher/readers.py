"""
Reading what runs write and what is sent into them, in a thread: `Input` for jobs, `StreamReader` for everybody.

A value is taken once and in order, by whichever thread asks; what was taken is not read again, and what was not taken
waits in Redis, whatever becomes of connections meanwhile. Nothing is raised because of Redis: while it is away, who
waits waits.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from gateway.changes import Outcome
from gateway.codec import decode_foreign, encode_json, public_status
from gateway.errors import NoMoreInput
from gateway.publisher.cancelling import LOOK_SECONDS
from gateway.publisher.ears import GUARD_SECONDS
from gateway.runs import FINAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.publisher.hearing import Hearing, ThreadBell
    from gateway.publisher.places import Place
    from gateway.publisher.publisher import Run
    from gateway.publisher.sender import Sender
    from gateway.store.stream_reading import StoredChunk

#: For tight loops: Redis is asked so often at most.
PEEK_SECONDS: Final = 0.1
AGAIN_SECONDS: Final = 0.02


class Closed(Exception):
    """What was heard with is closed; whoever waits goes on with another one."""


class Reader(ABC):
    """One reader of one stream of a run; safe for threads. After a fork each process reads on for itself."""

    def __init__(self, run: Run, place: Place) -> None:
        self._run, self._place = run, place

    @abstractmethod
    def _is_over(self, sender: Sender, *, anew: bool) -> bool:
        """Whether nothing more can come. *anew* when something happened to the run. Raises what ends the waiting."""

    @property
    def cursor(self) -> str | None:
        """Where another reader goes on, with `after`: behind the last value that was taken; None before the first."""
        return self._place.cursor

    def _next(self, timeout: float | None) -> StoredChunk | None:
        """
        The next chunk, or None when nothing more comes.

        Raises:
            TimeoutError: When none came within *timeout* seconds.
        """
        sender = self._run._publisher._opened()
        chunk = self._take(sender)
        if chunk is None and timeout is not None and timeout <= 0:
            return self._look_once(sender)
        end = None if timeout is None else time.monotonic() + timeout
        while chunk is None:
            sender = self._run._publisher._opened()
            hearing = sender.hearing()
            with suppress(Closed), hearing.listening(self._place.run, self._place.stream) as bell:
                return self._wait(sender, hearing, bell, end)
            # The publisher is being closed, or Redis has moved: there will be another one.
            time.sleep(AGAIN_SECONDS)
        return chunk

    def _look_once(self, sender: Sender) -> StoredChunk | None:
        """As `_next`, without waiting, and so without anything to hear with."""
        sender.look(self._place)
        chunk = self._take(sender)
        if chunk is not None:
            return chunk
        if not self._is_over(sender, anew=True):
            raise too_late(self._place)
        sender.look(self._place)
        return self._take(sender)

    def _wait(self, sender: Sender, hearing: Hearing, bell: ThreadBell, end: float | None) -> StoredChunk | None:
        """
        As `_next`.

        Raises:
            Closed: When *hearing* is, by whoever closed the publisher.
        """
        where = (self._place.run, self._place.stream)
        unheard = False
        while not hearing.closed:
            looked = sender.look(self._place)
            chunk = self._take(sender)
            if chunk is not None:
                if unheard:
                    hearing.missed(*where)
                if self._place.first is not None:
                    hearing.nudge(*where)  # others may have looked too early
                return chunk
            if self._is_over(sender, anew=bell.has_changed()):
                sender.look(self._place)  # what came before the end, and after we looked
                return self._take(sender)
            patience = hearing.patience(*where) if looked else LOOK_SECONDS
            left = patience if end is None else end - time.monotonic()
            if left <= 0:
                raise too_late(self._place)
            unheard = not bell.wait(min(left, patience)) and patience == GUARD_SECONDS <= left
        raise Closed

    def _take(self, sender: Sender) -> StoredChunk | None:
        with sender.lock:
            return self._place.take()


class Input(Reader):
    """
    What is sent to a run under one key: by a browser, a backend, or another job. For the job to read.

    In a job it is `run.input("approval")`, which is the same reader whenever it is asked for. Each value is given out
    once, the oldest first; those that were sent before the job asked wait for it.
    """

    def __init__(self, run: Run, key: str, place: Place) -> None:
        super().__init__(run, place)
        self.key = key

    def wait(self, timeout: float | None = None) -> Any:
        """
        Wait for the next value, and return it.

        Args:
            timeout: Seconds; 0 looks once, None waits for as long as it takes.

        Raises:
            TimeoutError: When none came in time. Nothing is lost: ask again.
            Cancelled: When somebody asked the run to stop, as `Run.raise_if_cancelled` does. What is there already is
                given out first.
            NoMoreInput: When the run has ended.
        """
        chunk = self._next(timeout)
        if chunk is None:
            raise NoMoreInput(self._run.id, self.key)
        return decode_foreign(chunk.text)

    def __iter__(self) -> Iterator[Any]:
        """Every value, until the run has ended; raises Cancelled as `wait` does."""
        while (chunk := self._next(None)) is not None:
            yield decode_foreign(chunk.text)

    def peek(self, default: Any = None) -> Any:
        """
        The next value, which stays the next; *default* when there is none. Does not wait.

        For tight loops: Redis is asked ten times a second at most.
        """
        sender = self._run._publisher._opened()
        if self._place.first is None and time.monotonic() - self._place.looked_at >= PEEK_SECONDS:
            sender.look(self._place)
            self._place.looked_at = time.monotonic()
        with sender.lock:
            first = self._place.first
        return default if first is None else decode_foreign(first.text)

    def send(self, value: Any) -> Outcome:
        """
        Send any JSON value to the run's job, from wherever.

        Returns what became of it: `missing` when there is no such run, `stale` when it has ended.

        Raises:
            BadChange: When it has no JSON form.
            TooLarge: When it is over the limit of a chunk.
        """
        chunk = encode_json(value, what="an input")
        columns = self._run._publisher._opened().read(self._run.id, ("status",))
        refused = why_nothing_is_sent(columns)
        return self._run._append(self._place.stream, [chunk]) if refused is None else refused

    def _is_over(self, sender: Sender, *, anew: bool) -> bool:
        wish = sender.wish(self._run.id, anew=anew)
        if wish.requested:
            raise self._run._identity.cancelled(self._run.id, wish.reason)
        return wish.ended


class StreamReader(Reader):
    """
    Iterates over the values of a stream, and ends when its run has ended and all of it was read.

    A run that does not exist yet is waited for.
    """

    def __init__(self, run: Run, place: Place, timeout: float | None) -> None:
        super().__init__(run, place)
        self._timeout = timeout

    def __iter__(self) -> StreamReader:
        return self

    def __next__(self) -> Any:
        chunk = self._next(self._timeout)
        if chunk is None:
            raise StopIteration
        return decode_foreign(chunk.text)

    def _is_over(self, sender: Sender, *, anew: bool) -> bool:
        return self._place.ended


def too_late(place: Place) -> TimeoutError:
    """What is raised when nothing came in time."""
    return TimeoutError(f"nothing came for run {place.run!r} in time; ask again, nothing is lost")


def why_nothing_is_sent(columns: list[Any] | None) -> Outcome | None:
    """What becomes of an input for a run with this `status`; None when it can be sent, or Redis did not say."""
    if columns is None:
        return None
    (status,) = columns
    if status is None:
        return Outcome.MISSING
    return Outcome.STALE if public_status(status) in FINAL else None
