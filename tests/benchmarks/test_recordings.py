"""What viewers saw is read from what they were sent."""

from __future__ import annotations

import json

from benchmarks.marks import mark
from benchmarks.offering import Offered
from benchmarks.recordings import ages, statuses


def frame(message: object) -> bytes:
    text = json.dumps(message).encode()
    return b"\x81\x7e" + len(text).to_bytes(2, "big") + text


def test_a_picture_is_as_old_as_the_first_change_it_misses() -> None:
    """Two runs change in turn at 100, 200, …; one viewer is told at once, late, and past a change that it never saw."""
    sent_at = [100, 200, 300, 400, 500, 600]
    offered = Offered(changes=6, began_at=100, ended_at=600, answered_at=600, truth={}, first=11, sent_at=sent_at)
    told = [
        (110, mark(0, 11, 100)),  # run 0, at once
        (450, mark(1, 12, 200) + mark(1, 14, 400)[:20]),  # run 1, late, and the rest of the next one comes later
        (460, mark(1, 14, 400)[20:]),
        (700, mark(0, 15, 500)),  # run 0, without the change of 300
    ]

    assert ages(told, offered, runs=2) == [10, 250, 60, 400]


def test_statuses_are_read_from_updates_and_snapshots() -> None:
    """Each once, in the order in which the viewer saw them, however it was told and wherever a chunk ended."""
    update = {"type": "update", "run": {"id": "run_1"}, "transition": {"status": "QUEUED"}}
    tick = {"type": "update", "run": {"id": "run_1"}}
    rows = [{"id": "run_1", "transitions": [{"status": "QUEUED"}, {"status": "EXECUTING"}]}]
    data = b"\x89\x00" + frame(update) + frame(tick) + frame({"type": "snapshot", "runs": rows})

    assert statuses([(1, data[:30]), (2, data[30:])]) == {"run_1": ["QUEUED", "EXECUTING"]}
