"""
What the publisher sends, packed before anything is timed: only the marks in it are new each time.

Changes that leave in the same moment are joined in one call of the script, as the library's publishers join theirs
(gateway/store/joining.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import hiredis

from benchmarks.marks import PLACEHOLDER
from gateway.store.redis_keys import script
from gateway.store.writing import MOST_TOGETHER, SCRIPT, START

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The first words of a change.
_CHANGE: Final[bytes] = hiredis.pack_command(("EVALSHA", script(SCRIPT).sha1))[len(b"*2\r\n") :]  # type: ignore[arg-type]


class Packed:
    """What is sent for a change of one run, but for the mark, which stands in it once for each answer."""

    __slots__ = ("answers", "pieces", "start", "words")

    def __init__(self, sent: bytes) -> None:
        #: Of a change that can be joined with others, the words that all have; and how many follow.
        self.start = b""
        self.words = 0
        count, _, rest = sent.partition(b"\r\n")
        if rest.startswith(_CHANGE):
            end = _after_words(rest, START)
            self.start, sent, self.words = rest[:end], rest[end:], int(count[1:]) - START
        self.pieces = sent.split(PLACEHOLDER)
        self.answers = len(self.pieces) - 1


def stamped(changes: Iterable[tuple[Packed, bytes]]) -> list[bytes]:
    """The commands for *changes*, each with its mark, in that order."""
    commands: list[bytes] = []
    together: list[bytes] = []
    words, start = 0, b""
    for packed, mark in changes:
        body = mark.join(packed.pieces)
        if together and (packed.start != start or len(together) == MOST_TOGETHER):
            commands.append(_joined(start, words, together))
            together, words = [], 0
        if packed.start:
            together.append(body)
            words, start = words + packed.words, packed.start
        else:
            commands.append(body)
    if together:
        commands.append(_joined(start, words, together))
    return commands


def _joined(start: bytes, words: int, bodies: list[bytes]) -> bytes:
    return b"*%d\r\n%b%b" % (START + words, start, b"".join(bodies))


def _after_words(packed: bytes, words: int) -> int:
    """Where so many words end: each is led by its length ($3, a line's end, three bytes, a line's end)."""
    place = 0
    for _ in range(words):
        line = packed.index(b"\r\n", place)
        place = line + 2 + int(packed[place + 1 : line]) + 2
    return place
