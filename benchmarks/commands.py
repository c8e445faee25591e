"""
What the publisher sends, packed before anything is timed: only the marks in it are new each time.

Changes, or appends, that leave in the same moment are joined in one call of their script, as the library's publishers
join theirs (gateway/store/joining.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import hiredis

from benchmarks.marks import PLACEHOLDER
from gateway.store import appending, writing
from gateway.store.redis_keys import script
from gateway.store.writing import MOST_TOGETHER

if TYPE_CHECKING:
    from collections.abc import Iterable


def _calling(name: str) -> bytes:
    """The first words of a command that calls a script."""
    packed: bytes = hiredis.pack_command(("EVALSHA", script(name).sha1))  # type: ignore[arg-type]
    return packed[len(b"*2\r\n") :]


#: By the first words of what can be joined, how many words all of its kind have.
_STARTS: Final = {_calling(module.SCRIPT): module.START for module in (writing, appending)}
_CALLING: Final = len(next(iter(_STARTS)))


class Packed:
    """What is sent for a change of one run, but for the mark, which stands in it once for each answer."""

    __slots__ = ("answers", "pieces", "shared", "start", "words")

    def __init__(self, sent: bytes) -> None:
        #: Of one that can be joined with others, the words that all have, how many these are, and how many follow.
        self.start = b""
        self.words = 0
        count, _, rest = sent.partition(b"\r\n")
        self.shared = _STARTS.get(rest[:_CALLING], 0)
        if self.shared:
            end = _after_words(rest, self.shared)
            self.start, sent, self.words = rest[:end], rest[end:], int(count[1:]) - self.shared
        self.pieces = sent.split(PLACEHOLDER)
        self.answers = len(self.pieces) - 1


def stamped(changes: Iterable[tuple[Packed, bytes]]) -> list[bytes]:
    """The commands for *changes*, each with its mark, in that order."""
    commands: list[bytes] = []
    together: list[bytes] = []
    words, start = 0, b""  # all words, and those that come first
    for packed, mark in changes:
        body = mark.join(packed.pieces)
        if together and (packed.start != start or len(together) == MOST_TOGETHER):
            commands.append(_joined(start, words, together))
            together = []
        if packed.start:
            words, start = (words if together else packed.shared) + packed.words, packed.start
            together.append(body)
        else:
            commands.append(body)
    if together:
        commands.append(_joined(start, words, together))
    return commands


def _joined(start: bytes, words: int, bodies: list[bytes]) -> bytes:
    return b"*%d\r\n%b%b" % (words, start, b"".join(bodies))


def _after_words(packed: bytes, words: int) -> int:
    """Where so many words end: each is led by its length ($3, a line's end, three bytes, a line's end)."""
    place = 0
    for _ in range(words):
        line = packed.index(b"\r\n", place)
        place = line + 2 + int(packed[place + 1 : line]) + 2
    return place
