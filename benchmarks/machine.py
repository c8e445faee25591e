"""The machine that is measured on: its cores, its limits, and what to say of it beside the numbers."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Sockets of one process beside those of its viewers.
SPARE_FILES = 200

_PACKAGES = ("uvicorn", "uvloop", "httptools", "websockets", "starlette", "redis", "hiredis", "orjson")


class TooFewFiles(Exception):
    """A process may not open as many sockets as the benchmark has viewers."""

    def __init__(self, *, needed: int, limit: int) -> None:
        super().__init__(
            f"{needed} open files are needed and {limit} allowed; raise the hard limit (ulimit -Hn), "
            "or measure with fewer viewers (--short)"
        )


@dataclass(frozen=True, slots=True)
class Cores:
    """Where the processes run. The server has a core of its own, unless there is only one or they can't be chosen."""

    server: int | None
    others: int | None

    @property
    def apart(self) -> bool:
        return self.server != self.others

    def __str__(self) -> str:
        if not self.apart:
            return "NOT PINNED: server, load generator and Redis compete for the same cores"
        return f"server on core {self.server}, load generator, publisher and Redis on core {self.others}"


class CoreClock:
    """How busy a core has been since this was made, with whatever runs on it. Without a core it knows nothing."""

    def __init__(self, core: int | None) -> None:
        self._core = core
        self._began = self._times()

    def busy(self) -> float | None:
        """The share of the time, 0 to 1."""
        if self._began is None or (now := self._times()) is None:
            return None
        used, total = now[0] - self._began[0], now[1] - self._began[1]
        return used / total if total else None

    def _times(self) -> tuple[float, float] | None:
        if self._core is None:
            return None
        times = psutil.cpu_times(percpu=True)[self._core]
        total = sum(times)
        return total - times.idle - getattr(times, "iowait", 0.0), total


def choose_cores() -> Cores:
    if not hasattr(os, "sched_getaffinity"):
        return Cores(None, None)
    cores = sorted(os.sched_getaffinity(0))
    return Cores(cores[0], cores[1]) if len(cores) > 1 else Cores(None, None)


def pin(pid: int, core: int | None) -> None:
    """Keep a process (0 is this one) on a core, where that can be asked for."""
    if core is not None and sys.platform == "linux":
        os.sched_setaffinity(pid, {core})


@contextlib.contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Keep this thread, and all processes that it starts, on a core for as long as the block lasts."""
    if core is None or sys.platform != "linux":
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_file_limit(viewers: int) -> None:
    """
    Let this process and those it starts have a socket per viewer.

    Raises:
        TooFewFiles: When the hard limit does not allow it.
    """
    needed = viewers + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise TooFewFiles(needed=needed, limit=hard)
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def description(cores: Cores, redis_version: str) -> dict[str, str]:
    """What a reader must know to compare these numbers with others."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "command": "python -m benchmarks " + " ".join(sys.argv[1:]),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "load": f"{os.getloadavg()[0]:.2f} before the first measurement",
        "placing": str(cores),
        "versions": ", ".join([f"Python {platform.python_version()}", redis_version, *_versions()]),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _versions() -> list[str]:
    return [f"{name} {version(name)}" for name in _PACKAGES]
