"""
How much one environment, and one token, may take of a gateway, so that the others don't feel it. No I/O.

Whoever is over a limit is refused at once and cheaply, and told when to come back. Counted in each process for itself.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, TypeVar

from gateway.errors import TooManyChanges, TooManyConnections, TooManyRequests

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

Key = TypeVar("Key", bound="Hashable")

#: Tokens whose rate is kept. Those that have not asked for long are forgotten first.
_TOKENS: Final = 10_000
#: Viewers who find no place come back spread over this time.
_COME_BACK_SECONDS: Final = (2.0, 10.0)
#: Of an environment whose changes come too fast: a tenth of a core, about.
_CATCH_UPS_PER_SECOND: Final = 500


class Bucket:
    """
    A token bucket: so many things a second, and up to a second's worth (at least one) at once.

    Args:
        rate: Per second.
        burst: How many at once, when that is not a second's worth.
    """

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate: float, now: float, burst: float | None = None) -> None:
        self._rate = rate
        self._burst = max(1.0, rate if burst is None else burst)
        self._left = self._burst
        self._at = now

    def take(self, now: float, count: float = 1) -> float:
        """
        Take *count*, and return 0; or take nothing, and return how many seconds it is until there are so many.

        More than a burst is taken when the bucket is full, and owed.
        """
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        wanted = min(count, self._burst)
        if self._left >= wanted:
            self._left -= count
            return 0.0
        return (wanted - self._left) / self._rate

    def is_full(self, now: float) -> bool:
        """Whether it is as good as new."""
        return self._left + (now - self._at) * self._rate >= self._burst


class Quotas:
    """
    What each environment and each token has taken, in one process.

    A secret key is not a token: only its environment's limits hold for it.

    Args:
        hits: Where a refusal is counted, by (limit, environment).
    """

    def __init__(
        self,
        *,
        connections_per_environment: int,
        connections_per_token: int,
        requests_per_second: float,
        token_requests_per_second: float,
        changes_per_second: float,
        hits: Counter[tuple[str, str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most_connections = connections_per_environment
        self._most_of_token = connections_per_token
        self._request_rate, self._token_rate = requests_per_second, token_requests_per_second
        self._change_rate = changes_per_second
        self._hits = hits
        self._clock = clock
        self._connections: Counter[str] = Counter()
        self._of_tokens: Counter[Hashable] = Counter()
        self._requests: dict[str, Bucket] = {}
        self._token_requests: dict[Hashable, Bucket] = {}
        self._changes: dict[str, Bucket] = {}

    def has_place(self, environment: str, token: Hashable | None) -> bool:
        """Whether `check_connection` would find one. Nothing is counted: who is refused is refused by that."""
        return self._connections[environment] < self._most_connections and (
            token is None or self._of_tokens[token] < self._most_of_token
        )

    def check_connection(self, environment: str, token: Hashable | None) -> None:
        """
        Whether there is a place for one more connection.

        Raises:
            TooManyConnections: Naming the limit, and when to come back.
        """
        if self._connections[environment] >= self._most_connections:
            raise self._full(environment, "connections_per_environment", self._most_connections)
        if token is not None and self._of_tokens[token] >= self._most_of_token:
            raise self._full(environment, "connections_per_token", self._most_of_token)

    def _full(self, environment: str, limit: str, most: int) -> TooManyConnections:
        self._hits[limit, environment] += 1
        whose = "this environment" if limit == "connections_per_environment" else "this token"
        return TooManyConnections(whose=whose, limit=most, retry_after_seconds=random.uniform(*_COME_BACK_SECONDS))

    def connect(self, environment: str, token: Hashable | None) -> None:
        """A connection takes its place; it was checked, or has one already under another token."""
        self._connections[environment] += 1
        if token is not None:
            self._of_tokens[token] += 1

    def disconnect(self, environment: str, token: Hashable | None) -> None:
        """It gives the place back that it took with the same words."""
        _release(self._connections, environment)
        if token is not None:
            _release(self._of_tokens, token)

    def check_request(self, environment: str, token: Hashable | None) -> None:
        """
        Count one plain request.

        Raises:
            TooManyRequests: When they come faster than they may; with the time until the next one is answered.
        """
        now = self._clock()
        wait = self._bucket(self._requests, environment, self._request_rate, now).take(now)
        if wait:
            self._hits["requests_per_second", environment] += 1
            raise TooManyRequests(whose="this environment", limit=self._request_rate, retry_after_seconds=wait)
        if token is None:
            return
        wait = self._bucket(self._token_requests, token, self._token_rate, now).take(now)
        if wait:
            self._hits["token_requests_per_second", environment] += 1
            raise TooManyRequests(whose="this token", limit=self._token_rate, retry_after_seconds=wait)

    def check_changes(self, environment: str, count: int = 1) -> None:
        """
        Count changes, or chunks of streams, that come over HTTP.

        Raises:
            TooManyChanges: As `check_request`.
        """
        now = self._clock()
        wait = self._bucket(self._changes, environment, self._change_rate, now).take(now, count)
        if wait:
            self._hits["changes_per_second", environment] += 1
            raise TooManyChanges(limit=self._change_rate, retry_after_seconds=wait)

    def hearing(self, environment: str) -> Hearing:
        """What the gateway hears of an environment's changes, whoever published them."""
        return Hearing(self._change_rate, environment, self._hits)

    def _bucket(self, buckets: dict[Key, Bucket], key: Key, rate: float, now: float) -> Bucket:
        bucket = buckets.get(key)
        if bucket is None:
            if len(buckets) >= _TOKENS:
                _forget(buckets, now)
            bucket = buckets[key] = Bucket(rate, now)
        return bucket


class Hearing:
    """
    Whether an environment's changes come faster than they may: then its viewers are not told each of them, but catch up
    every now and then (feed/catching_up.py). They lose intermediate progress, never a status; others lose nothing.
    """

    __slots__ = ("_environment", "_hits", "_left", "_next_turn", "_over", "_rate", "_since")

    def __init__(self, rate: float, environment: str, hits: Counter[tuple[str, str]]) -> None:
        self._rate = max(1.0, rate)
        self._environment = environment
        self._hits = hits
        #: What may come still in the second that began at `_since`.
        self._left = 0.0
        self._since = -1.0
        self._over = False
        self._next_turn = 0.0

    def hear(self) -> bool:
        """Count one change, and return whether it may be told."""
        if self._left >= 1:
            self._left -= 1
            return True
        now = time.monotonic()
        if now - self._since >= 1:
            self._since, self._left, self._over = now, self._rate - 1, False
            return True
        if not self._over:
            self._over = True
            self._hits["changes_per_second", self._environment] += 1
        return False

    def turn(self) -> float:
        """Seconds until viewers of one more feed may catch up; 0 when changes don't come too fast."""
        now = time.monotonic()
        if now - self._since >= 2 or not (self._over or now < self._next_turn):
            return 0.0
        begins = self._since + 1 if self._over else now
        turn = max(begins, self._next_turn)
        self._next_turn = turn + 1 / _CATCH_UPS_PER_SECOND
        return max(0.0, turn - now)


def _release(counts: Counter[Any], key: Hashable) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]


def _forget(buckets: dict[Key, Bucket], now: float) -> None:
    """Make room: those that are full again say nothing."""
    for key in [key for key, bucket in buckets.items() if bucket.is_full(now)]:
        del buckets[key]
    if len(buckets) >= _TOKENS:
        buckets.clear()  # thousands at once: each gets a second's worth anew
