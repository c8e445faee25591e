"""
Commands over one connection. Those that are asked for together go out together; each has its own answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError

from gateway.errors import Unavailable
from gateway.metrics.round_trips import RoundTrips
from gateway.store import clients
from gateway.store.clients import make_client
from gateway.store.joining import joined, spread

if TYPE_CHECKING:
    from gateway.store.writing import Command

#: Commands that go out together, and the bytes at which no more are added. More would make the first ones late.
_BATCH: Final = 64
_BATCH_BYTES: Final = 4 * 1024 * 1024
#: What may wait at a time. Whoever comes when it is full is told to come back, which is better than not to be told.
MOST_WAITING: Final = 4_096
MOST_WAITING_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Call:
    command: Command
    size: int
    answer: asyncio.Future[Any]


class Pipe:
    """
    One connection to Redis for writes.

    Commands are sent in the order in which they are asked for. `ask` raises Unavailable when Redis can't be reached,
    does not answer in time, or too much waits already. The command may then have been carried out all the same.
    """

    def __init__(self, url: str) -> None:
        self._client = make_client(url, connections=1)
        self._waiting: deque[_Call] = deque()
        self._waiting_bytes = 0
        self._sender: asyncio.Task[None] | None = None
        self.round_trips = RoundTrips("write")

    async def ask(self, *command: str | bytes | int) -> Any:
        """
        The reply to *command*, as bytes, numbers and lists.

        Cancelling is safe; a command that waits is then not sent.

        Raises:
            Unavailable: See the class.
            RedisError: What Redis answered instead: NOSCRIPT, say.
        """
        size = sum(len(part) for part in command if isinstance(part, (str, bytes)))
        if len(self._waiting) >= MOST_WAITING or self._waiting_bytes + size > MOST_WAITING_BYTES:
            raise Unavailable("too many writes are waiting; come back in a moment")
        call = _Call(command, size, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        self._waiting_bytes += size
        if self._sender is None:
            self._sender = asyncio.create_task(self._send(), name="store writes")
        return await call.answer

    async def close(self) -> None:
        """What waits is refused. Closing twice is harmless."""
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
            self._refuse([])
        await self._client.aclose()

    async def _send(self) -> None:
        """Send what waits, as much as fits together at a time, until nothing does."""
        calls: list[_Call] = []
        try:
            while self._waiting:
                calls = self._take()
                if calls:
                    for call, reply in zip(calls, await self._send_together(calls), strict=True):
                        _settle(call.answer, reply)
        finally:
            self._refuse(calls)
            self._sender = None

    def _take(self) -> list[_Call]:
        calls: list[_Call] = []
        size = 0
        while self._waiting and len(calls) < _BATCH and size < _BATCH_BYTES:
            call = self._waiting.popleft()
            self._waiting_bytes -= call.size
            if not call.answer.done():  # whoever asked may have gone
                calls.append(call)
                size += call.size
        return calls

    async def _send_together(self, calls: list[_Call]) -> list[Any]:
        try:
            with self.round_trips.timing("write"):
                async with (
                    asyncio.timeout(clients.TIMEOUT_SECONDS),
                    self._client.pipeline(transaction=False) as pipeline,
                ):
                    sent = joined(call.command for call in calls)
                    for command, _ in sent:
                        pipeline.execute_command(*command)
                    replies: list[Any] = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            return [_unavailable(error) for _ in calls]
        return spread(sent, replies)

    def _refuse(self, calls: list[_Call]) -> None:
        """Whatever ended the sending, nobody waits for ever."""
        unanswered = [*calls, *self._waiting]
        self._waiting.clear()
        self._waiting_bytes = 0
        for call in unanswered:
            _settle(call.answer, _unavailable(ConnectionAbortedError("writing has ended")))


def _unavailable(cause: BaseException) -> Unavailable:
    error = Unavailable("the change can't be written now; come back in a moment")
    error.__cause__ = cause
    return error


def _settle(answer: asyncio.Future[Any], reply: Any) -> None:
    if answer.done():
        return
    if isinstance(reply, Exception):
        answer.set_exception(reply)
        answer.exception()  # whoever asked may have gone, and an error that nobody takes would be logged
    else:
        answer.set_result(reply)
