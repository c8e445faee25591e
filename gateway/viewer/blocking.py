"""`BlockingViewer`: the same viewer for scripts and threads, without `await`."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import CancelledError as FutureCancelled
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from gateway.viewer.refused import ViewerClosed
from gateway.viewer.streams import StreamChunk
from gateway.viewer.viewed import ViewedRun
from gateway.viewer.viewer import Viewer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime, timedelta
    from types import TracebackType

    from gateway.viewer.following import State, StateChanged
    from gateway.viewer.updates import RunUpdates, Updates

T = TypeVar("T")
Item = TypeVar("Item", ViewedRun, StreamChunk)


class _Loop:
    """An event loop in a thread of its own, which other threads hand work to and wait for."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        # Who forgets to close the viewer can end the process nevertheless.
        self._thread = threading.Thread(target=self._run, name="runcast-viewer", daemon=True)
        self._process = os.getpid()
        self._closing = threading.Lock()
        self._closed = False
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()

    def wait_for(self, work: Callable[[], Awaitable[T]], *, timeout: float | None = None) -> T:
        """
        What comes of *work*, which begins in the loop. An interrupt (Ctrl-C) cancels it.

        Raises:
            ViewerClosed: When the loop was closed meanwhile, or before.
            TimeoutError: When it takes longer than *timeout* seconds.
        """
        self._check_caller()
        with self._closing:
            if self._closed:
                raise ViewerClosed
            waiting = asyncio.run_coroutine_threadsafe(_within(timeout, work), self.loop)
        try:
            return waiting.result()
        except FutureCancelled:
            raise ViewerClosed from None
        except BaseException:
            waiting.cancel()
            raise

    def begin(self, work: Callable[[], T]) -> T:
        """As `wait_for`, of what takes no time."""

        async def there() -> T:
            return work()

        return self.wait_for(there)

    def close(self, farewell: Callable[[], Awaitable[None]]) -> None:
        """Let *farewell* end what there is, and stop."""
        self._check_caller()
        with self._closing:
            if self._closed:
                return
            self._closed = True
        asyncio.run_coroutine_threadsafe(self._end(farewell), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()

    def _check_caller(self) -> None:
        if threading.current_thread() is self._thread:
            raise RuntimeError("a blocking viewer can't be used in its own callbacks: they would wait for themselves")
        if os.getpid() != self._process:
            raise RuntimeError("a blocking viewer does not outlive a fork: make another one in the child")

    async def _end(self, farewell: Callable[[], Awaitable[None]]) -> None:
        await farewell()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class BlockingUpdates(Generic[Item]):
    """An iterator over runs or chunks that waits for each. For one thread at a time; leaving the loop is enough."""

    def __init__(self, loop: _Loop, updates: Updates[Item]) -> None:
        self._loop = loop
        self._updates: Updates[Item] = updates

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        item = self.next()
        if item is None:
            raise StopIteration
        return item

    def next(self, timeout: float | None = None) -> Item | None:
        """
        The next, or None when nothing more comes.

        Raises:
            TimeoutError: When nothing came within *timeout* seconds. Nothing is lost: ask again.
        """
        return self._loop.wait_for(lambda: anext(self._updates, None), timeout=timeout)

    def close(self) -> None:
        """Read no more."""
        try:
            self._loop.wait_for(self._updates.aclose)
        except ViewerClosed:
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class BlockingRunUpdates(BlockingUpdates[ViewedRun]):
    """As `RunUpdates`."""

    def __init__(self, loop: _Loop, updates: RunUpdates) -> None:
        super().__init__(loop, updates)
        self._run_updates = updates

    @property
    def runs(self) -> dict[str, ViewedRun]:
        """All runs of the feed that are known now, by id."""
        return self._loop.begin(lambda: self._run_updates.runs)

    def until_caught_up(self, timeout: float | None = None) -> None:
        """Wait until everything that happened before this is known. Raises TimeoutError after *timeout* seconds."""
        self._loop.wait_for(self._run_updates.until_caught_up, timeout=timeout)


class BlockingViewer:
    """
    As `Viewer`, for scripts and threads: the same methods, which wait instead of being awaited.

    The connection lives in a thread of its own, whatever runs in the caller's. For any number of threads. Use it in a
    `with` block, or call `close`. Not across a fork: a child makes its own.

    Args and Raises as those of `Viewer`; `token` and `on_state` are called in that other thread.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | Callable[[], str | Awaitable[str]] | None = None,
        *,
        on_state: Callable[[StateChanged], None] | None = None,
    ) -> None:
        self._viewer = Viewer(url, token, on_state=on_state)
        self.url = self._viewer.url
        self._loop = _Loop()

    @property
    def state(self) -> State:
        """Whether what is shown is the truth: live, stale, connecting, reconnecting or denied. A str."""
        return self._viewer.state

    @property
    def as_of(self) -> datetime | None:
        """When what is shown was last known to be true, by the gateway's clock; None before anything was."""
        return self._viewer.as_of

    def run(self, run: str, *, skip_columns: Sequence[str] = ()) -> BlockingRunUpdates:
        """One run, until it ended; as `Viewer.run`."""
        return self._runs(lambda: self._viewer.run(run, skip_columns=skip_columns))

    def tags(
        self,
        *tags: str,
        skip_columns: Sequence[str] = (),
        since: str | float | timedelta | None = None,
        limit: int | None = None,
    ) -> BlockingRunUpdates:
        """The runs that carry all of *tags*; as `Viewer.tags`."""
        return self._runs(lambda: self._viewer.tags(*tags, skip_columns=skip_columns, since=since, limit=limit))

    def batch(
        self,
        batch: str,
        *,
        skip_columns: Sequence[str] = (),
        since: str | float | timedelta | None = None,
        limit: int | None = None,
    ) -> BlockingRunUpdates:
        """The runs of a batch; as `Viewer.batch`."""
        return self._runs(lambda: self._viewer.batch(batch, skip_columns=skip_columns, since=since, limit=limit))

    def task(
        self,
        task: str,
        *,
        skip_columns: Sequence[str] = (),
        since: str | float | timedelta | None = None,
        limit: int | None = None,
    ) -> BlockingRunUpdates:
        """The runs of a task; as `Viewer.task`."""
        return self._runs(lambda: self._viewer.task(task, skip_columns=skip_columns, since=since, limit=limit))

    def all(
        self,
        *,
        skip_columns: Sequence[str] = (),
        since: str | float | timedelta | None = None,
        limit: int | None = None,
    ) -> BlockingRunUpdates:
        """All runs of the environment; as `Viewer.all`."""
        return self._runs(lambda: self._viewer.all(skip_columns=skip_columns, since=since, limit=limit))

    def stream(
        self, run: str, key: str, *, after: str | None = None, from_now: bool = False
    ) -> BlockingUpdates[StreamChunk]:
        """The chunks that *run* writes under *key*; as `Viewer.stream`."""
        updates = self._loop.begin(lambda: self._viewer.stream(run, key, after=after, from_now=from_now))
        return BlockingUpdates(self._loop, updates)

    def get(self, run: str, *, skip_columns: Sequence[str] = (), timeout: float | None = None) -> ViewedRun | None:
        """The run as it is now; None when it does not exist. Raises TimeoutError after *timeout* seconds."""
        return self._loop.wait_for(lambda: self._viewer.get(run, skip_columns=skip_columns), timeout=timeout)

    def wait_for_completion(self, run: str, *, timeout: float | None = None) -> ViewedRun:
        """Wait until the run ended, and return it; as `Viewer.wait_for_completion`."""
        return self._loop.wait_for(lambda: self._viewer.wait_for_completion(run, timeout=timeout))

    def close(self) -> None:
        """Close the connection, and end the thread. Whoever waits in another thread is told: ViewerClosed."""
        self._loop.close(self._viewer.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _runs(self, begin: Callable[[], RunUpdates]) -> BlockingRunUpdates:
        return BlockingRunUpdates(self._loop, self._loop.begin(begin))


async def _within(seconds: float | None, work: Callable[[], Awaitable[T]]) -> T:
    async with asyncio.timeout(seconds):
        return await work()
