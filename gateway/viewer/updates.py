"""What a viewer's methods hand out: asynchronous iterators over runs and chunks."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from gateway.viewer.streams import StreamChunk
from gateway.viewer.viewed import ViewedRun

if TYPE_CHECKING:
    from types import TracebackType

    from gateway.viewer.inboxes import ChunkInbox, RunInbox
    from gateway.viewer.lines import Lines

T = TypeVar("T", ViewedRun, StreamChunk)


class Updates(Generic[T]):
    """
    An asynchronous iterator that can be left at any time.

    Leaving the loop is enough: the feed is left as soon as nobody holds the iterator. In an `async with` block it is
    left at its end, whatever holds it. Cancelling `anext` loses nothing, so it may be called with a timeout.
    """

    def __init__(self, lines: Lines, inbox: RunInbox | ChunkInbox) -> None:
        self._lines = lines
        self._inbox = inbox
        self._loop = asyncio.get_running_loop()
        self._left = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._left:
            raise StopAsyncIteration
        try:
            item: T = await self._inbox.take()  # type: ignore[assignment]
        except asyncio.CancelledError:
            raise  # whoever cancels a wait may wait again
        except BaseException:
            self._leave()  # it ended, or nothing more comes
            raise
        return item

    async def aclose(self) -> None:
        """Read no more. Harmless when it was left already."""
        self._leave()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def __del__(self) -> None:
        # The collector may come by in any thread.
        if not self._left:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and with it all feeds are left
                self._loop.call_soon_threadsafe(self._lines.leave, self._inbox)

    def _leave(self) -> None:
        if not self._left:
            self._left = True
            self._lines.leave(self._inbox)


class RunUpdates(Updates[ViewedRun]):
    """
    Runs as they change: first those there are, then each that changes, at its newest.

    Who is slower than the runs change is shown fewer states in between, and the last one always; every status is in
    `run.transitions`.
    """

    _inbox: RunInbox

    @property
    def runs(self) -> dict[str, ViewedRun]:
        """All runs of the feed that are known now, by id, taken or not. Those that changed last come last."""
        return {} if self._left else self._lines.runs_of(self._inbox)

    async def until_caught_up(self) -> None:
        """
        Wait until everything that happened before this is known, so that `runs` is the whole truth.

        Raises:
            GatewayError: As iterating would.
        """
        await self._inbox.until_caught_up()


class StreamUpdates(Updates[StreamChunk]):
    """Chunks of a stream: each once, in order, over any number of connections."""
