"""The log of a shape: what it tells whom, what it can't, and what it keeps."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.triggerdev.shape.log import MAX_BYTES, MAX_ENTRIES, Log, OutOfLog, Told, body_of

UP_TO_DATE = {"headers": {"control": "up-to-date"}}


def log(start: int = 100, *, paced: bool = False) -> Log:
    return Log("e1", start, paced=paced)


def part(log: Log, sequence: int, run: str = "r", *, turns: bool = False, size: int = 10, **values: str | None) -> None:
    log.append(sequence, run, {"id": run, **values}, whole=False, transition=turns, size=size)


def whole(log: Log, sequence: int, run: str = "r", **values: str | None) -> None:
    log.append(sequence, run, {"id": run, **values}, whole=True, transition=True, size=10)


def told(found: Told | None) -> list[tuple[str, dict[str, Any]]]:
    assert found is not None
    *changes, last = json.loads(found.body)
    assert last == UP_TO_DATE
    assert json.loads(b"[%s]" % found.changes) == changes
    return [(change["headers"]["operation"], change["value"]) for change in changes]


def test_a_client_is_told_what_came_after_its_place() -> None:
    """As long as the log reaches back so far."""
    kept = log()
    part(kept, 101, status="A")
    part(kept, 103, ttl="B")

    assert told(kept.after(100, 0)) == [("update", {"id": "r", "status": "A", "ttl": "B"})]
    assert told(kept.after(101, 0)) == told(kept.after(102, 0)) == [("update", {"id": "r", "ttl": "B"})]
    assert kept.after(103, 0) is None
    with pytest.raises(OutOfLog):
        kept.after(99, 0)


def test_changes_of_a_run_are_one_change_in_an_answer() -> None:
    """The newest value of each column; a whole row begins anew, and what comes then is put into it."""
    kept = log()
    part(kept, 101, status="A", output="1")
    whole(kept, 102, status="B", output=None)
    part(kept, 103, "other", ttl="1")
    part(kept, 104, status="C")

    assert told(kept.after(100, 0)) == [
        ("insert", {"id": "r", "status": "C", "output": None}),
        ("update", {"id": "other", "ttl": "1"}),
    ]
    assert told(kept.after(103, 0)) == [("update", {"id": "r", "status": "C"})]


def test_a_change_that_shows_nothing_wakes_nobody_who_has_its_run() -> None:
    """Neither when all runs are known, nor when the run changed since the snapshot."""
    kept = log()
    whole(kept, 105, "known")
    kept.after(105, 103)
    before = kept.version
    kept.hush(106, "known")

    assert kept.version == before
    assert kept.position == 106
    assert kept.after(105, 0) is kept.after(105, 103) is None


def test_a_change_that_shows_nothing_brings_a_run_that_was_cut_off() -> None:
    """Who lacks the run reads it; others are told what else there is, or nothing."""
    kept = log()
    kept.after(100, 90)
    kept.hush(101, "r")

    assert kept.after(100, 0) is None
    with pytest.raises(OutOfLog):
        kept.after(100, 90)
    part(kept, 102, "other", status="A")
    assert told(kept.after(100, 0)) == [("update", {"id": "other", "status": "A"})]
    with pytest.raises(OutOfLog):
        kept.after(100, 90)


def test_who_comes_with_a_cut_off_snapshot_after_such_a_change_reads() -> None:
    """It was not kept, as nobody lacked its run then; who was told everything since does not read."""
    kept = log()
    kept.hush(103, "r")

    assert kept.after(103, 95) is None
    with pytest.raises(OutOfLog):
        kept.after(102, 95)
    kept.restart("e2", 50)
    assert kept.after(50, 40) is None


def test_everybody_at_one_place_shares_an_answer() -> None:
    """Until something comes."""
    kept = log()
    part(kept, 101, status="A")
    first = kept.after(100, 0)

    assert kept.after(100, 0) is first
    part(kept, 102, status="B")
    assert kept.after(100, 0) is not first


def test_answers_are_bounded() -> None:
    """Whatever places clients claim to stand at: those between two changes are one, and the rest are made anew."""
    kept = Log("e1", 0, paced=False)
    for number in range(1, 100):
        part(kept, 1000 * number, output="x" * 10_000, size=10_000)
    for offset in range(50_000, 99_000, 7):
        kept.after(offset, 0)

    assert len(kept._answers) <= 50
    assert sum(2 * len(told.body) for told in kept._answers.values()) <= 6 * MAX_BYTES
    assert kept.after(50_001, 0) is kept.after(50_999, 0)


def test_a_paced_log_shows_each_status() -> None:
    """An answer ends before the second one; what belongs to a status comes with it."""
    kept = log(paced=True)
    part(kept, 101, status="A", turns=True)
    part(kept, 102, output="1")
    part(kept, 103, status="B", turns=True)
    part(kept, 104, status="C", turns=True)

    first = kept.after(100, 0)
    assert told(first) == [("update", {"id": "r", "status": "A", "output": "1"})]
    assert first is not None
    assert first.end == 102
    second = kept.after(first.end, 0)
    assert told(second) == [("update", {"id": "r", "status": "B"})]
    assert second is not None
    assert told(kept.after(second.end, 0)) == [("update", {"id": "r", "status": "C"})]


def test_who_may_lack_a_run_is_told_no_part_of_it() -> None:
    """A cut-off snapshot knows what changed after its base. What it has not, it reads."""
    kept = log()
    part(kept, 101, "old", status="A")
    with pytest.raises(OutOfLog):
        kept.after(100, 50)
    assert told(kept.after(100, 0)) == [("update", {"id": "old", "status": "A"})]

    # The run changed at 101, which is after that base, and whoever stands there has been told.
    part(kept, 102, "old", status="B")
    assert told(kept.after(101, 50)) == [("update", {"id": "old", "status": "B"})]
    with pytest.raises(OutOfLog):
        kept.after(101, 101)

    whole(kept, 103, "new", status="A")
    part(kept, 104, "new", status="B")
    assert told(kept.after(102, 102)) == [("insert", {"id": "new", "status": "B"})]


def test_a_log_is_bounded_by_entries() -> None:
    """The oldest go, and who needed them reads."""
    kept = log(0)
    for number in range(1, 3 * MAX_ENTRIES):
        part(kept, number)
        assert len(kept) <= MAX_ENTRIES

    assert kept.after(kept.start, 0) is not None
    with pytest.raises(OutOfLog):
        kept.after(kept.start - 1, 0)


def test_a_log_is_bounded_by_bytes() -> None:
    """However few entries these are."""
    kept = log(0)
    for number in range(1, 100):
        part(kept, number, size=MAX_BYTES // 3)
        assert len(kept) <= 3

    assert kept.start > 90


def test_what_is_skipped_is_read_by_who_needs_it() -> None:
    """And by nobody else."""
    kept = log()
    part(kept, 101, status="A")
    kept.skip(102, "r")
    part(kept, 103, status="B")

    with pytest.raises(OutOfLog):
        kept.after(101, 0)
    assert told(kept.after(102, 0)) == [("update", {"id": "r", "status": "B"})]


def test_another_history_begins_with_nothing() -> None:
    """Numbers of the one mean nothing in the other."""
    kept = log()
    part(kept, 101, status="A")
    kept.restart("e2", 50)
    part(kept, 60, status="B")

    assert kept.epoch == "e2"
    assert told(kept.after(50, 0)) == [("update", {"id": "r", "status": "B"})]
    with pytest.raises(OutOfLog):
        kept.after(50, 10)  # what was known of runs is forgotten, too


def test_every_news_has_another_version() -> None:
    """So that nobody is woken for nothing."""
    kept = log()
    versions = [kept.version]
    part(kept, 101)
    versions.append(kept.version)
    kept.advance(105)
    versions.append(kept.version)
    kept.skip(106, "r")
    versions.append(kept.version)
    kept.restart("e2", 1)
    versions.append(kept.version)
    assert versions == sorted(set(versions))

    kept.advance(1)
    assert kept.version == versions[-1]


def test_bodies() -> None:
    """Changes, and that there are no others when that is so."""
    assert body_of(b"") == b'[{"headers":{"control":"up-to-date"}}]'
    assert body_of(b"{}") == b'[{},{"headers":{"control":"up-to-date"}}]'
    assert body_of(b"{}", up_to_date=False) == b"[{}]"
