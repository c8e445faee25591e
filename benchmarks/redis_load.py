"""As many changes as Redis takes: packed before anything is timed, and sent by what costs nearly nothing."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import hiredis

from gateway.changes import change
from gateway.store.joining import joined
from gateway.store.redis_keys import script
from gateway.store.writing import SCRIPT, ChangeWriter

if TYPE_CHECKING:
    from gateway.feeds import EnvironmentId
    from gateway.store.writing import Command

#: Changes that leave together, and commands that may be unanswered: Redis always has the next ones, and never many.
BATCH: Final = 64
UNANSWERED: Final = 256
#: Numbers of runs that each process has for itself.
RUNS_OF_EACH: Final = 10_000_000
#: Longer than Redis needs to answer so many, unless it hangs.
ANSWER_SECONDS: Final = 10.0
#: About as long as a change of progress is when it is published.
MESSAGE: Final = b"x" * 220
_RECEIVED: Final = 256 * 1024


class Kind(StrEnum):
    """What a run's publishers say, in the order in which it comes; and for comparison what keeps nothing."""

    CREATE = "create"
    START = "start"
    SET = "set"
    INCREMENT = "increment"
    COMPLETE = "complete"
    PUBLISH = "publish"


@dataclass(frozen=True, slots=True)
class Taken:
    """What Redis took. Times are CLOCK_MONOTONIC in nanoseconds."""

    changes: int
    began_at: int
    ended_at: int


class RedisLoad:
    """
    One connection that always has changes under way, each of another run. Lives in a process of its own.

    Args:
        number: Which one of several this is; each has runs of its own.
    """

    def __init__(self, number: int) -> None:
        self._number = number

    async def connect(self, port: int, environment: EnvironmentId) -> None:
        self._writer = ChangeWriter(environment=environment)
        self._connection = socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS)
        self._reader = hiredis.Reader()
        self._connection.sendall(_packed(("SCRIPT", "LOAD", script(SCRIPT).text)))
        self._read()

    async def prepare(self, kind: Kind, runs: int, value: int, *, together: bool) -> None:
        """
        Pack a change of that kind for each of so many runs.

        Args:
            value: What is set, so that it is news.
            together: Join them as publishers join those that wait; else each is a command of its own.
        """
        first = self._number * RUNS_OF_EACH
        commands = [_command(self._writer, kind, f"run_{number}", value) for number in range(first, first + runs)]
        self._batches = []
        for batch in (commands[i : i + BATCH] for i in range(0, runs, BATCH)):
            sent = joined(batch) if together else [(command, 1) for command in batch]
            self._batches.append((len(sent), len(batch), b"".join(_packed(command) for command, _ in sent)))

    async def send(self) -> Taken:
        """
        Send what was prepared, and return when Redis has answered all of it.

        Raises:
            RuntimeError: When something was not applied.
        """
        began_at = time.monotonic_ns()
        changes = sent = answered = 0
        for commands, batch_changes, batch in self._batches:
            self._connection.sendall(batch)
            sent, changes = sent + commands, changes + batch_changes
            while sent - answered > UNANSWERED:
                answered += self._read()
        while answered < sent:
            answered += self._read()
        return Taken(changes, began_at, time.monotonic_ns())

    def _read(self) -> int:
        """The number of answers that came."""
        self._reader.feed(self._connection.recv(_RECEIVED))
        count = 0
        while (answer := self._reader.gets()) is not False:
            count += 1
            # The script has an answer for each change.
            if isinstance(answer, Exception) or (isinstance(answer, list) and any(a[0] != b"applied" for a in answer)):
                raise RuntimeError(f"Redis did not apply a change: {answer!r}")
        return count


def _command(writer: ChangeWriter, kind: Kind, run: str, value: int) -> Command:
    """A command of that kind, of a run in six feeds beside its own: three tags, a batch, a task, and all."""
    match kind:
        case Kind.CREATE:
            origin = {"taskIdentifier": "resize-image", "batchId": "batch_2024"}
            payload = {"image": "cat.png", "width": 640}
            tags = ("customer:7", "export", "region:eu")
            made = change(run, create=True, status="PENDING", initial={**origin, "payload": payload}, tags=tags)
            return writer.by_digest(made)
        case Kind.START:
            return writer.by_digest(change(run, status="EXECUTING"))
        case Kind.SET:  # about as much as a progress bar needs
            progress = b'{"current":%d,"total":1000000000,"text":"of the rows"}' % (value + 100_000_000)
            return writer.by_digest(change(run), [("set", "progress", progress)])
        case Kind.INCREMENT:
            return writer.by_digest(change(run), [("increment", "rows", b"1")])
        case Kind.COMPLETE:
            return writer.by_digest(change(run, status="COMPLETED", columns={"output": {"rows": 12}}))
        case Kind.PUBLISH:
            return ("PUBLISH", "benchmark", MESSAGE)


def _packed(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub knows commands of one word only
    return packed
