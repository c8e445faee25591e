"""A change as the benchmark makes it: how it is sent to Redis, and how it is found again in what viewers receive."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final

import hiredis

from gateway.changes import change
from gateway.store.redis_keys import script
from gateway.store.writing import SCRIPT, ChangeWriter, Command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.feeds import EnvironmentId

#: Compact JSON passes through both gateways as it is. `n` counts changes, `at` is CLOCK_MONOTONIC in nanoseconds
#: when the change was sent, which is one clock for all processes of a machine.
MARK: Final = b'"progress":{"n":'
PROGRESS: Final = re.compile(MARK + rb'(\d+),"at":(\d+)\}')


class Changes:
    """Packs the changes of one environment as commands for Redis, past every client."""

    def __init__(self, environment: EnvironmentId) -> None:
        self._writer = ChangeWriter(environment=environment)

    def load(self) -> bytes:
        """The command that makes the script known, which comes before all others."""
        return _packed(("SCRIPT", "LOAD", script(SCRIPT).text))

    def start(self, run: str) -> bytes:
        """The command that creates the run, executing."""
        made = change(run, create=True, status="EXECUTING", initial={"taskIdentifier": "benchmark"})
        return _packed(self._writer.by_digest(made))

    def progress(self, run: str, n: int) -> bytes:
        """The command that sets the run's progress to the *n*th value, stamped now."""
        value = b'{"n":%d,"at":%d}' % (n, time.monotonic_ns())
        return _packed(self._writer.by_digest(change(run), [("set", "progress", value)]))


def _packed(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub knows commands of one word only
    return packed


def split_marks(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Each whole mark in *data*: where it starts, its number and its time."""
    for match in PROGRESS.finditer(data):
        yield match.start(), int(match[1]), int(match[2])
