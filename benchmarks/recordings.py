"""What a few viewers were told, message by message: how old their picture of runs became, which statuses they saw."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import orjson

from benchmarks.marks import find_marks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.offering import Offered

#: What a viewer received: when (CLOCK_MONOTONIC, ns), and what.
Recording = list[tuple[int, bytes]]


def ages(recording: Recording, offered: Offered, runs: int) -> list[int]:
    """
    How old the picture of a run was each time that the viewer was told anything newer: nanoseconds.

    Runs changed one after the other, *runs* of them. A viewer who was told a change of a run has the truth until the
    run's next change is sent; from then until it is told that one, or a later one, what it sees is old.
    """
    ends = list(accumulate(len(chunk) for _, chunk in recording))
    whole = b"".join(chunk for _, chunk in recording)
    unseen = list(range(runs))  # by run, the first change that the viewer was not told, counted from 0
    found = []
    for end, run, number in find_marks(whole):
        change = number - offered.first
        if change >= unseen[run]:
            told_at = recording[bisect_left(ends, end)][0]
            found.append(told_at - offered.sent_at[unseen[run]])
            unseen[run] = change + runs
    return found


def statuses(recording: Recording) -> dict[str, list[str]]:
    """By run, the statuses that a viewer was told on a WebSocket (docs/protocol.md), each once, as they came."""
    seen: dict[str, dict[str, None]] = {}
    for message in _messages(b"".join(chunk for _, chunk in recording)):
        if message["type"] == "update" and message.get("transition"):
            seen.setdefault(message["run"]["id"], {})[message["transition"]["status"]] = None
        for run in message["runs"] if message["type"] == "snapshot" else ():
            seen.setdefault(run["id"], {}).update(dict.fromkeys(each["status"] for each in run["transitions"]))
    return {run: list(found) for run, found in seen.items()}


def _messages(data: bytes) -> Iterator[dict[str, Any]]:
    """The text messages in a server's frames (RFC 6455, section 5.2), of which each is whole."""
    place = 0
    while place + 2 <= len(data):
        kind, size = data[place], data[place + 1]
        place += 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size = int.from_bytes(data[place : place + width], "big")
            place += width
        if kind == 0x81:
            yield orjson.loads(data[place : place + size])
        place += size
