"""
Reads over one client. Those that are asked for together go out together, and who asks the same gets the same answer.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import NoScriptError, RedisError

from gateway.errors import Unavailable
from gateway.store import clients
from gateway.store.redis_keys import script

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from gateway.metrics.round_trips import RoundTrips

#: Reads that go out together. More would let one burst of large pages fill our memory.
_BATCH: Final = 64

#: A script with its keys and arguments.
_Question = tuple[str, tuple[str, ...], tuple[str | int, ...]]


@dataclass(frozen=True, slots=True)
class _Call:
    """A question that waits to go out with others."""

    question: _Question
    answer: asyncio.Future[Any]


class Questions:
    """
    What waits to be read, by scripts that only read.

    Args:
        round_trips: Times each as `read`.
    """

    def __init__(self, client: Redis, round_trips: RoundTrips) -> None:
        self._client = client
        self._round_trips = round_trips
        self._waiting: dict[_Question, _Call] = {}
        self._sender: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Whoever waits is told that reading has ended, and the client is closed. Closing twice is harmless."""
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
            for call in self._waiting.values():  # it may have been cancelled before it began
                _settle(call.answer, ConnectionAbortedError("reading has ended"))
        await self._client.aclose()

    async def ask(self, name: str, keys: tuple[str, ...], arguments: tuple[str | int, ...]) -> Any:
        """
        What the script *name* answers, as bytes, numbers and lists. Cancelling is safe.

        Raises:
            Unavailable: When Redis can't be reached, does not answer in time, or refuses.
        """
        # Who asks the same while the question has not gone out gets the same answer: thousands who come
        # back together ask it once.
        question = (name, keys, arguments)
        call = self._waiting.get(question)
        if call is None:
            call = self._waiting[question] = _Call(question, asyncio.get_running_loop().create_future())
        if self._sender is None:
            self._sender = asyncio.create_task(self._send(), name="store reads")
        return await asyncio.shield(call.answer)

    async def _send(self) -> None:
        """Send what waits, as much as fits together at a time, until nothing does."""
        calls: list[_Call] = []
        try:
            while self._waiting:
                calls = [self._waiting.pop(question) for question in list(itertools.islice(self._waiting, _BATCH))]
                for call, result in zip(calls, await self._send_together(calls), strict=True):
                    _settle(call.answer, result)
        finally:
            # Whatever ended this, nobody waits for ever.
            unanswered, self._waiting, self._sender = [*calls, *self._waiting.values()], {}, None
            for call in unanswered:
                _settle(call.answer, ConnectionAbortedError("reading has ended"))

    async def _send_together(self, calls: list[_Call]) -> list[Any]:
        try:
            with self._round_trips.timing("read"):
                async with asyncio.timeout(clients.TIMEOUT_SECONDS):
                    results = await self._pipelined(calls)
            async with asyncio.timeout(clients.TIMEOUT_SECONDS):
                if any(isinstance(result, NoScriptError) for result in results):
                    # A server that was restarted or promoted knows no scripts. All of them only read, so
                    # asking everything again is right.
                    for name in {call.question[0] for call in calls}:
                        await self._client.script_load(script(name).text)
                    results = await self._pipelined(calls)
        except (RedisError, OSError) as error:
            return [error] * len(calls)
        return results

    async def _pipelined(self, calls: list[_Call]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for name, keys, arguments in (call.question for call in calls):
                pipeline.evalsha(script(name).sha1, len(keys), *keys, *arguments)
            results: list[Any] = await pipeline.execute(raise_on_error=False)
            return results


def _settle(answer: asyncio.Future[Any], result: Any) -> None:
    if answer.done():
        return
    if isinstance(result, Exception):
        unavailable = Unavailable()
        unavailable.__cause__ = result
        answer.set_exception(unavailable)
        answer.exception()  # whoever asked may have gone, and an error that nobody takes would be logged
    else:
        answer.set_result(result)
