"""
Writing changes from the gateway: each is told what became of it, and nothing is dropped in silence.

The publisher (gateway/publisher) says the same words to the same script, but must never hurt the job that uses it: it
keeps what Redis did not take and leaves out what was too much. Whoever asks over HTTP is told instead.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import NoScriptError, RedisError

from gateway.codec import decode_json
from gateway.errors import TooLarge, TooManyTags, Unavailable
from gateway.feeds import MAX_TAGS_PER_RUN
from gateway.metadata import computed, native
from gateway.store.pipe import Pipe
from gateway.store.redis_keys import metadata_key, run_key
from gateway.store.writing import ONCE_LENGTH, Answer, Applied, ChangeWriter, read_answer, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.changes import Change, Limits
    from gateway.feeds import EnvironmentId
    from gateway.metrics.round_trips import RoundTrips
    from gateway.store.redis_keys import Retention
    from gateway.store.writing import Command, Triple

#: Each conflict means that another writer got through; with so many of them in a row nobody would.
MAX_CONFLICTS: Final = 50
_JITTER_SECONDS: Final = 0.005
#: Places that one change may reach by paths and wildcards: some tens of milliseconds, in which nobody else is served.
MOST_PLACES: Final = 20_000


class RunWriter:
    """
    Applies changes, over one connection of its own.

    Every method raises Unavailable when Redis can't be reached or does not answer in time. The change may then have
    been applied; saying it again, with the same *once*, is safe.
    """

    def __init__(self, url: str, retention: Retention, limits: Limits) -> None:
        self._pipe = Pipe(url)
        self._retention = retention
        self._limits = limits

    def of(self, environment: EnvironmentId) -> ChangeWriter:
        """What packs the changes of *environment*."""
        return ChangeWriter(environment=environment, retention=self._retention, limits=self._limits)

    async def apply(self, environment: EnvironmentId, change: Change, *, once: str = "") -> Applied:
        """
        Apply *change*, and return what became of it: applied, unchanged, stale or missing.

        Args:
            once: A name of eight characters by which the run knows the change's metadata operations when they come
                again; random when not given.

        Raises:
            TooLarge, TooManyTags: When the run would hold more than it may. Nothing of the change was applied then.
            BadChange: When its operations reach more places than they may; nor then.
            Unavailable: See the class; also when others change the metadata all the time.
        """
        writer = self.of(environment)
        name = once or secrets.token_hex(ONCE_LENGTH // 2)
        for conflicts in range(MAX_CONFLICTS):
            if conflicts > 1:
                await asyncio.sleep(random.uniform(0, _JITTER_SECONDS))
            triples: list[Triple] | None = native(change.operations)
            version = None
            if triples is None:
                version, document = await self._read_metadata(environment, change.run)
                triples = computed(document, change.operations, most=MOST_PLACES)
            command = writer.by_digest(change, triples, version=version, once=name if triples else "")
            applied = read_answer(await self.ask(command, whole))
            if applied.outcome is not Answer.CONFLICT:
                return _checked(applied, writer.limits)
        raise Unavailable("others change this run's metadata all the time; come back in a moment")

    async def ask(self, command: Command, whole: Callable[[Command], Command] | None = None) -> Any:
        """
        The reply to a command; *whole* makes the one that a server needs which does not know its script.

        Raises:
            Unavailable: See the class; also for what Redis answers when it can't write (no memory, a replica).
        """
        try:
            return await self._pipe.ask(*command)
        except NoScriptError as error:
            if whole is None:
                raise Unavailable from error
        except RedisError as error:
            raise Unavailable("the change can't be written now; come back in a moment") from error
        try:
            return await self._pipe.ask(*whole(command))
        except RedisError as error:
            raise Unavailable("the change can't be written now; come back in a moment") from error

    @property
    def round_trips(self) -> RoundTrips:
        """How long writes took."""
        return self._pipe.round_trips

    async def close(self) -> None:
        """Let go of the connection. Closing twice is harmless."""
        await self._pipe.close()

    async def _read_metadata(self, environment: EnvironmentId, run: str) -> tuple[int, dict[str, Any]]:
        # The version first: should the document change in between, it is newer than its version, and the script
        # says so.
        version = await self.ask(("HGET", run_key(environment, run), "_version"))
        stored = await self.ask(("HGETALL", metadata_key(environment, run)))
        # A bare command is answered by a flat list, or, since RESP3, by a dictionary.
        pairs = stored.items() if isinstance(stored, dict) else zip(stored[::2], stored[1::2], strict=True)
        return int(version or 0), {key.decode(): decode_json(value) for key, value in pairs}


def _checked(applied: Applied, limits: Limits) -> Applied:
    if applied.outcome is Answer.TOO_LARGE:
        raise TooLarge("metadata", size=applied.sequence, limit=limits.metadata_bytes)
    if applied.outcome is Answer.TOO_MANY_TAGS:
        raise TooManyTags(limit=MAX_TAGS_PER_RUN)
    return applied
