"""The load generator counts what came, however it came, and answers what must be answered."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from benchmarks.load import RecordingViewer, SampledViewer, Viewer
from benchmarks.marks import EVENT_BYTES, LENGTH, event, mark
from benchmarks.sockets import ROOM, Line
from benchmarks.tally import Tally
from benchmarks.targets import Opening, Transport

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Ten changes of three runs, as one server might frame them.
CHANGES = [event(f"run_{number % 3}", mark(number % 3, number, 1)) + b"\n\n" for number in range(1, 11)]
STREAM = b"".join(CHANGES)


def feed(viewer: Viewer, line: Line, *chunks: bytes) -> None:
    """Let a viewer receive *chunks* one after the other, as `Sockets` does."""
    for chunk in chunks:
        buffer = bytearray(ROOM) + chunk
        start = ROOM - len(viewer.tail)
        buffer[start:ROOM] = viewer.tail
        viewer.received(line, buffer, start, len(buffer))


@pytest.fixture
def tally() -> Tally:
    return Tally()


@pytest.fixture
def line(tally: Tally) -> Iterator[Line]:
    with socket.socket() as unused:
        yield Line(unused, Viewer(tally))


@pytest.mark.parametrize("kind", [Viewer, SampledViewer])
def test_a_mark_counts_once_wherever_it_is_cut(kind: type[Viewer], line: Line) -> None:
    """Each place at which a chunk can end within two events, and the viewer still counts ten and holds the last one."""
    for cut in range(1, 2 * EVENT_BYTES + LENGTH):
        tally = Tally()
        viewer = kind(tally)
        feed(viewer, line, STREAM[:cut], STREAM[cut:])

        assert tally.deliveries == len(CHANGES)
        assert viewer.newest == b"%010d" % len(CHANGES)


@pytest.mark.parametrize("size", [1, 2, 7, 41, 299, 300, 301])
def test_crumbs_count_like_the_whole(size: int, tally: Tally, line: Line) -> None:
    """A stream in small pieces, which cut marks more than once, has as many marks as one that comes at once."""
    viewer = SampledViewer(tally)
    feed(viewer, line, *(STREAM[place : place + size] for place in range(0, len(STREAM), size)))

    assert tally.deliveries == len(tally.latencies) == len(CHANGES)


def test_a_sampled_viewer_knows_each_runs_last_change(tally: Tally, line: Line) -> None:
    """The truth is the last number of each run, and nothing else is."""
    viewer = SampledViewer(tally)
    feed(viewer, line, STREAM)

    assert viewer.knows({0: 9, 1: 10, 2: 8})
    assert not viewer.knows({0: 9, 1: 10, 2: 11})
    assert not viewer.knows({0: 9, 1: 10, 2: 8, 3: 7})


def test_an_event_is_as_long_as_it_says() -> None:
    """Whatever the run and the numbers in it are."""
    assert {len(event(run, mark(1, 2, 3))) for run in ("run_1", "run_50000")} == {EVENT_BYTES}


def test_a_ping_is_answered_among_other_data(tally: Tally) -> None:
    """Wherever it stands among messages; and the length of a message is not taken for one."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        viewer = Viewer(tally)
        viewer.answers(Opening("/", {}), Transport.WEBSOCKET)
        long = b"\x81\x7e\x01\x89" + b"x" * 0x189
        feed(viewer, Line(ours, viewer), long + b"\x89\x02hi" + long)

        assert theirs.recv(100) == b"\x8a\x82\0\0\0\0hi"
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(100)


def test_a_heartbeat_of_engine_io_is_answered(tally: Tally) -> None:
    """Its ping is a message like any other, and so is the answer."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        viewer = Viewer(tally)
        viewer.answers(Opening("/", {}, heartbeat=("2", "3")), Transport.WEBSOCKET)
        feed(viewer, Line(ours, viewer), b"\x81\x012")

        assert theirs.recv(100) == b"\x81\x81\0\0\0\x003"


def test_a_recorded_viewer_keeps_what_came_and_its_place(tally: Tally, line: Line) -> None:
    """All bytes, each once, wherever they were cut; and the cursor that the server named last."""
    viewer = RecordingViewer(tally)
    told = STREAM + b'{"cursor":"a-1"}' + STREAM + b'{"cursor":"a-2"}'
    feed(viewer, line, told[:500], told[500:777], told[777:])

    assert b"".join(chunk for _, chunk in viewer.chunks) == told
    assert viewer.cursor() == "a-2"
