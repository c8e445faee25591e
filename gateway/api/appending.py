"""Chunks that come over HTTP, put at the end of a stream: in pieces that hold nobody up, no faster than is allowed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.api.uploads import MOST_AT_ONCE
from gateway.changes import change, check_chunks
from gateway.errors import NotFound, OutOfTurn, TooManyChanges, TooManyStreams
from gateway.store.appending import Append, AppendOutcome, append_command, read_append, whole_append

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.api.calls import Call
    from gateway.store.appending import Appended

_BYTES_AT_ONCE: Final = 256 * 1024


class Writing:
    """
    One request that appends, and how far it came.

    Args:
        writer, first: As in store/appending.py; "" for nobody in particular.
        once_ms: How long it is known that this writer has written, if it does so once; its chunks are one piece then.
    """

    def __init__(
        self, call: Call, run: str, stream: str, *, writer: str = "", first: int = 0, once_ms: int | None = None
    ) -> None:
        self._call = call
        self._run, self._stream = run, stream
        self._writer, self._first, self._once_ms = writer, first, once_ms
        #: Chunks of this request that are in the stream, new or known.
        self.count = 0
        self.last: Appended | None = None

    async def append(self, chunks: Sequence[bytes]) -> None:
        """
        Store *chunks*.

        Raises:
            TooLarge: For one that is over the limit; then nothing was stored.
            NotFound: When there is no such run.
            OutOfTurn: When the writer's chunks before these are not in the stream.
            TooManyStreams: When it would be another one, and the run has as many as it may.
            TooManyChanges: When nothing was stored yet, and the environment's changes come too fast.
            TokenExpired, TokenRevoked: When what the caller may do ended meanwhile.
            Unavailable: When Redis does not answer; they may be stored then.
        """
        check_chunks(chunks, self._call.services.settings.limits)
        piece: list[bytes] = []
        size = 0
        for chunk in chunks:
            piece.append(chunk)
            size += len(chunk)
            if len(piece) == MOST_AT_ONCE or size >= _BYTES_AT_ONCE:
                await self._store(piece)
                piece, size = [], 0
        if piece:
            await self._store(piece)

    async def _store(self, chunks: list[bytes]) -> None:
        call, writer = self._call, self._call.services.writer
        first = self._first + self.count if self._writer else None
        await self._keep_pace(len(chunks))
        call.services.admission.check_still(call.admitted)
        append = Append(self._run, self._stream, chunks, self._writer, first, self._once_ms)
        command = append_command(append, writer.of(call.environment))
        self.last = appended = read_append(await writer.ask(command, whole_append))
        call.services.counters.chunks_written[appended.outcome.value] += len(chunks)
        match appended.outcome:
            case AppendOutcome.MISSING:
                raise NotFound(f"there is no run {self._run[:80]!r}")
            case AppendOutcome.GAP:
                raise OutOfTurn(following=appended.writer_next, first=first or 0)
            case AppendOutcome.TOO_MANY_STREAMS:
                raise TooManyStreams
        if not appended.announced:
            await writer.apply(call.environment, change(self._run, stream=self._stream))
        self.count += len(chunks)

    async def _keep_pace(self, count: int) -> None:
        """Who has begun to write is slowed down to the rate that the environment may write at, and not refused."""
        quotas, environment = self._call.services.quotas, self._call.environment
        while True:
            try:
                quotas.check_changes(environment, count)
                return
            except TooManyChanges as error:
                if self.count == 0:
                    raise
                await asyncio.sleep(error.retry_after_seconds or 0)
