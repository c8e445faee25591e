"""
Chunks of streams that are not yet sent, and the numbers by which they are stored once, however often they are sent.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

#: Streams whose numbering is remembered. One that is forgotten goes on under another name, which costs nothing.
_REMEMBERED: Final = 10_000


@dataclass(slots=True)
class Batch:
    """Chunks of one stream, as JSON, and the number that their writer gives to the first."""

    stream: str
    writer: str
    first: int
    chunks: list[bytes]
    #: Of all of them; counted along, since every chunk that comes asks for it.
    bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.bytes = sum(map(len, self.chunks))

    def follows(self, other: Batch) -> bool:
        """Whether it begins where *other* ends."""
        return (self.stream, self.writer) == (other.stream, other.writer) and (
            self.first == other.first + len(other.chunks)
        )


class Numbering:
    """Gives each chunk of a stream its number, under the name of one writer per stream."""

    def __init__(self) -> None:
        self._writers: OrderedDict[tuple[str, str], tuple[str, int]] = OrderedDict()

    def batch(self, run: str, stream: str, chunks: list[bytes]) -> Batch:
        """The next chunks of a stream."""
        name, following = self._writers.pop((run, stream), ("", 0))
        if not name:
            name, following = secrets.token_hex(8), 0
        self._writers[run, stream] = (name, following + len(chunks))
        if len(self._writers) > _REMEMBERED:
            self._writers.popitem(last=False)
        return Batch(stream, name, following, chunks)

    def forget(self, run: str, stream: str) -> None:
        """Go on under another name."""
        self._writers.pop((run, stream), None)


def extend(batches: list[Batch], later: list[Batch]) -> None:
    """Put *later* behind *batches*, joined where they belong together."""
    for batch in later:
        last = next((known for known in reversed(batches) if known.stream == batch.stream), None)
        if last is not None and batch.follows(last):
            last.chunks.extend(batch.chunks)
            last.bytes += batch.bytes
        else:
            batches.append(batch)
