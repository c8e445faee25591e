"""A reader of a stream notices every chunk that is missing, comes twice, or comes too early."""

from __future__ import annotations

import socket

import pytest

from benchmarks.marks import mark
from benchmarks.sockets import Line
from benchmarks.tally import Tally
from benchmarks.works.streams import StreamReader

STREAMS = 10
#: Of which this is one, by its place; and the number of its last chunk.
PLACE, LAST = 3, 43
IN_ORDER = [13, 23, 33, 43]


def read(numbers: list[int], size: int = 4096) -> StreamReader:
    """A reader who received chunks with these numbers, so many bytes at a time."""
    wire = b"".join(b'{"type":"chunk","chunk":{"text":" a","mark":"%b"}}' % mark(PLACE, n, 1) for n in numbers)
    tally = Tally()
    reader = StreamReader(tally, STREAMS)
    with socket.socket() as unused:
        for begin in range(0, len(wire), size):
            buffer = bytearray(reader.tail + wire[begin : begin + size])
            reader.received(Line(unused, reader), buffer, 0, len(buffer))
    assert tally.deliveries == len(tally.latencies) == len(numbers)
    return reader


@pytest.mark.parametrize("size", [1, 7, 60, 4096])
def test_all_chunks_in_order_are_the_truth(size: int) -> None:
    """However the bytes were cut on the way."""
    assert read(IN_ORDER, size).knows({PLACE: LAST})


@pytest.mark.parametrize(
    "numbers", [[13, 33, 43], [13, 23, 23, 33, 43], [13, 33, 23, 43]], ids=["missing", "twice", "too early"]
)
def test_what_is_out_of_order_is_noticed(numbers: list[int]) -> None:
    """The last chunk is there, but not everything was told as it was written."""
    assert not read(numbers).knows({PLACE: LAST})


def test_a_stream_that_ends_early_is_noticed() -> None:
    """What came was in order, and there was more."""
    assert not read(IN_ORDER[:-1]).knows({PLACE: LAST})
