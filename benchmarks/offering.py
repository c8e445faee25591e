"""The publisher of a measurement: changes at a fixed rate, whatever becomes of them (an open loop)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import hiredis

from benchmarks.changes import Changes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.feeds import EnvironmentId

#: Longer than Redis needs to answer what is under way, unless it hangs.
ANSWER_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Offered:
    """What was sent in one go. Times are CLOCK_MONOTONIC in nanoseconds."""

    changes: int
    #: The number of the last change.
    last: int
    began_at: int
    ended_at: int

    @property
    def rate(self) -> float:
        return (self.changes - 1) / max(self.ended_at - self.began_at, 1) * 1e9 if self.changes > 1 else 0.0


class Offerer:
    """
    Sends changes over one pipelined connection, by the script that publishers use, packed by hand.

    Lives in a process of its own (`processes.Remote`). Numbers the changes of all runs with one count.
    """

    def __init__(self) -> None:
        self._answers = _Answers()
        self._count = 0

    async def connect(self, port: int, environment: EnvironmentId) -> None:
        self._changes = Changes(environment)
        self._transport, _ = await asyncio.get_running_loop().create_connection(
            lambda: self._answers, "127.0.0.1", port
        )
        await self._send([self._changes.load()])

    async def create(self, runs: Sequence[str]) -> int:
        """Create *runs* and give each the same first value; return its number."""
        await self._send([self._changes.start(run) for run in runs])
        return await self.touch(runs)

    async def touch(self, runs: Sequence[str]) -> int:
        """Change each of *runs* once, to the same value; return its number."""
        self._count += 1
        await self._send([self._changes.progress(run, self._count) for run in runs])
        return self._count

    async def offer(self, run: str, rate: float, seconds: float) -> Offered:
        """Change *run* at *rate* per second for *seconds*, evenly, and return when Redis has answered every change."""
        began_at = ended_at = time.monotonic_ns()
        changes = int(rate * seconds)
        sent = 0
        while sent < changes:
            due = min(changes, int((time.monotonic_ns() - began_at) / 1e9 * rate) + 1)
            commands = []
            for _ in range(due - sent):
                self._count += 1
                commands.append(self._changes.progress(run, self._count))
            if commands:
                ended_at = time.monotonic_ns()
                self._answers.expected += len(commands)
                self._transport.write(b"".join(commands))
                sent = due
            await asyncio.sleep(max(0.0, began_at / 1e9 + sent / rate - time.monotonic()))
        await self._answers.wait()
        return Offered(changes, self._count, began_at, ended_at)

    async def _send(self, commands: Sequence[bytes]) -> None:
        self._answers.expected += len(commands)
        self._transport.write(b"".join(commands))
        await self._answers.wait()


class _Answers(asyncio.Protocol):
    """Counts what Redis answers, and knows whether a change was refused."""

    def __init__(self) -> None:
        self.expected = 0
        self._received = 0
        self._refused: object = None
        self._reader = hiredis.Reader()
        self._waiting: asyncio.Future[None] | None = None

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (answer := self._reader.gets()) is not False:
            self._received += 1
            if isinstance(answer, Exception) or (isinstance(answer, list) and answer[0] != b"applied"):
                self._refused = answer
        if self._waiting is not None and self._received >= self.expected and not self._waiting.done():
            self._waiting.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._refused = error or ConnectionResetError("Redis closed the connection")
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def wait(self) -> None:
        """Return when everything that was sent is answered."""
        if self._received < self.expected and self._refused is None:
            self._waiting = asyncio.get_running_loop().create_future()
            await asyncio.wait_for(self._waiting, ANSWER_SECONDS)
        if self._refused is not None:
            raise RuntimeError(f"Redis did not apply a change: {self._refused!r}")
