"""Connections of the gateway to Redis, for calls that are answered; what it hears comes by subscription.py."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gateway.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: How long a call, or making a connection, may take.
TIMEOUT_SECONDS: Final = 5.0


def make_client(url: str, *, connections: int) -> Redis:
    """A client with *connections* at the most. It has no time-out for a call: whoever makes one sets it."""
    pool = BlockingConnectionPool.from_url(  # when more ask at once, they wait
        url,
        max_connections=connections,
        # With a time-out of its own redis-py sends inside of `asyncio.wait_for`, which up to Python 3.11 can swallow
        # a cancellation; so we time whole calls instead.
        socket_timeout=None,
        socket_connect_timeout=TIMEOUT_SECONDS,
        client_name="runcast-gateway",
        # Once more, at once: a connection that lay idle may have been cut. What is written twice by that is known again
        # (writing.py: once). More hidden repeats would only make time-outs longer; whoever asks decides.
        retry=Retry(NoBackoff(), 1),
        timeout=TIMEOUT_SECONDS,
    )
    return Redis.from_pool(pool)


@contextlib.asynccontextmanager
async def in_time() -> AsyncIterator[None]:
    """
    A call to Redis, which has its time.

    Raises:
        Unavailable: When Redis can't be reached, says that it can't, or does not answer in time.
    """
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            yield
    except (RedisError, OSError) as error:
        raise Unavailable from error
