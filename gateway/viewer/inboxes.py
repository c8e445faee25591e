"""
What has come for one reader and was not taken yet: of runs the newest state of each, of a stream every chunk.

A reader that is slower than what it reads costs bounded memory. Does no I/O; whoever puts something in never waits.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.viewer.mirror import MirroredFeed, RunsGone
    from gateway.viewer.streams import StreamChunk
    from gateway.viewer.viewed import ViewedRun

T = TypeVar("T")

#: More runs that changed since their reader took something than this, and their feed waits for it.
MAX_RUNS_WAITING: Final = 10_000
#: As much of a stream as is kept for a reader that is slower.
MAX_CHUNK_BYTES_WAITING: Final = 1024 * 1024


class Inbox(ABC, Generic[T]):
    """
    For one reader. `full` says that nothing more should come until it has taken what there is.

    Args:
        drained: Called when an inbox that was full has room again.
    """

    def __init__(self, *, ends: bool) -> None:
        #: Whether reading ends with the run. Otherwise it goes on for ever.
        self._ends = ends
        self.ended = False
        #: Whether everything that happened so far has come.
        self.caught_up = False
        self.error: Exception | None = None
        self.drained: Callable[[], None] | None = None
        self._news = asyncio.Event()

    @property
    @abstractmethod
    def full(self) -> bool: ...

    @property
    @abstractmethod
    def has_room(self) -> bool:
        """Whether enough was taken, so that more may come."""

    @abstractmethod
    def _take(self) -> T | None: ...

    def wake(self) -> None:
        self._news.set()

    def catch_up(self) -> None:
        self.caught_up = True
        self.wake()

    def end(self) -> None:
        """The run ended. What there is can still be taken."""
        if self._ends:
            self.ended = True
            self.wake()

    def fail(self, error: Exception) -> None:
        """Nothing more comes, because of *error*. What there is can still be taken."""
        if self.error is None and not self.ended:
            self.error = error
            self.wake()

    async def take(self) -> T:
        """
        The next, when there is one. Cancelling is safe: nothing is lost.

        Raises:
            StopAsyncIteration: When nothing more comes, because the run ended.
        """
        while True:
            item = self._take()
            if item is not None:
                if self.drained is not None and self.has_room:
                    self.drained()
                return item
            if self.error is not None:
                raise self.error
            if self.ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()

    async def until_caught_up(self) -> None:
        """Wait until everything that happened so far has come. Raises what reading would raise."""
        while not self.caught_up:
            if self.error is not None:
                raise self.error
            self._news.clear()
            await self._news.wait()


class RunInbox(Inbox["ViewedRun"]):
    """Runs that changed: each once, at its newest, in the order in which they began to wait."""

    def __init__(self, *, ends: bool) -> None:
        super().__init__(ends=ends)
        self._waiting: dict[str, ViewedRun] = {}

    @property
    def full(self) -> bool:
        return len(self._waiting) >= MAX_RUNS_WAITING

    @property
    def has_room(self) -> bool:
        return len(self._waiting) <= MAX_RUNS_WAITING // 2

    def put(self, run: ViewedRun) -> None:
        self._waiting[run.id] = run
        if not run.is_final:
            self.ended = False  # a new attempt reopened it before anybody looked
        self.wake()

    def put_all(self, feed: MirroredFeed) -> None:
        """Begin with what is known already."""
        for run in feed.runs.values():
            self.put(run)
        if feed.caught_up:
            self.catch_up()
        if feed.ended:
            self.end()

    def forget(self, gone: RunsGone) -> None:
        """Those that the gateway does not have any more are not to be shown either."""
        for run in gone.runs if gone.lost else ():
            self._waiting.pop(run, None)

    def _take(self) -> ViewedRun | None:
        for run in self._waiting:
            return self._waiting.pop(run)
        return None


class ChunkInbox(Inbox["StreamChunk"]):
    """Chunks of a stream, all of them."""

    def __init__(self) -> None:
        super().__init__(ends=True)
        self._waiting: deque[tuple[StreamChunk, int]] = deque()
        self._bytes = 0

    @property
    def full(self) -> bool:
        return self._bytes >= MAX_CHUNK_BYTES_WAITING

    @property
    def has_room(self) -> bool:
        return self._bytes <= MAX_CHUNK_BYTES_WAITING // 2

    def put(self, chunk: StreamChunk, size: int) -> None:
        self._waiting.append((chunk, size))
        self._bytes += size
        self.wake()

    def _take(self) -> StreamChunk | None:
        if not self._waiting:
            return None
        chunk, size = self._waiting.popleft()
        self._bytes -= size
        return chunk
