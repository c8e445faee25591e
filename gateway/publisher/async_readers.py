"""As `readers`, with `await`."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gateway.changes import check_chunks
from gateway.codec import decode_foreign, encode_json
from gateway.errors import NoMoreInput
from gateway.publisher.cancelling import LOOK_SECONDS
from gateway.publisher.ears import GUARD_SECONDS
from gateway.publisher.readers import AGAIN_SECONDS, PEEK_SECONDS, Closed, too_late, why_nothing_is_sent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from gateway.changes import Outcome
    from gateway.publisher.async_hearing import AsyncHearing, TaskBell
    from gateway.publisher.async_sender import AsyncSender
    from gateway.publisher.asynchronous import AsyncRun
    from gateway.publisher.places import Place
    from gateway.store.stream_reading import StoredChunk


class AsyncReader(ABC):
    """One reader of one stream of a run. Cancelling is safe: what was not returned is the next that is."""

    def __init__(self, run: AsyncRun, place: Place) -> None:
        self._run, self._place = run, place

    @abstractmethod
    async def _is_over(self, sender: AsyncSender, *, anew: bool) -> bool:
        """As `Reader._is_over`."""

    @property
    def cursor(self) -> str | None:
        """As `Reader.cursor`."""
        return self._place.cursor

    async def _next(self, timeout: float | None) -> StoredChunk | None:
        """As `Reader._next`."""
        sender = self._run._publisher._opened()
        chunk = self._take(sender)
        if chunk is None and timeout is not None and timeout <= 0:
            return await self._look_once(sender)
        end = None if timeout is None else time.monotonic() + timeout
        while chunk is None:
            sender = self._run._publisher._opened()
            hearing = sender.hearing()
            with suppress(Closed), hearing.listening(self._place.run, self._place.stream) as bell:
                return await self._wait(sender, hearing, bell, end)
            # The publisher is being closed, or Redis has moved: there will be another one.
            await asyncio.sleep(AGAIN_SECONDS)
        return chunk

    async def _look_once(self, sender: AsyncSender) -> StoredChunk | None:
        """As `_next`, without waiting, and so without anything to hear with."""
        await sender.look(self._place)
        chunk = self._take(sender)
        if chunk is not None:
            return chunk
        if not await self._is_over(sender, anew=True):
            raise too_late(self._place)
        await sender.look(self._place)
        return self._take(sender)

    async def _wait(
        self, sender: AsyncSender, hearing: AsyncHearing, bell: TaskBell, end: float | None
    ) -> StoredChunk | None:
        """As `Reader._wait`."""
        where = (self._place.run, self._place.stream)
        unheard = False
        while not hearing.closed:
            looked = await sender.look(self._place)
            chunk = self._take(sender)
            if chunk is not None:
                if unheard:
                    hearing.missed(*where)
                if self._place.first is not None:
                    hearing.nudge(*where)  # others may have looked too early
                return chunk
            if await self._is_over(sender, anew=bell.has_changed()):
                await sender.look(self._place)  # what came before the end, and after we looked
                return self._take(sender)
            patience = hearing.patience(*where) if looked else LOOK_SECONDS
            left = patience if end is None else end - time.monotonic()
            if left <= 0:
                raise too_late(self._place)
            unheard = not await bell.wait(min(left, patience)) and patience == GUARD_SECONDS <= left
        raise Closed

    def _take(self, sender: AsyncSender) -> StoredChunk | None:
        with sender.lock:
            return self._place.take()


class AsyncInput(AsyncReader):
    """As `Input`: `await run.input("approval").wait()`, or `async for value in run.input("approval")`."""

    def __init__(self, run: AsyncRun, key: str, place: Place) -> None:
        super().__init__(run, place)
        self.key = key

    async def wait(self, timeout: float | None = None) -> Any:
        """As `Input.wait`."""
        chunk = await self._next(timeout)
        if chunk is None:
            raise NoMoreInput(self._run.id, self.key)
        return decode_foreign(chunk.text)

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (chunk := await self._next(None)) is not None:
            yield decode_foreign(chunk.text)

    async def peek(self, default: Any = None) -> Any:
        """As `Input.peek`."""
        if self._place.first is None and time.monotonic() - self._place.looked_at >= PEEK_SECONDS:
            await self._run._publisher._opened().look(self._place)
            self._place.looked_at = time.monotonic()
        first = self._place.first
        return default if first is None else decode_foreign(first.text)

    def send(self, value: Any) -> Coroutine[Any, Any, Outcome]:
        """As `Input.send`. Wrong arguments raise at the call."""
        chunk = encode_json(value, what="an input")
        check_chunks([chunk], self._run._limits)
        return self._send(chunk)

    async def _send(self, chunk: bytes) -> Outcome:
        sender = self._run._publisher._opened()
        refused = why_nothing_is_sent(await sender.read(self._run.id, ("status",)))
        if refused is not None:
            return refused
        return (await sender.append(self._run.id, self._place.stream, [chunk])).outcome

    async def _is_over(self, sender: AsyncSender, *, anew: bool) -> bool:
        wish = await sender.wish(self._run.id, anew=anew)
        if wish.requested:
            raise self._run._identity.cancelled(self._run.id, wish.reason)
        return wish.ended


class AsyncStreamReader(AsyncReader):
    """As `StreamReader`, with `async for`."""

    def __init__(self, run: AsyncRun, place: Place, timeout: float | None) -> None:
        super().__init__(run, place)
        self._timeout = timeout

    def __aiter__(self) -> AsyncStreamReader:
        return self

    async def __anext__(self) -> Any:
        chunk = await self._next(self._timeout)
        if chunk is None:
            raise StopAsyncIteration
        return decode_foreign(chunk.text)

    async def _is_over(self, sender: AsyncSender, *, anew: bool) -> bool:
        return self._place.ended
