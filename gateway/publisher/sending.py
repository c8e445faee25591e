"""
What is asked of Redis to get one change in, and what the answers mean. No client: the shells, one with `await` and one
without, hand each command that comes out to theirs and the reply, or the error, back in.
"""

from __future__ import annotations

import logging
import random
import secrets
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from gateway.changes import Change, Outcome
from gateway.codec import decode_json
from gateway.metadata import computed, native
from gateway.publisher.unsent import says_something
from gateway.store.appending import Append, Appended, AppendOutcome, append_command, read_append, whole_append
from gateway.store.redis_keys import metadata_key, run_key
from gateway.store.writing import Answer, Applied, read_answer, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from gateway.changes import Operation
    from gateway.publisher.chunks import Batch
    from gateway.publisher.unsent import Unsent
    from gateway.store.writing import ChangeWriter, Command, Triple

log: Final = logging.getLogger("runcast.publisher")

#: What a client may raise because of Redis or the way to it.
REDIS_ERRORS: Final = (RedisError, OSError)
#: Each conflict means that another writer got through; with so many of them in a row nobody would.
MAX_CONFLICTS: Final = 50
_JITTER_SECONDS: Final = 0.005
#: What one append may hold up in Redis.
CHUNKS_AT_ONCE: Final = 500

# Errors that say how the server is, not what is wrong with the change: those that the client has a class for, and the
# others by their code. Up to Redis 6 the code comes inside the text of the script's own error.
_SERVER_ERRORS: Final = (
    *(OutOfMemoryError, ReadOnlyError, MasterDownError, NoPermissionError),
    *(ClusterDownError, TryAgainError, AuthenticationError),
)
_SERVER_STATES: Final = (
    *("OOM ", "READONLY ", "MISCONF ", "NOREPLICAS ", "LOADING ", "MASTERDOWN ", "BUSY ", "CLUSTERDOWN "),
    *("TRYAGAIN ", "NOPERM ", "NOAUTH ", "WRONGPASS ", "max number of clients"),
)


@dataclass(frozen=True, slots=True)
class Pause:
    """Instead of a command: wait for so long, then go on."""

    seconds: float


if TYPE_CHECKING:
    Asking = Generator[Command | Pause, Any, Any]


@dataclass(frozen=True, slots=True)
class Loss:
    """What a run said and Redis did not take."""

    reason: str
    count: int
    detail: str


def warn_when_late(run: str, started: Outcome) -> None:
    """Tell the log why nobody will see what the job says: it began again under the id of a run that is over."""
    if started is Outcome.STALE:
        log.warning("run %s has ended, or has a later attempt: a run of its own needs another id, or none", run)


@dataclass(frozen=True, slots=True)
class Said:
    """What became of what a run had to say."""

    #: None when there was nothing but chunks.
    applied: Applied | None
    losses: tuple[Loss, ...] = ()
    #: Streams of which Redis lost what was written: their writer goes on under another name.
    renamed: tuple[str, ...] = ()


def say(unsent: Unsent, writer: ChangeWriter, now: float) -> Generator[Command | Pause, Any, Said]:
    """
    Send what a run has to say as one change. What the store refuses is left out, so that the rest arrives.

    Raises:
        REDIS_ERRORS: What the client raised. The change may have been applied; sending it again is safe.
    """
    change, operations = unsent.stamped(now), list(unsent.operations)
    losses: list[Loss] = []
    if not unsent.batches:  # as nearly always
        return Said((yield from _say_change(unsent, writer, change, operations, losses)), tuple(losses))
    named = [batch.writer for batch in unsent.batches]
    missing = yield from _append(unsent.batches, change.run, writer, losses)
    if not _is_empty(change, operations):
        applied = yield from _say_change(unsent, writer, change, operations, losses)
    else:
        applied = None
    if missing and change.create:
        missing = yield from _append(unsent.batches, change.run, writer, losses)  # now there is such a run
    if missing:
        losses.append(Loss("missing", sum(len(batch.chunks) for batch in unsent.batches), "there is no such run"))
    renamed = [batch.stream for batch, name in zip(unsent.batches, named, strict=True) if batch.writer != name]
    return Said(applied, tuple(losses), tuple(renamed))


def _say_change(
    unsent: Unsent, writer: ChangeWriter, change: Change, operations: Sequence[Operation], losses: list[Loss]
) -> Generator[Command | Pause, Any, Applied]:
    for conflicts in range(MAX_CONFLICTS):
        if conflicts > 1:
            yield Pause(random.uniform(0, _JITTER_SECONDS))
        applied = yield from _apply(change, operations, unsent.once, writer)
        if applied.outcome is Answer.CONFLICT:
            continue
        if applied.outcome is Answer.TOO_LARGE:
            detail = f"metadata would be {applied.sequence} bytes, the limit is {writer.limits.metadata_bytes}"
            losses.append(Loss("metadata_too_large", len(operations) + len(change.initial_metadata), detail))
            operations, change = [], replace(change, initial_metadata={})
        elif applied.outcome is Answer.TOO_MANY_TAGS:
            losses.append(Loss("too_many_tags", len(change.tags), "a run carries at most 10 tags"))
            change = replace(change, tags=())
        else:
            if applied.outcome is Answer.MISSING:
                losses.append(Loss("missing", 1, "there is no such run"))
            return applied
        if _is_empty(change, operations):
            return applied
    losses.append(Loss("conflict", len(operations), "others changed the metadata all the time"))
    return (yield from _apply(change, [], unsent.once, writer))


def renew(lease: Change, writer: ChangeWriter) -> Generator[Command | Pause, Any, Applied]:
    """Say that the worker of a run lives."""
    return (yield from _apply(lease, (), "", writer))


def _append(
    batches: Sequence[Batch], run: str, writer: ChangeWriter, losses: list[Loss]
) -> Generator[Command | Pause, Any, bool]:
    """Append what is to go into streams, in pieces. Returns whether there is no such run, so that nothing was."""
    for batch in batches:
        try:
            outcome = yield from _append_batch(batch, run, writer)
        except ResponseError as error:
            if not is_refusal(error):
                raise
            losses.append(Loss("refused", len(batch.chunks), str(error)))  # the run goes on without its stream
            continue
        if outcome is AppendOutcome.MISSING:
            return True
        if outcome is AppendOutcome.TOO_MANY_STREAMS:
            losses.append(Loss("too_many_streams", len(batch.chunks), "a run has at most 100 streams"))
    return False


def _append_batch(batch: Batch, run: str, writer: ChangeWriter) -> Generator[Command | Pause, Any, AppendOutcome]:
    for start in range(0, len(batch.chunks), CHUNKS_AT_ONCE):
        chunks = batch.chunks[start : start + CHUNKS_AT_ONCE]
        append = Append(run, batch.stream, chunks, batch.writer, batch.first + start)
        appended = yield from _ask_append(append, writer)
        if appended.outcome is AppendOutcome.GAP:
            # Redis lost what this writer wrote before; what comes is a log of its own.
            append = replace(append, writer=secrets.token_hex(8), first=0)
            batch.writer, batch.first = append.writer, -start
            appended = yield from _ask_append(append, writer)
        if appended.outcome is not AppendOutcome.APPENDED:
            return appended.outcome
        if not appended.announced:
            yield from _apply(Change(run=run, stream=batch.stream), (), "", writer)
    return AppendOutcome.APPENDED


def _ask_append(append: Append, writer: ChangeWriter) -> Generator[Command | Pause, Any, Appended]:
    command = append_command(append, writer)
    return read_append((yield from ask(command, whole_append)))


def _is_empty(change: Change, operations: Sequence[Operation]) -> bool:
    return not (operations or says_something(change))


def _apply(
    change: Change, operations: Sequence[Operation], once: str, writer: ChangeWriter
) -> Generator[Command | Pause, Any, Applied]:
    triples: list[Triple] | None = native(operations)
    version = None
    if triples is None:
        version, document = yield from read_metadata(change.run, writer)
        triples = computed(document, operations)
    return read_answer((yield from ask(writer.by_digest(change, triples, version=version, once=once))))


def read_metadata(run: str, writer: ChangeWriter) -> Generator[Command | Pause, Any, tuple[int, dict[str, Any]]]:
    """The metadata of a run by top-level key, and the version that it has at least."""
    # The version first: should the document change in between, it is newer than its version, and the script says so.
    version = yield from ask(("HGET", run_key(writer.environment, run), "_version"))
    stored = yield from ask(("HGETALL", metadata_key(writer.environment, run)))
    # A bare command is answered by a flat list, or, since RESP3, by a dictionary.
    pairs = stored.items() if isinstance(stored, dict) else zip(stored[::2], stored[1::2], strict=True)
    return int(version or 0), {_text(key): decode_json(value) for key, value in pairs}


def read_columns(run: str, names: Sequence[str], writer: ChangeWriter) -> Asking:
    """The decoded values of some columns of a run, None for each that it does not have."""
    values = yield from ask(("HMGET", run_key(writer.environment, run), *names))
    return [None if value is None else decode_json(value) for value in values]


def ask(command: Command, whole: Callable[[Command], Command] = whole) -> Asking:
    """The reply to a command; *whole* makes the one for a server that does not know its script."""
    reconnected = False
    while True:
        try:
            return (yield command)
        except NoScriptError:
            command = whole(command)
        except (AuthenticationError, BusyLoadingError):
            raise
        except ConnectionError:
            # A connection that lay idle was closed, by a restart say: that is found out by using it. Once more, on a
            # new one. A time-out is no such case, and the job has waited enough.
            if reconnected:
                raise
            reconnected = True


def is_refusal(error: BaseException) -> bool:
    """Whether the change itself was refused, so that sending it again would be, too."""
    if not isinstance(error, ResponseError) or isinstance(error, _SERVER_ERRORS):
        return False
    return not any(state in f"{error} " for state in _SERVER_STATES)


def _text(key: bytes | str) -> str:
    return key.decode() if isinstance(key, bytes) else key


class Journal:
    """Tells the log what was lost and when Redis is away: each run's loss once, each absence once."""

    #: Runs whose losses were told. Old ones are forgotten, and would be told again.
    REMEMBERED = 1_000

    def __init__(self) -> None:
        self._told: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._away = False

    def lost(self, run: str, loss: Loss) -> None:
        if (run, loss.reason) in self._told:
            return
        self._told[run, loss.reason] = None
        if len(self._told) > self.REMEMBERED:
            self._told.popitem(last=False)
        log.warning("run %s: dropped %d (%s): %s", run, loss.count, loss.reason, loss.detail)

    def refused(self, run: str, error: BaseException) -> None:
        self.lost(run, Loss("refused", 1, str(error)))

    def away(self, error: BaseException) -> None:
        if not self._away:
            self._away = True
            log.warning("Redis is away: %s. Keeping the newest status of each run", error or type(error).__name__)

    def back(self) -> None:
        if self._away:
            self._away = False
            log.warning("Redis is back")
