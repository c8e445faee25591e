"""The publisher of a measurement: changes at a fixed rate, whatever becomes of them (an open loop)."""

from __future__ import annotations

import array
import asyncio
import re
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import hiredis

from benchmarks.commands import Packed, stamped
from benchmarks.marks import PLACEHOLDER, mark
from benchmarks.targets import Source, load_script

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from benchmarks.targets import Target

#: Longer than a server needs to answer what is under way, unless it hangs.
ANSWER_SECONDS: Final = 60.0
#: What is due within this time leaves together: at high rates to wake up for each would cost more than sending it.
TURN_SECONDS: Final = 0.001
#: A publisher stops when so many seconds of its changes are unanswered, or at low rates so many changes.
BEHIND_SECONDS: Final = 1.0
LEAST_BEHIND: Final = 1_000
#: What an answer may take without being late.
GRACE_NS: Final = 50_000_000
#: How the scripts that store a change or a chunk answer.
_TAKEN: Final = (b"applied", b"appended")
_STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3}) ")
STATUS_BYTES: Final = len(b"HTTP/1.1 200 ")
#: Changes that are sent at once when all runs change, before the answers are waited for.
MANY: Final = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """What was sent in one go. Times are CLOCK_MONOTONIC in nanoseconds."""

    changes: int
    began_at: int
    ended_at: int
    #: When the last one was answered.
    answered_at: int
    #: By feed, the number of the last change of each of its runs, by their places.
    truth: Mapping[str, Mapping[int, int]]
    #: The number of the first change, and when each one was sent, when that was asked for.
    first: int
    sent_at: Sequence[int]

    @property
    def rate(self) -> float:
        """Changes a second, as they were answered: to be far ahead of those who take them is no rate."""
        # The last one takes its share of the time, and then an answer's way.
        took = max(self.ended_at - self.began_at, self.answered_at - self.began_at - GRACE_NS, 1)
        return (self.changes - 1) / took * 1e9 if self.changes > 1 else 0.0


class Offerer:
    """
    Sends changes over one connection, without waiting for answers. Lives in a process of its own (`processes.Remote`).

    What is sent is made once for each run; only its marks are new each time. Numbers the changes of all runs with one
    count.
    """

    def __init__(self) -> None:
        self._count = 0
        self._answers: _Answers | None = None

    async def aim(self, target: Target, port: int, runs: Sequence[tuple[str, Sequence[str]]]) -> Mapping[str, int]:
        """
        Create *runs*, each in the feeds that it comes with, to change them from now on.

        Args:
            port: Of Redis, or of the server for targets with Source.HTTP.

        Returns:
            The number of the newest change of each feed.
        """
        await self.rest()
        self._answers = _HttpAnswers() if target.source is Source.HTTP else _RedisAnswers()
        await asyncio.get_running_loop().create_connection(partial(_itself, self._answers), "127.0.0.1", port)
        if target.source is Source.CHANGES:
            await self._answers.ask([load_script()], 1)
        self._packed = [Packed(target.offer(run, feeds, PLACEHOLDER)) for run, feeds in runs]
        self._numbers = [0] * len(runs)
        self._members: dict[str, list[int]] = {}
        for place, (_, feeds) in enumerate(runs):
            for feed in feeds:
                self._members.setdefault(feed, []).append(place)
        creations = [Packed(target.creation(run, feeds, PLACEHOLDER)) for run, feeds in runs]
        await self._change(creations, range(len(runs)))
        return self._newest()

    async def touch(self, feeds: Collection[str]) -> Mapping[str, int]:
        """Change one run of each of *feeds*; return the number of the newest change of each feed."""
        places = sorted({self._members[feed][-1] for feed in feeds})
        await self._change(self._packed, places)
        return self._newest()

    async def offer(self, rate: float, seconds: float, *, log: bool = False, between: Sequence[bytes] = ()) -> Offered:
        """
        Change one run after the other, *rate* a second, for *seconds*, evenly; return when every change is answered.

        It ends sooner when those who take the changes are a second behind: this is more than they can take.

        Args:
            log: Also say when each change was sent.
            between: Commands that are sent besides, spread over the time; each is answered once.
        """
        answers = self._reached()
        changes, sent, others = max(1, int(rate * seconds)), 0, 0
        most_unanswered = max(LEAST_BEHIND, rate * BEHIND_SECONDS) * max(packed.answers for packed in self._packed)
        first, sent_at = self._count + 1, array.array("q")
        began_at = ended_at = time.monotonic_ns()
        while sent < changes and answers.unanswered <= most_unanswered:
            now = time.monotonic_ns()
            due = min(changes, int((now - began_at) / 1e9 * rate) + 1)
            if due > sent:
                ended_at = now
                changed = [place % len(self._packed) for place in range(sent, due)]
                commands = stamped([self._next(self._packed, place, now) for place in changed])
                if log:
                    sent_at.extend([now] * (due - sent))
                due_others = len(between) * due // changes
                commands += between[others:due_others]
                expected = sum(self._packed[place].answers for place in changed)
                answers.send(commands, expected + due_others - others)
                sent, others = due, due_others
            await asyncio.sleep(max(TURN_SECONDS, began_at / 1e9 + sent / rate - time.monotonic()))
        answers.send(between[others:], len(between) - others)
        await answers.wait()
        truth = {feed: {place: self._numbers[place] for place in places} for feed, places in self._members.items()}
        return Offered(
            changes=sent,
            began_at=began_at,
            ended_at=ended_at,
            answered_at=time.monotonic_ns(),
            truth=truth,
            first=first,
            sent_at=sent_at,
        )

    async def rest(self) -> None:
        """Let go of what changes are sent to."""
        if self._answers is not None:
            self._answers.close()
            self._answers = None

    def _reached(self) -> _Answers:
        if self._answers is None:
            raise RuntimeError("nothing was aimed at")
        return self._answers

    def _next(self, packed: Sequence[Packed], place: int, now: int) -> tuple[Packed, bytes]:
        """The next change of a run, and its mark."""
        self._count += 1
        self._numbers[place] = self._count
        return packed[place], mark(place, self._count, now)

    async def _change(self, packed: Sequence[Packed], places: Sequence[int]) -> None:
        answers = self._reached()
        for begin in range(0, len(places), MANY):
            some = places[begin : begin + MANY]
            commands = stamped([self._next(packed, place, time.monotonic_ns()) for place in some])
            await answers.ask(commands, sum(packed[place].answers for place in some))

    def _newest(self) -> dict[str, int]:
        return {feed: max(self._numbers[place] for place in places) for feed, places in self._members.items()}


def _itself(answers: _Answers) -> _Answers:
    return answers


class _Answers(asyncio.Protocol, ABC):
    """A connection on which each command is answered once, and which knows whether one was refused."""

    def __init__(self) -> None:
        self._expected = self._received = 0
        self._refused: object = None
        self._closing = False
        self._waiting: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so

    @property
    def unanswered(self) -> int:
        return self._expected - self._received

    def send(self, commands: Sequence[bytes], answers: int) -> None:
        """Send *commands*, which are answered so many times."""
        self._expected += answers
        self._transport.write(b"".join(commands))

    async def ask(self, commands: Sequence[bytes], answers: int) -> None:
        self.send(commands, answers)
        await self.wait()

    async def wait(self) -> None:
        """
        Return when everything that was sent is answered.

        Raises:
            RuntimeError: When something was refused.
        """
        if self._received < self._expected and self._refused is None:
            self._waiting = asyncio.get_running_loop().create_future()
            await asyncio.wait_for(self._waiting, ANSWER_SECONDS)
        if self._refused is not None:
            raise RuntimeError(f"a change was not taken: {self._refused!r}")

    def close(self) -> None:
        self._closing = True
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received += self._count(data)
        if self._received >= self._expected or self._refused is not None:
            self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._closing:
            self._refused = error or ConnectionResetError("the connection was closed")
            self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    @abstractmethod
    def _count(self, data: bytes) -> int:
        """How many answers are whole with these bytes."""


class _RedisAnswers(_Answers):
    """Numbers, and what the scripts answer."""

    def __init__(self) -> None:
        super().__init__()
        self._reader = hiredis.Reader()

    def _count(self, data: bytes) -> int:
        gets, count = self._reader.gets, 0
        self._reader.feed(data)
        while (reply := gets()) is not False:
            # A call that brought several changes is answered by a list with an answer for each.
            several = isinstance(reply, list) and isinstance(reply[0], list)
            count += len(reply) if several else 1
            for answer in reply if several else (reply,):
                if isinstance(answer, Exception) or (isinstance(answer, list) and answer[0] not in _TAKEN):
                    self._refused = answer
        return count


class _HttpAnswers(_Answers):
    """Responses: a status line each."""

    def __init__(self) -> None:
        super().__init__()
        self._rest = b""

    def _count(self, data: bytes) -> int:
        data = self._rest + data
        found = _STATUS.findall(data)
        self._refused = next((status for status in found if not status.startswith(b"2")), self._refused)
        # A status line that was cut in two is whole next time; one that was counted is not seen again.
        self._rest = data[max(data.rfind(b"\n") + 1, len(data) - STATUS_BYTES + 1) :]
        return len(found)
