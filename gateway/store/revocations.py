"""Where it is kept which tokens were revoked, and which one-time tokens were used; and how gateways are told."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any, Protocol

from gateway.errors import TooManyRevocations
from gateway.revocations import MAX_REVOCATIONS, By, Revocation
from gateway.store.redis_keys import (
    revocation_channel,
    revocation_words_key,
    revocations_key,
    used_token_key,
)

if TYPE_CHECKING:
    from gateway.feeds import EnvironmentId

#: A mark of a used token outlives the token by this much: the clocks of gateways differ a little.
_AFTER_ITS_END_MS = 60_000


class Scripts(Protocol):
    """What this needs of the store: to run a script. Raises Unavailable when Redis can't be reached."""

    async def evaluate(self, name: str, keys: tuple[str, ...], arguments: tuple[str | int, ...]) -> Any: ...


class RevocationStore:
    """Every method raises Unavailable when Redis can't be reached; the same call may be made again."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def add(self, environment: EnvironmentId, revocation: Revocation) -> Revocation:
        """
        Keep *revocation*, and tell every gateway.

        Returns what holds now: when the same was revoked before, what covers more is kept.

        Raises:
            TooManyRevocations: When the environment has as many as are kept.
        """
        now = int(time.time() * 1000)
        answer = await self._scripts.evaluate(
            "revoke",
            _keys(environment),
            (
                revocation.key,
                revocation.before,
                revocation.said_at,
                revocation.until,
                now,
                MAX_REVOCATIONS,
                "PUBLISH",
                revocation_channel(environment),
            ),
        )
        if answer[0] == 0:
            raise TooManyRevocations(limit=MAX_REVOCATIONS)
        _, until, before = answer
        return Revocation(revocation.by, revocation.name, int(before), revocation.said_at, int(until))

    async def read(self, environment: EnvironmentId) -> list[Revocation]:
        """All that hold in *environment*."""
        words = await self._scripts.evaluate("revoked", _keys(environment), (int(time.time() * 1000),))
        return [parse_revocation(word) for word in words]

    async def use(self, environment: EnvironmentId, digest: str, *, ends: float) -> bool:
        """
        Use the one-time token with *digest* up, which is good until *ends* (unix seconds).

        Returns whether it was unused. When the answer of Redis is lost it may be used without anybody's having had
        it: rather twice refused than let in twice.
        """
        left = max(1, int((ends - time.time()) * 1000)) + _AFTER_ITS_END_MS
        this_use = secrets.token_hex(8)
        return bool(await self._scripts.evaluate("use_token", (used_token_key(environment, digest),), (this_use, left)))


def parse_revocation(word: bytes) -> Revocation:
    """
    What the scripts publish and return.

    Raises:
        ValueError: When it is something else.
    """
    until, before, said_at, key = word.decode().split(" ", 3)
    by, _, name = key.partition(":")
    return Revocation(By(by), name, int(before), int(said_at), int(until))


def _keys(environment: EnvironmentId) -> tuple[str, str]:
    return revocations_key(environment), revocation_words_key(environment)
