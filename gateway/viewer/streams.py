"""
What a viewer knows of the streams it follows (docs/protocol.md, "Streams"). Does no I/O and never waits.

Each chunk comes once and in order, whatever the way there: those that came already are told apart by their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def stream_feed(run: str, key: str) -> str:
    """The name that messages about a stream carry."""
    return f"stream:{run},{key}"


@dataclass(frozen=True, slots=True)
class StreamChunk:
    """One chunk of a stream. `cursor` is where to go on after it, in this process or another one."""

    value: Any
    #: Its number within the stream, from 0. Those before the first that comes were trimmed, or skipped on purpose.
    index: int
    cursor: str


@dataclass(frozen=True, slots=True)
class ChunkCame:
    """A stream has another chunk."""

    feed: str
    chunk: StreamChunk
    #: Bytes of the message that brought it.
    size: int


@dataclass(frozen=True, slots=True)
class StreamBegan:
    """A stream is told from the chunk of this number on, whatever came before; that is void, if anything came."""

    feed: str
    first_index: int


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The run ended with this status, and every chunk of the stream was told."""

    feed: str
    status: str


StreamChange = ChunkCame | StreamBegan | StreamEnded


@dataclass(slots=True)
class MirroredStream:
    """How much of one stream has come. The chunks themselves are handed on, not kept."""

    name: str
    #: Where to go on; None when nothing came yet.
    cursor: str | None = None
    #: The number that the next chunk has at least.
    next_index: int = 0
    ended: str | None = None

    def apply(self, message: Mapping[str, Any], size: int) -> list[StreamChange]:
        """Take in one message about it. Raises KeyError or ValueError when it is not of the protocol."""
        match message["type"]:
            case "begin":
                # The cursor stands before the first chunk: a cut before that comes must not skip it.
                self.cursor, self.next_index, self.ended = str(message["cursor"]), int(message["firstIndex"]), None
                return [StreamBegan(self.name, self.next_index)]
            case "chunk":
                return self._chunk(int(message["index"]), message, size)
            case "end":
                self.cursor, self.ended = message.get("cursor", self.cursor), str(message["status"])
                return [StreamEnded(self.name, self.ended)]
        return []

    def _chunk(self, index: int, message: Mapping[str, Any], size: int) -> list[StreamChange]:
        if index < self.next_index:
            return []
        self.next_index = index + 1
        self.cursor = str(message["cursor"])
        return [ChunkCame(self.name, StreamChunk(message["chunk"], index, self.cursor), size)]
