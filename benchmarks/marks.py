"""
Marks: how a change is found again in what viewers receive, whatever it was wrapped in on the way.

A mark has a fixed length and no character that JSON, msgpack or pickle would write differently, so it is the same in an
object, in a string, and in a string within a string. It says which run changed, which change of all it is, and when it
was sent.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer

#: What every mark begins with, and nothing else has: this is what is counted. The longer it is, the fewer bytes are
#: looked at, for a search skips its length wherever it does not stand: this one costs 70 ns an event, b"~mark~" 150.
NEEDLE: Final = b"~mark~mark~mark~mark~"
#: Run, number and time (CLOCK_MONOTONIC in nanoseconds: one clock for all processes of a machine).
_FORMAT: Final = NEEDLE + b"%06d~%010d~%018d~"
LENGTH: Final = len(_FORMAT % (0, 0, 0))
PATTERN: Final = re.compile(NEEDLE + rb"(\d{6})~(\d{10})~(\d{18})~")
#: Where the number and the time stand in a mark.
NUMBER: Final = slice(len(NEEDLE) + 7, len(NEEDLE) + 17)
TIME: Final = slice(len(NEEDLE) + 18, len(NEEDLE) + 36)
#: A mark to be replaced by others.
PLACEHOLDER: Final = _FORMAT % (0, 0, 0)

#: About as long as Runcast's message of a change of progress that has a padding of PADDING characters.
EVENT_BYTES: Final = 300
PADDING: Final = b"." * 48


def mark(run: int, number: int, sent_at: int) -> bytes:
    return _FORMAT % (run, number, sent_at)


def find_marks(data: ReadableBuffer) -> Iterator[tuple[int, int, int]]:
    """Where each whole mark in *data* ends, its run, and its number."""
    for match in PATTERN.finditer(data):
        yield match.end(), int(match[1]), int(match[2])


def event(run: str, mark: bytes) -> bytes:
    """What is told by servers that pass on what they get: a line of JSON, EVENT_BYTES long, the mark near its end."""
    head = b'{"type":"change","run":"%b","status":"EXECUTING","padding":"' % run.encode()
    tail = b'","progress":"%b"}' % mark
    return head + b"." * (EVENT_BYTES - len(head) - len(tail)) + tail
