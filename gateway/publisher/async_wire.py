"""
The way to Redis for one event loop. As `wire`: what tasks ask at the same moment shares one write and one read.

Here a task of its own carries them, which lasts as long as somebody asks: so cancelling one who asks is nobody
else's trouble.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.publisher.conversing import Conversations
from gateway.publisher.mailing import (
    BYTES_AT_ONCE,
    COMMANDS_AT_ONCE,
    CONNECTIONS,
    PATIENCE_SECONDS,
    TIMEOUT_SECONDS,
)
from gateway.publisher.sending import REDIS_ERRORS, Pause
from gateway.publisher.wire import size_of
from gateway.store.joining import joined, spread
from gateway.store.packing import packed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.publisher.sending import Asking
    from gateway.store.writing import Command


class _Call:
    __slots__ = ("commands", "replies", "size")

    def __init__(self, commands: Sequence[Command]) -> None:
        self.commands = commands
        self.size = size_of(commands)
        self.replies: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()


class AsyncWire:
    """A few lines to one Redis, for the tasks of one loop."""

    def __init__(self, url: str) -> None:
        # No `socket_timeout`: with one, redis-py sends inside of `asyncio.wait_for`, which up to Python 3.11
        # swallows a cancellation that comes at the wrong moment. Our own time-out is around the whole exchange.
        self._client: Any = redis.asyncio.Redis.from_url(
            url, socket_timeout=None, socket_connect_timeout=TIMEOUT_SECONDS, retry=Retry(NoBackoff(), 0)
        )
        pool: Any = self._client.connection_pool
        self._free = [_Line(pool.make_connection()) for _ in range(CONNECTIONS)]
        self._lines = tuple(self._free)
        self._queue: deque[_Call] = deque()
        self._carriers: set[asyncio.Task[None]] = set()
        #: Of the one that has not begun, and will take what is in the queue.
        self._starting: tuple[asyncio.Task[None], _Line] | None = None

    async def hold(self, conversation: Asking) -> Any:
        """As `Wire.hold`."""
        try:
            command = next(conversation)
            while True:
                if isinstance(command, Pause):
                    await asyncio.sleep(command.seconds)
                    command = conversation.send(None)
                    continue
                try:
                    (reply,) = await self.exchange((command,))
                except REDIS_ERRORS as error:
                    reply = error
                command = conversation.throw(reply) if isinstance(reply, REDIS_ERRORS) else conversation.send(reply)
        except StopIteration as end:
            return end.value

    async def hold_all(self, conversations: Sequence[Asking]) -> list[Any]:
        """As `Wire.hold_all`."""
        together = Conversations(conversations)
        while together.asking:
            if together.pause:
                await asyncio.sleep(together.pause)
            try:
                replies = await self.exchange(together.asking)
            except REDIS_ERRORS as error:
                replies = [error] * len(together.asking)
            together.answer(replies)
        return together.results

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """
        As `Wire.exchange`. Cancelling is safe.

        Raises:
            REDIS_ERRORS: When there was no answer in time. Any of them may have been carried out.
        """
        call = _Call(commands)
        self._queue.append(call)
        self._carry()
        return await call.replies

    async def close(self) -> None:
        """Let go of the connections."""
        for carrier in list(self._carriers):
            carrier.cancel()
            with suppress(asyncio.CancelledError):
                await carrier
        for line in self._lines:
            await line.close()
        with suppress(*REDIS_ERRORS):
            await self._client.aclose()

    def _carry(self) -> None:
        while self._queue and self._queue[0].replies.done():  # whoever asked may have gone
            self._queue.popleft()
        if self._free and self._queue and self._starting is None:
            line = self._free.pop()
            carrier = asyncio.get_running_loop().create_task(self._carry_on(line), name="runcast wire")
            self._starting = (carrier, line)
            self._carriers.add(carrier)
            carrier.add_done_callback(self._carried)

    async def _carry_on(self, line: _Line) -> None:
        group: list[_Call] = []
        self._starting = None
        try:
            while group := self._gather():
                self._carry()  # what does not go with these may go on another line
                await self._exchange(line, group)
        finally:
            for call in group:  # the loop ends, and with it who asked
                _refuse(call, ConnectionAbortedError("the event loop ends"))
            self._free.append(line)  # now, so that who asks next has the same
            self._carry()

    def _carried(self, carrier: asyncio.Task[None]) -> None:
        self._carriers.discard(carrier)
        if self._starting is not None and self._starting[0] is carrier:
            # It was cancelled before it began: nothing of it ran.
            self._free.append(self._starting[1])
            self._starting = None
            self._carry()

    def _gather(self) -> list[_Call]:
        group: list[_Call] = []
        count = size = 0
        while self._queue:
            call = self._queue[0]
            count, size = count + len(call.commands), size + call.size
            if group and (count > COMMANDS_AT_ONCE or size > BYTES_AT_ONCE):
                break
            self._queue.popleft()
            if not call.replies.done():
                group.append(call)
        return group

    async def _exchange(self, line: _Line, group: list[_Call]) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS) as limit:
                await line.exchange(group, limit)
        except REDIS_ERRORS as error:  # as is a TimeoutError of Python's
            if isinstance(error, (redis.TimeoutError, TimeoutError)) or not line.has_worked:
                group += self._queue  # whoever waits would only wait as long to see the same
                self._queue.clear()
            else:
                for other in self._free:  # it was cut, and so may be those that lie idle
                    other.has_worked = False
            await line.close()
            for call in group:
                _refuse(call, error)
        except BaseException:
            await line.close()
            raise


class _Line:
    """As `wire._Line`."""

    __slots__ = ("_connection", "has_worked")

    def __init__(self, connection: Any) -> None:
        self._connection = connection  # of redis-py, which has no types for it
        #: Whether it was open when it was used last, as far as anyone knows.
        self.has_worked = False

    async def exchange(self, group: Sequence[_Call], limit: asyncio.Timeout) -> None:
        connection = self._connection
        if not self.has_worked:
            await connection.disconnect(nowait=True)
            await connection.connect()
            self.has_worked = True
        sent = joined([command for call in group for command in call.commands])
        await connection.send_packed_command([b"".join([packed(command) for command, _ in sent])])
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_SECONDS
        raw: list[Any] = []
        for _ in sent:
            limit.reschedule(min(loop.time() + TIMEOUT_SECONDS, deadline))
            raw.append(await _read(connection))
        replies = spread(sent, raw)
        place = 0
        for call in group:
            if not call.replies.done():
                call.replies.set_result(replies[place : place + len(call.commands)])
            place += len(call.commands)

    async def close(self) -> None:
        self.has_worked = False
        with suppress(*REDIS_ERRORS):
            await self._connection.disconnect(nowait=True)


async def _read(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except redis.ResponseError as error:
        return error


def _refuse(call: _Call, error: BaseException) -> None:
    if not call.replies.done():
        call.replies.set_exception(type(error)(*error.args))
        call.replies.exception()  # whoever asked may have gone, and an error that nobody takes would be logged
