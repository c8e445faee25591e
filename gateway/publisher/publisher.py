"""The synchronous publisher: how a job, or whoever starts one, says what happens to runs."""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
import time
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from gateway.changes import Outcome, cancel_request, check_chunks
from gateway.errors import Cancelled
from gateway.publisher.ambient import Attachment
from gateway.publisher.cancelling import LOOK_SECONDS
from gateway.publisher.configuration import find_lease, find_redis, make_writer
from gateway.publisher.identity import creation, identity_of
from gateway.publisher.outbox import Outbox
from gateway.publisher.places import Place
from gateway.publisher.readers import Input
from gateway.publisher.saying import MetadataSayings, Sayings
from gateway.publisher.sender import Sender
from gateway.publisher.sending import Loss, warn_when_late
from gateway.publisher.streams import Stream
from gateway.publisher.wire import rehearse
from gateway.store.inputs import input_stream
from gateway.tracing import publishing, tracing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Unpack

    from gateway.changes import Change, Limits, Operation
    from gateway.errors import TooLarge
    from gateway.publisher.identity import CreateOptions, HandleOptions, Identity
    from gateway.publisher.mailing import Told
    from gateway.publisher.outbox import Statistics
    from gateway.store.redis_keys import Retention

#: How long an ending process waits for what it has not sent. (One Redis time-out may come on top.)
EXIT_SECONDS: Final = 1.0
CLOSE_SECONDS: Final = 2.0

#: What ends a job from outside.
CANCELLATIONS: Final = (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError)


class Publisher:
    """
    Says what happens to runs. Safe for threads, and across fork: each process has its own connection.

    Publishing never hurts the job: when Redis is away nothing is raised, a call waits for half a second at most and
    only once per pause (0.1 to 5 seconds), and the newest status of each run is kept until Redis is back. What can't be
    kept is counted in `statistics`. Only wrong arguments raise: BadChange, BadFeed, TooLarge.

    Args:
        url: Redis; else RUNCAST_REDIS_URL, REDIS_URL, or the server that a gateway on this machine started.
        environment: The tenant; else RUNCAST_ENVIRONMENT, else `default`.
        retention: How long runs are kept after they finished, `24h` or seconds; else RUNCAST_RETENTION.
        limits: The most that a run may hold; else RUNCAST_METADATA_BYTES, …_PAYLOAD_BYTES, …_OUTPUT_BYTES.
        lease: How long a silence means that the process at work on a run is gone, `30s` or seconds; else
            RUNCAST_LEASE, else no lease. Runs that name their own have that.

    Raises:
        Misconfigured: When no Redis is known, or something in the environment can't be right.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        environment: str | None = None,
        retention: Retention | str | float | None = None,
        limits: Limits | None = None,
        lease: str | float | None = None,
    ) -> None:
        self._address = find_redis(url)
        self._writer = make_writer(environment, retention, limits)
        self.lease_seconds = find_lease(lease)
        rehearse(self._address.url)
        tracing()  # so that nothing of it is left to be loaded later, either
        self._lock = threading.Lock()
        self._sender: Sender | None = None
        _publishers.add(self)

    @property
    def environment(self) -> str:
        return self._writer.environment

    @property
    def limits(self) -> Limits:
        return self._writer.limits

    def create(self, task: str, **options: Unpack[CreateOptions]) -> Run:
        """
        Create a run of *task*, and return the handle to it.

        Doing it again with the same id changes nothing. Should a worker have been faster, what it could not know
        (payload, tags, metadata) is filled in.
        """
        identity, change = creation(task, self.limits, **options)
        run = Run(self, identity)
        run._say(change)
        return run

    def run(self, id: str, **options: Unpack[HandleOptions]) -> Run:
        """
        A handle to a run, whether it exists or not; asks Redis nothing.

        With *task* its first status creates it. With *attempt*, all it says is of that attempt, and late when a newer
        one is known.
        """
        return Run(self, identity_of(id, **options))

    def say(self, change: Change) -> Outcome:
        """Say what `gateway.changes.change` has checked: for whoever passes on what others report."""
        with publishing(change) as told:
            return self._opened().say(told).outcome

    def request_cancel(self, id: str, reason: str | None = None) -> Outcome:
        """
        Ask a run to stop, wherever it is at work. It is CANCELED when its job says so (`Run.raise_if_cancelled`).

        Who asks first is remembered: asking again is `unchanged`, and so is to ask a run that has ended.
        """
        return self.say(cancel_request(id, reason))

    @contextmanager
    def running(self, task: str, **options: Unpack[CreateOptions]) -> Iterator[Run]:
        """
        A run that lasts as long as the block: created, started, then COMPLETED, or FAILED with what was raised.

        KeyboardInterrupt, SystemExit, cancellation and `Cancelled` make it CANCELED. Exceptions go on. Inside,
        `current_run()` is this run. An output, or another end, can be said inside.
        """
        run = self.create(task, **options)
        warn_when_late(run.id, run.start())
        with run.attach():
            try:
                yield run
            except CANCELLATIONS as error:
                run.cancel(type(error).__name__)
                raise
            except Cancelled as error:
                run.cancel(error.reason)
                raise
            except BaseException as error:
                run.fail(error)
                raise
            run.complete()

    @contextmanager
    def together(self) -> Iterator[None]:
        """
        What is said in the block goes out together, many changes with each round trip: for whoever says much at once.

        Every call in it returns at once, with `deferred`, unless it makes the number full that goes out together. Each
        run's changes keep their order, and each of its statuses is told. At the end of the block all of it has been
        sent, or is kept, as ever, while Redis is away. What other threads say is not concerned.
        """
        with self._opened().together():
            yield

    @property
    def statistics(self) -> Statistics:
        """What became of everything that was said, in this process."""
        sender = self._sender
        return sender.statistics if sender is not None else Outbox().statistics

    def flush(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Send what waits, and return whether all of it was sent. Takes *timeout* at most, and one Redis time-out."""
        sender = self._sender
        return sender is None or sender.flush(timeout)

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Flush, and let go of thread and connection. Twice is harmless; saying something opens it again."""
        with self._lock:
            sender, self._sender = self._sender, None
        if sender is not None:
            sender.close(timeout)

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _opened(self) -> Sender:
        sender = self._sender
        if sender is not None:
            return sender
        with self._lock:
            if self._sender is None:
                self._sender = Sender(self._address, self._writer)
                _flush_at_the_end_of_a_child()
            return self._sender

    def _forked(self) -> None:
        """In the child: what the parent has not sent is the parent's, and its locks may be held by nobody."""
        if self._sender is not None:
            _inherited.append(self._sender)
        self._lock, self._sender = threading.Lock(), None


class Run(Sayings[Outcome]):
    """A run, for whoever reports about it. Each method says what became of it, and never raises because of Redis."""

    __slots__ = ("__weakref__", "_attachments", "_places", "_publisher", "_relatives")

    def __init__(self, publisher: Publisher, identity: Identity) -> None:
        super().__init__(identity, publisher.limits)
        if identity.lease_seconds is None:
            identity.lease_seconds = publisher.lease_seconds
        self._publisher = publisher
        self._attachments: list[Attachment] = []
        self._places: dict[str, Place] = {}  # of its inputs
        self._relatives: tuple[str, str] | None = None

    def stream(self, key: str) -> Stream:
        """
        A stream of the run: an ordered log of chunks, which viewers read from its start, live, or from where they were.

        It needs no opening and no closing: it is there from its first chunk on, and ends with the run. The run must
        exist; one that does not makes each `write` dropped, and counted.

        Raises:
            BadFeed: When *key* can't be the key of a stream.
        """
        return Stream(self, key)

    def input(self, key: str, *, after: str | None = None) -> Input:
        """
        What is sent to the run under *key*. The same reader for this handle each time, so that nothing is read twice.

        Args:
            after: Go on after another reader, of an earlier attempt say, by its `cursor`; by default everything that
                was ever sent is new.

        Raises:
            BadFeed, BadCursor: When *key* or *after* can't be one.
        """
        if after is not None:
            self._places[key] = Place(self.id, input_stream(key), after=after)
        elif key not in self._places:
            self._places.setdefault(key, Place(self.id, input_stream(key)))  # another thread may have been faster
        return Input(self, key, self._places[key])

    def current(self) -> dict[str, Any] | None:
        """The metadata as it is now, with all that was said here; None while Redis is away."""
        return self._publisher._opened().document(self.id)

    def get(self, key: str, default: Any = None) -> Any:
        """One top-level key of `current()`; *default* when it has none, and while Redis is away."""
        return (self.current() or {}).get(key, default)

    @property
    def parent(self) -> Relative:
        """The metadata of the parent run; of this one if there is none."""
        return Relative(self, 0)

    @property
    def root(self) -> Relative:
        """The metadata of the root run; of this one if there is none."""
        return Relative(self, 1)

    def attach(self) -> Attachment:
        """Make it the ambient run, until `detach` of what is returned or the end of its `with` block."""
        return Attachment(self)

    @property
    def cancel_requested(self) -> bool:
        """
        Whether somebody asked this run to stop. For tight loops: Redis is asked once a second at most.

        While Redis is away it stays as it was.
        """
        return self._publisher._opened().wish(self.id).requested

    @property
    def cancel_reason(self) -> str | None:
        """Why, if somebody did and said."""
        return self._publisher._opened().wish(self.id).reason

    def raise_if_cancelled(self) -> None:
        """
        Raises:
            Cancelled: When somebody asked this run to stop, as `cancel_requested` tells. `Publisher.running` makes it
                CANCELED.
        """
        wish = self._publisher._opened().wish(self.id)
        if wish.requested:
            raise self._identity.cancelled(self.id, wish.reason)

    def wait_for_cancel(self, timeout: float | None = None) -> bool:
        """
        Wait until somebody asks this run to stop, and return whether somebody did, *timeout* seconds at most.

        For a thread of its own. Returns, too, when the run has ended otherwise. Looks once a second, and holds no
        connection in between.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            wish = self._publisher._opened().wish(self.id)
            left = LOOK_SECONDS if end is None else end - time.monotonic()
            if wish.requested or wish.ended or left <= 0:
                return wish.requested
            time.sleep(min(left, LOOK_SECONDS))

    def __enter__(self) -> Run:
        self._attachments.append(self.attach())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._attachments.pop().detach()

    def __repr__(self) -> str:
        return f"<Run {self.id}>"

    def _say(self, change: Change) -> Outcome:
        with publishing(change) as told:
            return self._heard(self._publisher._opened().say(told, self))

    def _operate(self, operation: Operation) -> Outcome:
        return self._publisher._opened().operate(self.id, operation, self._identity.attempt).outcome

    def _append(self, stream: str, chunks: list[bytes]) -> Outcome:
        check_chunks(chunks, self._limits)
        return self._publisher._opened().append(self.id, stream, chunks).outcome

    def _heard(self, told: Told) -> Outcome:
        self._identity.last_attempt = told.attempt or self._identity.last_attempt
        return told.outcome

    def _lose_output(self, error: TooLarge) -> None:
        self._publisher._opened().lose(self.id, Loss("output_too_large", 1, str(error)))

    def _relative(self, which: int) -> str | None:
        """The id of the parent (0) or root (1); read once. None when Redis does not say."""
        if self._relatives is None:
            known = self._identity.origin
            if known.parent:
                self._relatives = (known.parent, known.root or known.parent)
            else:
                columns = self._publisher._opened().read(self.id, RELATIVES)
                if columns is None:
                    return None
                relatives = relatives_of(self.id, columns)
                if columns[0] is None:  # not created yet: there may be a parent still
                    return relatives[which]
                self._relatives = relatives
        return self._relatives[which]


class Relative(MetadataSayings[Outcome]):
    """The metadata of a run's parent or root."""

    __slots__ = ("_run", "_which")

    def __init__(self, run: Run, which: int) -> None:
        self._run, self._which = run, which

    def _operate(self, operation: Operation) -> Outcome:
        run, sender = self._run, self._run._publisher._opened()
        relative = run._relative(self._which)
        if relative is None:
            sender.lose(run.id, Loss("unknown_relative", 1, "Redis is away, and its parent and root were never read"))
            return Outcome.DROPPED
        return sender.operate(relative, operation, run._identity.attempt if relative == run.id else None).outcome


RELATIVES: Final = ("taskIdentifier", "parentRunId", "rootRunId")


def relatives_of(run: str, columns: list[Any]) -> tuple[str, str]:
    """Parent and root of a run, from its columns `RELATIVES`; itself where there is none."""
    _, parent, root = columns
    return parent or run, root or parent or run


_publishers: Final[weakref.WeakSet[Publisher]] = weakref.WeakSet()
#: Senders of the parent, kept in a child so that nothing of theirs is ever closed or collected there.
_inherited: Final[list[Sender]] = []


def _after_fork() -> None:
    for publisher in list(_publishers):
        publisher._forked()


def _at_exit() -> None:
    for publisher in list(_publishers):
        publisher.close(EXIT_SECONDS)


def _flush_at_the_end_of_a_child() -> None:
    """A child of multiprocessing ends without the exit handlers of the interpreter; it has its own."""
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, _at_exit, exitpriority=0)


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
