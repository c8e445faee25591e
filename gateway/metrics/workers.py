"""
The counts of several processes as one. Each writes its own down, once a second and before it shows any, into a private
directory that their parent made; whichever is asked reads those of the others.

So what was shown once is in a file, and no sum that anybody is shown later can be smaller: not when another process is
asked, and not when the one that was asked has been killed. Which processes live is known by locks that the kernel takes
from the dead, never by numbers that others may have by now.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.metrics.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Tells worker processes where; set by their parent and by nobody else, so it is no setting.
VARIABLE: Final = "_RUNCAST_METRICS_DIRECTORY"
_ENDED: Final = "ended.json"


@contextlib.contextmanager
def shared_directory() -> Iterator[Path]:
    """A directory for the workers that this process starts within the block; they find it in their environment."""
    directory = tempfile.mkdtemp(prefix="runcast-metrics-")
    os.environ[VARIABLE] = directory
    try:
        yield Path(directory)
    finally:
        os.environ.pop(VARIABLE, None)
        shutil.rmtree(directory, ignore_errors=True)


class Workers:
    """
    One process's place among the others. From `join` to `leave` it counts as living.

    Its methods read and write small files, and so belong on a thread when there is an event loop.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._lock: int | None = None
        self._writing = threading.Lock()

    def join(self) -> None:
        """Be one of them. What those have left who ended is put together, so that their number may grow for ever."""
        with self._all_locked(fcntl.LOCK_EX):
            self._lock = os.open(self._path(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self._fold()

    def leave(self) -> None:
        """Be gone; what was written down last stays. Leaving twice is harmless."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write(self, own: Snapshot) -> None:
        """Write down what this process has counted. A reader finds this or what was there before, never a part."""
        draft = self._path(".new")
        with self._writing:
            draft.write_bytes(own.encode())
            draft.replace(self._path(".json"))
            if self._lock is not None:
                os.utime(self._lock)  # else whoever cleans up old temporary files would take it for one

    def add_others(self, own: Snapshot) -> Snapshot:
        """*own* and what all others have counted."""
        together = Snapshot()
        together.add(own)
        with self._all_locked(fcntl.LOCK_SH):
            for path in self._others():
                together.add(_read(path), ended=not _lives(path))
            together.add(_read(self._directory / _ENDED), ended=True)
        return together

    def _fold(self) -> None:
        ended = _read(self._directory / _ENDED)
        dead = [path for path in self._others() if not _lives(path)]
        for path in dead:
            ended.add(_read(path), ended=True)
        draft = self._directory / f"{_ENDED}.new"
        draft.write_bytes(ended.encode())
        draft.replace(self._directory / _ENDED)
        for path in dead:
            path.unlink()
            path.with_suffix(".lock").unlink(missing_ok=True)
            path.with_suffix(".new").unlink(missing_ok=True)

    def _others(self) -> list[Path]:
        own = {self._name, Path(_ENDED).stem}
        return [path for path in self._directory.glob("*.json") if path.stem not in own]

    def _path(self, suffix: str) -> Path:
        return self._directory / f"{self._name}{suffix}"

    @contextlib.contextmanager
    def _all_locked(self, how: int) -> Iterator[None]:
        """While one puts files together nobody reads them, or would count something twice or not at all."""
        lock = os.open(self._directory / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, how)
            yield
        finally:
            os.close(lock)


def _lives(path: Path) -> bool:
    """Whether the process that writes this file does: it holds the lock beside it until it ends, however it ends."""
    try:
        lock = os.open(path.with_suffix(".lock"), os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(lock)


def _read(path: Path) -> Snapshot:
    try:
        return Snapshot.decode(path.read_bytes())
    except (OSError, ValueError):
        return Snapshot()
