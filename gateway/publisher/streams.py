"""
What a job writes as it goes: streams of chunks, and the log. Nothing is sent here.

`StreamSayings` is the part that `Run` and `AsyncRun` share, as `Sayings` is for the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from gateway.codec import encode_json
from gateway.errors import BadChange, TooLarge
from gateway.feeds import check_id

if TYPE_CHECKING:
    from collections.abc import Iterable

Said = TypeVar("Said", covariant=True)

#: The stream that `log` writes to, and `runcast logs` shows.
LOG: Final = "log"
LEVELS: Final = ("debug", "info", "warning", "error", "critical")


class StreamSayings(ABC, Generic[Said]):
    """Writing to the streams of a run."""

    __slots__ = ()

    @abstractmethod
    def _append(self, stream: str, chunks: list[bytes]) -> Said:
        """Raises TooLarge for a chunk over its limit."""

    def stream(self, key: str) -> Stream[Said]:
        """
        A stream of the run: an ordered log of chunks, which viewers read from its start, live, or from where they were.

        It needs no opening and no closing: it is there from its first chunk on, and ends with the run. The run must
        exist; one that does not makes each `write` dropped, and counted.

        Raises:
            BadFeed: When *key* can't be the key of a stream.
        """
        return Stream(self, check_id("stream", key))

    def log(self, message: str, level: str = "info", **fields: Any) -> Said:
        """
        One line of the run's log, which is the stream `log`: `{"time", "level", "message", …fields}`.

        Raises:
            BadChange: When *level* is none of debug, info, warning, error, critical; or a field has no JSON form.
        """
        return self._append(LOG, [log_line(message, level, fields)])


def check_sizes(chunks: Iterable[bytes], limit: int) -> None:
    """
    Raises:
        TooLarge: For a chunk with more bytes than *limit*.
    """
    for chunk in chunks:
        if len(chunk) > limit:
            raise TooLarge("a chunk", size=len(chunk), limit=limit)


class Stream(Generic[Said]):
    """
    One stream of a run, for whoever writes it.

    Each chunk is stored once and in the order of the calls, whatever the network does in between; several writers of
    one stream (threads, processes) each keep their own order. What is said quickly goes out together, within a
    twentieth of a second.
    """

    __slots__ = ("_run", "key")

    def __init__(self, run: StreamSayings[Said], key: str) -> None:
        self._run = run
        self.key = key

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
        return self._run._append(self.key, [encode_json(value, what="a chunk") for value in values])


def log_line(message: str, level: str, fields: dict[str, Any], moment: datetime | None = None) -> bytes:
    """A chunk of the stream `log`."""
    if not isinstance(message, str):
        raise BadChange(f"a message is text, not {message!r}"[:200])
    if level not in LEVELS:
        raise BadChange(f"a level is one of {', '.join(LEVELS)}, not {level!r}")
    time = (moment or datetime.now(UTC)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    text = message if message.isascii() else message.encode(errors="replace").decode()
    return encode_json({**fields, "time": time, "level": level, "message": text}, what="a line of the log")
