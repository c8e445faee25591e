"""The asynchronous twin of the publisher: the same promises, with `await`."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
import weakref
from collections.abc import Awaitable, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from gateway.changes import Outcome, cancel_request, check_chunks
from gateway.errors import Cancelled
from gateway.publisher.ambient import Attachment
from gateway.publisher.async_readers import AsyncInput
from gateway.publisher.async_sender import AsyncSender
from gateway.publisher.cancelling import LOOK_SECONDS
from gateway.publisher.configuration import find_lease, find_redis, make_writer
from gateway.publisher.identity import creation, identity_of
from gateway.publisher.outbox import Outbox
from gateway.publisher.places import Place
from gateway.publisher.publisher import CLOSE_SECONDS, EXIT_SECONDS, RELATIVES, relatives_of
from gateway.publisher.saying import MetadataSayings, Sayings
from gateway.publisher.sender import Sender
from gateway.publisher.sending import Loss, warn_when_late
from gateway.publisher.streams import AsyncStream
from gateway.publisher.wire import rehearse
from gateway.store.inputs import input_stream
from gateway.tracing import publishing, tracing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType
    from typing import Unpack

    from gateway.changes import Change, Limits, Operation
    from gateway.errors import TooLarge
    from gateway.publisher.identity import CreateOptions, HandleOptions, Identity
    from gateway.publisher.outbox import Statistics
    from gateway.store.redis_keys import Retention


class AsyncPublisher:
    """
    Says what happens to runs, from event loops. As `Publisher`, with `await`.

    Each loop that uses it has its own connection, so one publisher serves several. Close it in the loop that used it
    (`await close()`, or `async with`); what a loop left unsent is sent by the next one, or when the process ends.
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
        self._senders: dict[asyncio.AbstractEventLoop, AsyncSender] = {}
        self._past = Outbox().statistics
        _publishers.add(self)

    @property
    def environment(self) -> str:
        return self._writer.environment

    @property
    def limits(self) -> Limits:
        return self._writer.limits

    async def create(self, task: str, **options: Unpack[CreateOptions]) -> AsyncRun:
        """As `Publisher.create`."""
        identity, change = creation(task, self.limits, **options)
        run = AsyncRun(self, identity)
        await run._say(change)
        return run

    def run(self, id: str, **options: Unpack[HandleOptions]) -> AsyncRun:
        """As `Publisher.run`: a handle, and nothing to wait for."""
        return AsyncRun(self, identity_of(id, **options))

    async def request_cancel(self, id: str, reason: str | None = None) -> Outcome:
        """As `Publisher.request_cancel`."""
        return (await self._opened().say(cancel_request(id, reason))).outcome

    @asynccontextmanager
    async def running(self, task: str, **options: Unpack[CreateOptions]) -> AsyncIterator[AsyncRun]:
        """As `Publisher.running`; inside, `current_async_run()` is this run."""
        run = await self.create(task, **options)
        warn_when_late(run.id, await run.start())
        with run.attach():
            try:
                yield run
            except GeneratorExit:
                raise  # nothing may be awaited any more
            except (KeyboardInterrupt, SystemExit, asyncio.CancelledError) as error:
                await run.cancel(type(error).__name__)
                raise
            except Cancelled as error:
                await run.cancel(error.reason)
                raise
            except BaseException as error:
                await run.fail(error)
                raise
            await run.complete()

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """
        As `Publisher.together`, for this task and those that it starts in the block.

        Tasks that say something at the same moment, with `asyncio.gather` say, share round trips without it.
        """
        async with self._opened().together():
            yield

    @property
    def statistics(self) -> Statistics:
        """What became of everything that was said, in all loops of this process."""
        with self._lock:
            total = self._past
            for sender in self._senders.values():
                total += sender.statistics
            return total

    async def flush(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Send what waits in this loop, and return whether all of it was sent."""
        sender = self._senders.get(asyncio.get_running_loop())
        return sender is None or await sender.flush(timeout)

    async def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Flush, and let go of this loop's connection. Twice is harmless; saying something opens it again."""
        sender = self._senders.get(asyncio.get_running_loop())
        if sender is not None:
            await sender.close(timeout)
            with self._lock:
                self._retire(asyncio.get_running_loop())

    async def __aenter__(self) -> AsyncPublisher:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _opened(self) -> AsyncSender:
        loop = asyncio.get_running_loop()
        sender = self._senders.get(loop)
        if sender is not None:
            return sender
        with self._lock:
            sender = self._senders[loop] = AsyncSender(self._address, self._writer)
            for ended in [other for other in self._senders if other.is_closed()]:
                sender.adopt(self._retire(ended))
            return sender

    def _retire(self, loop: asyncio.AbstractEventLoop) -> list[Any]:
        """Forget a loop, but not what it counted. Returns what it has not sent. Needs the lock."""
        sender = self._senders.pop(loop, None)
        if sender is None:
            return []
        unsent = sender.abandon()
        self._past += sender.statistics
        return unsent

    def _forked(self) -> None:
        _inherited.append(dict(self._senders))
        self._lock, self._senders, self._past = threading.Lock(), {}, Outbox().statistics

    def _at_exit(self) -> None:
        unsent = [unsent for loop in list(self._senders) if loop.is_closed() for unsent in self._retire(loop)]
        if unsent:
            sender = Sender(self._address, self._writer)
            sender.adopt(unsent)
            sender.close(EXIT_SECONDS)


class AsyncRun(Sayings[Coroutine[Any, Any, Outcome]]):
    """A run, for whoever reports about it from an event loop. Wrong arguments raise at the call, before any `await`."""

    __slots__ = ("__weakref__", "_attachments", "_places", "_publisher", "_relatives")

    def __init__(self, publisher: AsyncPublisher, identity: Identity) -> None:
        super().__init__(identity, publisher.limits)
        if identity.lease_seconds is None:
            identity.lease_seconds = publisher.lease_seconds
        self._publisher = publisher
        self._attachments: list[Attachment] = []
        self._places: dict[str, Place] = {}  # of its inputs
        self._relatives: tuple[str, str] | None = None

    def stream(self, key: str) -> AsyncStream:
        """As `Run.stream`."""
        return AsyncStream(self, key)

    def input(self, key: str, *, after: str | None = None) -> AsyncInput:
        """As `Run.input`."""
        if after is not None:
            self._places[key] = Place(self.id, input_stream(key), after=after)
        elif key not in self._places:
            self._places.setdefault(key, Place(self.id, input_stream(key)))  # another thread may have been faster
        return AsyncInput(self, key, self._places[key])

    async def current(self) -> dict[str, Any] | None:
        """As `Run.current`."""
        return await self._publisher._opened().document(self.id)

    async def get(self, key: str, default: Any = None) -> Any:
        """As `Run.get`."""
        return (await self.current() or {}).get(key, default)

    @property
    def parent(self) -> AsyncRelative:
        """The metadata of the parent run; of this one if there is none."""
        return AsyncRelative(self, 0)

    @property
    def root(self) -> AsyncRelative:
        """The metadata of the root run; of this one if there is none."""
        return AsyncRelative(self, 1)

    def attach(self) -> Attachment:
        """Make it the ambient run, until `detach` of what is returned or the end of its `with` block."""
        return Attachment(self)

    @property
    def cancel_requested(self) -> Awaitable[bool]:
        """As `Run.cancel_requested`: `await run.cancel_requested`."""
        return self._wished("requested")

    @property
    def cancel_reason(self) -> Awaitable[str | None]:
        """As `Run.cancel_reason`."""
        return self._wished("reason")

    async def raise_if_cancelled(self) -> None:
        """As `Run.raise_if_cancelled`."""
        wish = await self._publisher._opened().wish(self.id)
        if wish.requested:
            raise self._identity.cancelled(self.id, wish.reason)

    async def wait_for_cancel(self, timeout: float | None = None) -> bool:
        """As `Run.wait_for_cancel`, for a task of its own."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            wish = await self._publisher._opened().wish(self.id)
            left = LOOK_SECONDS if end is None else end - time.monotonic()
            if wish.requested or wish.ended or left <= 0:
                return wish.requested
            await asyncio.sleep(min(left, LOOK_SECONDS))

    async def _wished(self, what: str) -> Any:
        return getattr(await self._publisher._opened().wish(self.id), what)

    def __enter__(self) -> AsyncRun:
        self._attachments.append(self.attach())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._attachments.pop().detach()

    def __repr__(self) -> str:
        return f"<AsyncRun {self.id}>"

    def _append(self, stream: str, chunks: list[bytes]) -> Coroutine[Any, Any, Outcome]:
        check_chunks(chunks, self._limits)
        return self._append_checked(stream, chunks)

    async def _append_checked(self, stream: str, chunks: list[bytes]) -> Outcome:
        return (await self._publisher._opened().append(self.id, stream, chunks)).outcome

    async def _say(self, change: Change) -> Outcome:
        with publishing(change) as traced:
            told = await self._publisher._opened().say(traced, self)
        self._identity.last_attempt = told.attempt or self._identity.last_attempt
        return told.outcome

    async def _operate(self, operation: Operation) -> Outcome:
        return (await self._publisher._opened().operate(self.id, operation, self._identity.attempt)).outcome

    def _lose_output(self, error: TooLarge) -> None:
        self._publisher._opened().lose(self.id, Loss("output_too_large", 1, str(error)))

    async def _relative(self, which: int) -> str | None:
        """The id of the parent (0) or root (1); read once. None when Redis does not say."""
        if self._relatives is None:
            known = self._identity.origin
            if known.parent:
                self._relatives = (known.parent, known.root or known.parent)
            else:
                columns = await self._publisher._opened().read(self.id, RELATIVES)
                if columns is None:
                    return None
                relatives = relatives_of(self.id, columns)
                if columns[0] is None:  # not created yet: there may be a parent still
                    return relatives[which]
                self._relatives = relatives
        return self._relatives[which]


class AsyncRelative(MetadataSayings[Coroutine[Any, Any, Outcome]]):
    """The metadata of a run's parent or root."""

    __slots__ = ("_run", "_which")

    def __init__(self, run: AsyncRun, which: int) -> None:
        self._run, self._which = run, which

    async def _operate(self, operation: Operation) -> Outcome:
        run, sender = self._run, self._run._publisher._opened()
        relative = await run._relative(self._which)
        if relative is None:
            sender.lose(run.id, Loss("unknown_relative", 1, "Redis is away, and its parent and root were never read"))
            return Outcome.DROPPED
        attempt = run._identity.attempt if relative == run.id else None
        return (await sender.operate(relative, operation, attempt)).outcome


_publishers: Final[weakref.WeakSet[AsyncPublisher]] = weakref.WeakSet()
#: Senders of the parent, kept in a child so that nothing of theirs is ever closed or collected there.
_inherited: Final[list[dict[asyncio.AbstractEventLoop, AsyncSender]]] = []


def _after_fork() -> None:
    for publisher in list(_publishers):
        publisher._forked()


def _at_exit() -> None:
    for publisher in list(_publishers):
        publisher._at_exit()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
