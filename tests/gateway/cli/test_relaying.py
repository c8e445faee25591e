"""What a command writes, on its two ways: nothing waits for Redis, and what is left out is said."""

from __future__ import annotations

import json
import os
import threading
import time
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.changes import Outcome
from gateway.cli.relaying import Lines, LogSender, Relay
from gateway.errors import TooLarge
from gateway.publisher.logs import MAX_LINE_BYTES


class Log:
    """A run's log that takes nothing until it is let."""

    def __init__(self, *, open_: bool = True, limit: int = 10**6) -> None:
        self._limit = limit
        self.lines: list[dict[str, Any]] = []
        self.may = threading.Event()
        self.asked = threading.Event()
        if open_:
            self.may.set()

    def _append(self, stream: str, chunks: list[bytes]) -> Outcome:
        self.asked.set()
        self.may.wait()
        for chunk in chunks:
            if len(chunk) > self._limit:
                raise TooLarge("a chunk", size=len(chunk), limit=self._limit)
        self.lines += [json.loads(chunk) for chunk in chunks]
        return Outcome.APPLIED

    @property
    def messages(self) -> list[str]:
        return [line["message"] for line in self.lines]


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6))
def test_lines_are_the_same_however_the_bytes_are_cut(data: bytes, cuts: list[int]) -> None:
    """Nothing is lost and nothing is joined that does not belong together."""
    lines, places = Lines(), sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    found = [line for start, end in pairwise(places) for line in lines.feed(data[start:end])]
    found += lines.end()

    assert b"".join(found) == data
    assert all(line.count(b"\n") <= 1 and b"\n" not in line[:-1] for line in found)


def test_a_line_without_an_end_is_cut_and_the_next_one_is_whole() -> None:
    lines = Lines()
    found = [line for _ in range(5) for line in lines.feed(b"x" * MAX_LINE_BYTES)]
    found += lines.feed(b"still that one\nthe next\n")

    assert found == [b"x" * MAX_LINE_BYTES, b"the next\n"]


def test_a_line_over_the_limit_of_a_chunk_is_cut_and_the_log_goes_on() -> None:
    """Whatever the limit is: what comes behind it is there."""
    log = Log(limit=1_000)
    sender = LogSender(log)
    sender.put([b"short\n", b"\x00" * 5_000 + b"\n", b"behind\n"], "stdout")
    sender.end(patience=10)

    first, cut, last = log.messages
    assert (first, last) == ("short", "behind")
    assert cut.endswith("(cut)")
    assert sender.dropped == 0


def test_a_log_that_takes_nothing_holds_nobody_up_and_what_is_missing_is_said() -> None:
    log = Log(open_=False)
    sender = LogSender(log, most_bytes=1600)  # ten short lines or so
    sender.put([b"first\n"], "stdout")
    assert log.asked.wait(10)
    for number in range(100):  # none of these waits
        sender.put([b"%d\n" % number], "stdout")
    log.may.set()
    while sender._waiting:
        time.sleep(0.001)
    sender.put([b"last\n"], "stdout")
    sender.end(10)

    kept = len(log.messages) - 3
    assert log.messages[: kept + 1] == ["first", *map(str, range(kept))]
    assert log.messages[kept + 1 :] == [
        f"… {100 - kept} lines were left out: they came faster than they could be stored",
        "last",
    ]
    assert sender.dropped == 100 - kept
    assert 0 < kept < 20


def test_what_is_shown_ends_where_nobody_looks_and_the_log_goes_on() -> None:
    """As when `| head` has seen enough."""
    ours, theirs = os.pipe()
    looked, shown = os.pipe()
    os.close(looked)
    log = Log()
    sender = LogSender(log)
    relay = Relay({ours: "stdout"}, sender, terminals={"stdout": shown})
    for text in (b"one\n", b"two\n"):
        os.write(theirs, text)
    os.close(theirs)
    relay.end(10)
    sender.end(10)
    os.close(shown)

    assert log.messages == ["one", "two"]
