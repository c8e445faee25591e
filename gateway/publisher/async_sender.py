"""Sends what is in the outbox, for one event loop: with a client, a turn per run, and a task for what waits."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from gateway.changes import Outcome
from gateway.publisher.async_hearing import AsyncHearing
from gateway.publisher.async_wire import AsyncWire
from gateway.publisher.cancelling import COLUMNS
from gateway.publisher.gathering import MOST_ROUNDS, Gathering, gathering_of
from gateway.publisher.mailing import COMMANDS_AT_ONCE, DEFERRED, DROPPED, TURNS, Mailing, Told, turn_of
from gateway.publisher.reading import read_document, read_on
from gateway.publisher.sending import REDIS_ERRORS, read_columns, renew, say

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractContextManager

    from gateway.changes import Change, Operation
    from gateway.publisher.cancelling import Wish
    from gateway.publisher.configuration import Address
    from gateway.publisher.leases import Held
    from gateway.publisher.places import Place
    from gateway.publisher.sending import Asking
    from gateway.publisher.unsent import Unsent
    from gateway.store.writing import ChangeWriter

#: What a loop that ends may be held up to send what waits.
LAST_WORDS_SECONDS: Final = 1.0


class AsyncSender(Mailing):
    """
    Says the changes of one loop to Redis; never raises because of Redis.

    Cancelling is safe: what was being said is kept, and sent by the task.
    """

    def __init__(self, address: Address, writer: ChangeWriter) -> None:
        super().__init__(address, writer)
        self._loop = asyncio.get_running_loop()
        self._wire: AsyncWire | None = None
        self._turns = [asyncio.Lock() for _ in range(TURNS)]
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._hearing: AsyncHearing | None = None
        self._closing = False

    async def say(self, change: Change, holder: object = None) -> Told:
        """As `Sender.say`."""
        gathering = gathering_of(self)
        if gathering is not None:
            self._put(change, holder, apart=True)
            return await self._gather(change.run, gathering)
        async with self._turns[turn_of(change.run)]:
            self._put(change, holder)
            return await self._send(change.run)

    async def operate(self, run: str, operation: Operation, attempt: int | None) -> Told:
        """Change metadata: at once if it is some time since the last, else soon, together with what follows."""
        outcome = self._outbox.operate(run, operation, attempt, time.monotonic())
        if outcome is Outcome.DEFERRED:
            self._wake(self._outbox.due(run))
        return await self._send_if_due(run, outcome)

    async def append(self, run: str, stream: str, chunks: list[bytes]) -> Told:
        """Write to a stream: at once if it is some time since the last, else soon, together with what follows."""
        return await self._send_if_due(run, self._write(run, stream, chunks))

    async def _send_if_due(self, run: str, outcome: Outcome | None) -> Told:
        """As `Sender._send_if_due`."""
        if outcome is not None:
            return DEFERRED if outcome is Outcome.DEFERRED else DROPPED
        gathering = gathering_of(self)
        if gathering is not None:
            return await self._gather(run, gathering)
        try:
            async with self._turns[turn_of(run)]:
                return await self._send(run)
        except BaseException:  # cancelled, while it waited for its turn
            self._wake()
            raise

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """As `Sender.together`, for this task and those that it starts in the block."""
        gathering = Gathering(self)
        try:
            with gathering:
                yield
        finally:
            await self._send_rest(gathering)

    async def _gather(self, run: str, gathering: Gathering) -> Told:
        """As `Sender._gather`."""
        self._postpone(run, gathering)
        if gathering.is_full(self._at_once) and not self._hand_over(gathering):
            await self._send_all(gathering.take())
        return DEFERRED

    async def _send_rest(self, gathering: Gathering) -> None:
        handed_over = gathering.handed_over
        await self._send_all(self._still_waiting(dict.fromkeys((*handed_over, *gathering.take()))))
        for run in handed_over:  # what the task is sending is done when we have its turn
            async with self._turns[turn_of(run)]:
                pass

    async def _send_all(self, runs: Sequence[str]) -> None:
        for _ in range(MOST_ROUNDS):  # each time what the runs say next
            if not runs:
                return
            async with self._turns_for(runs) as held:
                if not await self._send_together(held):
                    return  # what is kept goes when Redis is back
            runs = self._still_waiting(runs)

    async def read(self, run: str, names: Sequence[str]) -> list[Any] | None:
        """Some columns of a run, decoded; None when Redis does not answer, or is known not to."""
        values: list[Any] | None = await self._read(read_columns(run, names, self._writer))
        return values

    async def document(self, run: str) -> dict[str, Any] | None:
        """As `Sender.document`."""
        async with self._turns[turn_of(run)]:
            await self._send(run)
        document: dict[str, Any] | None = await self._read(read_document(run, self._writer))
        return document

    async def look(self, place: Place) -> bool:
        """As `Sender.look`."""
        return await self._read(read_on(place, self._lock, self._writer)) is not None

    async def _read(self, conversation: Asking) -> Any:
        if not self._may_read():
            return None
        try:
            return await self._drive(conversation)
        except REDIS_ERRORS as error:
            self._not_read(error)
            return None

    async def wish(self, run: str, *, anew: bool = False) -> Wish:
        """As `Sender.wish`."""
        return self._known_wish(run, anew=anew) or self._learn_wish(run, await self.read(run, COLUMNS))

    @property
    def lock(self) -> AbstractContextManager[object]:
        """As `Sender.lock`."""
        return self._lock

    def hearing(self) -> AsyncHearing:
        """As `Sender.hearing`, for who waits in this loop."""
        if self._hearing is None:
            self._hearing = AsyncHearing(self._address.url, self._writer.environment)
            self._hearing.closed = self._closing
        return self._hearing

    async def flush(self, timeout: float) -> bool:
        """Send everything that waits, for so many seconds at most and a Redis time-out. Returns whether it is done."""
        deadline = time.monotonic() + timeout
        while not await self._flush_once(deadline):
            pause = self._pause()
            if time.monotonic() + pause >= deadline:
                # What another task is sending does not wait any more, and is not sent yet.
                return not (self.statistics.unsent or any(turn.locked() for turn in self._turns))
            await asyncio.sleep(pause + 0.001)
        return True

    async def _flush_once(self, deadline: float) -> bool:
        insist = True  # the pause was meant to spare the job, which is over or asks for it
        while runs := self._some_unsent():
            async with self._turns_for(runs) as held:
                if not await self._send_together(held, insist=insist) or time.monotonic() > deadline:
                    return False
            insist = False
        for turn in self._turns:  # what another task is sending is done when we have its turn
            async with turn:
                pass
        return not self.statistics.unsent

    async def close(self, timeout: float) -> bool:
        """As `flush`, then let go of task and connections. Closing twice is harmless."""
        done = await self.flush(timeout)
        self._closing = True
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        if self._hearing is not None:
            await self._hearing.close()
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()
        return done

    async def _send(self, run: str, *, insist: bool = False) -> Told:
        """Everything the run has to say, in order. Needs its turn."""
        told = DEFERRED
        while (unsent := self._take(run, insist=insist)) is not None:
            told = await self._post(unsent)
            if told is DEFERRED or not self._outbox.waits(run):
                break
        return told

    async def _post(self, unsent: Unsent) -> Told:
        try:
            said = await self._drive(say(unsent, self._writer, time.monotonic()))
        except REDIS_ERRORS as error:
            return self._not_sent(unsent, error)
        except BaseException:  # cancelled, while Redis was asked: it goes back to what waits
            self._interrupted(unsent)
            raise
        return self._sent(unsent, said)

    async def _send_together(self, runs: Sequence[str], *, insist: bool = False) -> bool:
        """As `Sender._send_together`."""
        taken = self._take_some(runs, insist=insist)
        now = time.monotonic()
        try:
            results = await self._connected().hold_all([say(unsent, self._writer, now) for unsent in taken])
        except BaseException:  # as in `_post`
            for unsent in taken:
                self._interrupted(unsent)
            raise
        return self._settle(taken, results)

    @asynccontextmanager
    async def _turns_for(self, runs: Sequence[str]) -> AsyncIterator[list[str]]:
        """As `Sender._turns_for`."""
        turns = dict.fromkeys(turn_of(run) for run in runs)
        held: set[int] = set()
        try:
            for turn in turns:
                if not held or not self._turns[turn].locked():
                    await self._turns[turn].acquire()
                    held.add(turn)
            yield [run for run in runs if turn_of(run) in held]
        finally:
            for turn in held:
                self._turns[turn].release()

    async def _drive(self, conversation: Asking) -> Any:
        return await self._connected().hold(conversation)

    def _connected(self) -> AsyncWire:
        if self._wire is None:
            self._wire = AsyncWire(self._address.url)
        return self._wire

    def _move(self) -> None:
        self._wire = None
        hearing, self._hearing = self._hearing, None
        if hearing is not None:
            hearing.give_up()

    def _wake(self, due: float | None = None) -> None:
        if due is None:
            due = self._next_due()
        if due is None or self._closing:
            return
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._send_what_waits(), name="runcast publisher")
        elif due < self._wakes_at:
            self._news.set()

    async def _send_what_waits(self) -> None:
        """Lasts as long as something waits, or a lease is held."""
        try:
            while (due := self._next_due()) is not None:
                await self._sleep_until(due)
                await self._renew(self._leases_due())
                runs = self._outbox.due_runs(time.monotonic())
                while runs:
                    some, runs = runs[: self._at_once], runs[self._at_once :]
                    async with self._turns_for(some) as held:
                        if not await self._send_together(held):
                            break
        except asyncio.CancelledError:
            # The loop is about to end, and cancels whatever still runs; nobody will ask for a flush any more.
            if not self._closing:
                await self.flush(LAST_WORDS_SECONDS)
            raise

    async def _renew(self, leases: list[Held]) -> None:
        for start in range(0, len(leases), COMMANDS_AT_ONCE):
            some = leases[start : start + COMMANDS_AT_ONCE]
            results = await self._connected().hold_all([renew(held.renewal, self._writer) for held in some])
            if not self._settle_leases(some, results, leases[start:]):
                return

    async def _sleep_until(self, due: float) -> None:
        delay = due - time.monotonic()
        if delay <= 0:
            return
        self._wakes_at = due
        self._news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._news.wait()
        self._wakes_at = 0.0
