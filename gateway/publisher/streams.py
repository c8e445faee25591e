"""
What a job writes as it goes: streams of chunks, and the log. Nothing is sent here.

`StreamSayings` is the part that `Run` and `AsyncRun` share, as `Sayings` is for the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Coroutine
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from gateway.changes import Outcome
from gateway.codec import encode_json
from gateway.errors import BadChange
from gateway.feeds import check_stream
from gateway.publisher.async_readers import AsyncStreamReader
from gateway.publisher.places import Place
from gateway.publisher.readers import StreamReader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from gateway.publisher.asynchronous import AsyncRun
    from gateway.publisher.publisher import Run

Said = TypeVar("Said", covariant=True)
Value = TypeVar("Value")

#: The stream that `log` writes to, and `runcast logs` shows.
LOG: Final = "log"
LEVELS: Final = ("debug", "info", "warning", "error", "critical")


class StreamSayings(ABC, Generic[Said]):
    """Writing to the streams of a run."""

    __slots__ = ()

    @abstractmethod
    def _append(self, stream: str, chunks: list[bytes]) -> Said:
        """Raises TooLarge for a chunk over its limit."""

    def log(self, message: str, level: str = "info", **fields: Any) -> Said:
        """
        One line of the run's log, which is the stream `log`: `{"time", "level", "message", …fields}`.

        Raises:
            BadChange: When *level* is none of debug, info, warning, error, critical; or a field has no JSON form.
        """
        return self._append(LOG, [log_line(message, level, fields)])


class StreamWriting(Generic[Said]):
    """
    One stream of a run, for whoever writes it.

    Each chunk is stored once and in the order of the calls, whatever the network does in between; several writers of
    one stream (threads, processes) each keep their own order. What is said quickly goes out together, within a
    twentieth of a second.
    """

    __slots__ = ("_writer", "key")

    def __init__(self, writer: StreamSayings[Said], key: str) -> None:
        """
        Raises:
            BadFeed: When *key* can't be the key of a stream.
        """
        self._writer = writer
        self.key = check_stream(key)

    def write(self, value: Any) -> Said:
        """
        Append one chunk: any JSON value.

        Raises:
            BadChange: When it has no JSON form.
            TooLarge: When it is over the limit of a chunk.
        """
        return self.write_all((value,))

    def write_all(self, values: Iterable[Any]) -> Said:
        """Append chunks, as `write` does, in one step."""
        return self._writer._append(self.key, [encode_json(value, what="a chunk") for value in values])


class Stream(StreamWriting[Outcome]):
    """A stream of a `Run`: an ordered log of chunks."""

    __slots__ = ("_run",)

    def __init__(self, run: Run, key: str) -> None:
        super().__init__(run, key)
        self._run = run

    def pipe(self, values: Iterable[Any]) -> int:
        """Append each of *values* when it comes, and return how many there were."""
        return sum(1 for _ in self.tee(values))

    def tee(self, values: Iterable[Value]) -> Iterator[Value]:
        """As `pipe`, for whoever needs the values, too: each is appended, and then handed on."""
        for value in values:
            self.write(value)
            yield value

    def read(self, *, start: int = 0, after: str | None = None, timeout: float | None = None) -> StreamReader:
        """
        Read it, from wherever Redis can be reached: what was written and what will be, until the run has ended.

        Args:
            start: The index of the first chunk that is wanted, counting from 0.
            after: Go on after another reader, by its `cursor`.
            timeout: How many seconds of silence raise TimeoutError. Nothing is lost by that: go on iterating.

        Raises:
            BadCursor: When *after* is none.
        """
        return StreamReader(self._run, Place(self._run.id, self.key, after=after, start=start), timeout)


class AsyncStream(StreamWriting[Coroutine[Any, Any, Outcome]]):
    """As `Stream`, with `await`."""

    __slots__ = ("_run",)

    def __init__(self, run: AsyncRun, key: str) -> None:
        super().__init__(run, key)
        self._run = run

    async def pipe(self, values: AsyncIterable[Any] | Iterable[Any]) -> int:
        """As `Stream.pipe`; *values* may be asynchronous."""
        count = 0
        async for _ in self.tee(values):
            count += 1
        return count

    async def tee(self, values: AsyncIterable[Value] | Iterable[Value]) -> AsyncIterator[Value]:
        """As `Stream.tee`."""
        if isinstance(values, AsyncIterable):
            async for value in values:
                await self.write(value)
                yield value
        else:
            for value in values:
                await self.write(value)
                yield value

    def read(self, *, start: int = 0, after: str | None = None, timeout: float | None = None) -> AsyncStreamReader:
        """As `Stream.read`, for `async for`."""
        return AsyncStreamReader(self._run, Place(self._run.id, self.key, after=after, start=start), timeout)


def log_line(message: str, level: str, fields: dict[str, Any], moment: datetime | None = None) -> bytes:
    """A chunk of the stream `log`."""
    if not isinstance(message, str):
        raise BadChange(f"a message is text, not {message!r}"[:200])
    if level not in LEVELS:
        raise BadChange(f"a level is one of {', '.join(LEVELS)}, not {level!r}")
    time = (moment or datetime.now(UTC)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    text = message if message.isascii() else message.encode(errors="replace").decode()
    return encode_json({**fields, "time": time, "level": level, "message": text}, what="a line of the log")
