"""The counts of several processes as one: nothing that was shown is ever taken back."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from gateway.metrics.histogram import Histogram
from gateway.metrics.snapshot import Snapshot
from gateway.metrics.workers import VARIABLE, Workers, shared_directory

if TYPE_CHECKING:
    from pathlib import Path


def counted(changes: int, *, viewers: int = 0, lag: float | None = None) -> Snapshot:
    snapshot = Snapshot()
    snapshot.set("runcast_changes_heard", changes)
    snapshot.set("runcast_viewers", viewers, "sse")
    snapshot.set("runcast_event_loop_lag_largest_seconds", viewers / 10)
    if lag is not None:
        histogram = Histogram((0.1, 1.0))
        histogram.observe(lag)
        snapshot.observe("runcast_delivery_lag_seconds", histogram)
    return snapshot


def joined(directory: Path) -> Workers:
    workers = Workers(directory)
    workers.join()
    return workers


def shown(snapshot: Snapshot, name: str, *labels: str) -> object:
    return snapshot.values[name][labels]


def test_counters_and_gauges_of_the_living_are_added(tmp_path: Path) -> None:
    """Whoever is asked tells the same: sums, and of what can't be added the largest."""
    one, other = joined(tmp_path), joined(tmp_path)
    one.write(counted(3, viewers=1, lag=0.05))
    other.write(counted(4, viewers=2, lag=5.0))

    for together in (
        one.add_others(counted(3, viewers=1, lag=0.05)),
        other.add_others(counted(4, viewers=2, lag=5.0)),
    ):
        assert shown(together, "runcast_changes_heard") == 7
        assert shown(together, "runcast_viewers", "sse") == 3
        assert shown(together, "runcast_event_loop_lag_largest_seconds") == 0.2
        assert shown(together, "runcast_delivery_lag_seconds") == ((0.1, 1.0), (1, 0, 1), 5.05)


def test_of_the_dead_only_what_can_not_go_down_is_kept(tmp_path: Path) -> None:
    """Their viewers are gone; that they were told something is not."""
    one, other = joined(tmp_path), joined(tmp_path)
    other.write(counted(4, viewers=2, lag=0.5))
    other.leave()
    together = one.add_others(counted(3, viewers=1))

    assert shown(together, "runcast_changes_heard") == 7
    assert shown(together, "runcast_viewers", "sse") == 1
    assert shown(together, "runcast_delivery_lag_seconds") == ((0.1, 1.0), (0, 1, 0), 0.5)


def test_however_many_die_few_files_stay(tmp_path: Path) -> None:
    """Each newcomer puts together what the dead have left; the sums stay the same."""
    for _ in range(20):
        worker = joined(tmp_path)
        worker.write(counted(5, viewers=1))
        worker.leave()
    last = joined(tmp_path)

    assert shown(last.add_others(counted(1)), "runcast_changes_heard") == 101
    assert len(list(tmp_path.iterdir())) <= 4


def test_a_killed_process_is_known_to_be_dead(tmp_path: Path) -> None:
    """By a lock that the kernel takes from it: it can't say so itself."""
    script = (
        "import sys, time; from pathlib import Path\n"
        "from gateway.metrics.workers import Workers; from gateway.metrics.snapshot import Snapshot\n"
        "workers = Workers(Path(sys.argv[1])); workers.join(); own = Snapshot()\n"
        "own.set('runcast_changes_heard', 9); own.set('runcast_viewers', 9, 'sse'); workers.write(own)\n"
        "print('written', flush=True); time.sleep(60)\n"
    )
    mine = joined(tmp_path)
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"written\n"
        alive = mine.add_others(counted(1, viewers=1))
        child.send_signal(signal.SIGKILL)
        child.wait()
        dead = mine.add_others(counted(1, viewers=1))

    assert shown(alive, "runcast_viewers", "sse") == 10
    assert shown(dead, "runcast_viewers", "sse") == 1
    assert shown(alive, "runcast_changes_heard") == shown(dead, "runcast_changes_heard") == 10


def test_a_file_that_can_not_be_read_hurts_nobody(tmp_path: Path) -> None:
    """A full disk, or somebody's hand."""
    one, other = joined(tmp_path), joined(tmp_path)
    other.write(counted(4))
    (broken,) = tmp_path.glob("*-*.json")
    broken.write_bytes(b'{"runcast_chan')

    assert shown(one.add_others(counted(3)), "runcast_changes_heard") == 3


def test_the_directory_is_private_and_goes_with_its_block() -> None:
    """Nobody else may write into what we show, or read it."""
    with shared_directory() as directory:
        assert os.environ[VARIABLE] == str(directory)
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700

    assert VARIABLE not in os.environ
    assert not directory.exists()


def test_what_nobody_defined_can_not_be_counted() -> None:
    """A metric without a family, or with other labels, is a mistake of ours."""
    with pytest.raises(KeyError):
        Snapshot().set("runcast_made_up", 1)
    with pytest.raises(ValueError, match="has the labels"):
        Snapshot().set("runcast_viewers", 1)


def test_a_snapshot_comes_back_as_it_was_written() -> None:
    """Labels, integers and histograms."""
    snapshot = counted(3, viewers=1, lag=0.05)

    assert Snapshot.decode(snapshot.encode()).values == snapshot.values
