"""
Changes ↔ the words of `apply_change.lua`. No client is used here: whoever has one sends the command.

The command is the same for every way in, synchronous, asynchronous and over HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from gateway.changes import Limits, Outcome
from gateway.store.redis_keys import (
    LARGE_COLUMN_BYTES,
    Retention,
    history_key,
    metadata_key,
    prefix,
    run_key,
    script,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.changes import Change
    from gateway.feeds import EnvironmentId

#: What the script does with one metadata key: (set, delete, append, increment or clear; key; JSON).
Triple = tuple[str, str, bytes]
Command = tuple[str | bytes | int, ...]

SCRIPT: Final = "apply_change"
#: Length of the name of a change that must not be applied twice; the script keeps the last names of each run.
ONCE_LENGTH: Final = 8


class Answer(StrEnum):
    """How the script answers. The last three changed nothing: send the change again without what was refused."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    STALE = "stale"
    MISSING = "missing"
    CONFLICT = "conflict"  # the metadata has another version than the operations were computed from
    TOO_LARGE = "too_large"  # the metadata would have `sequence` bytes, which is over its limit
    TOO_MANY_TAGS = "too_many_tags"

    @property
    def refused(self) -> bool:
        return self in (Answer.CONFLICT, Answer.TOO_LARGE, Answer.TOO_MANY_TAGS)


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a change, and where the run stands now."""

    outcome: Answer
    epoch: str
    #: The number of this change; of the environment's newest when nothing changed.
    sequence: int
    #: Raw, and empty when there is no such run.
    status: str
    attempt: int

    @property
    def public(self) -> Outcome:
        """What a caller is told; a change that was refused is dropped, unless it is sent again without its excess."""
        return Outcome.DROPPED if self.outcome.refused else Outcome(self.outcome.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeWriter:
    """Packs the changes of one environment, with what holds for all of them."""

    environment: EnvironmentId
    retention: Retention = field(default_factory=Retention)
    limits: Limits = field(default_factory=Limits)
    #: Sharded pub/sub would be SPUBLISH.
    publish: str = "PUBLISH"
    large_bytes: int = LARGE_COLUMN_BYTES

    def by_digest(
        self, change: Change, operations: Sequence[Triple] = (), *, version: int | None = None, once: str = ""
    ) -> Command:
        """
        The command that applies *change*, for a server that knows the script.

        One that does not answers NOSCRIPT; `whole` makes the command that then brings the text along.

        Args:
            operations: *change*'s metadata operations, as `gateway.metadata` makes them.
            version: The version of the metadata that they were computed from, if they were.
            once: A name by which the script knows the operations when they are sent again.
        """
        keys = (
            history_key(self.environment),
            run_key(self.environment, change.run),
            metadata_key(self.environment, change.run),
        )
        return ("EVALSHA", script(SCRIPT).sha1, len(keys), *keys, *self._arguments(change, operations, version, once))

    def _arguments(self, change: Change, operations: Sequence[Triple], version: int | None, once: str) -> Command:
        return (
            prefix(self.environment),
            self.publish,
            change.run,
            int(change.create),
            change.attempt or "",
            change.status or "",
            change.age_ms,
            self.retention.finished_ms,
            self.retention.unfinished_ms,
            self.retention.streams_ms,
            self.large_bytes,
            self.limits.metadata_bytes,
            "" if version is None else version,
            once,
            "" if change.lease_ms is None else change.lease_ms,
            "" if change.ttl_ms is None else change.ttl_ms,
            "" if change.max_duration_ms is None else change.max_duration_ms,
            int(change.overdue) or "",
            change.stream,
            *_list(change.columns.items()),
            *_list(change.initial.items()),
            *_list(change.initial_metadata.items()),
            *_list((tag,) for tag in change.tags),
            *_list(operations),
        )


def whole(command: Command) -> Command:
    """A command made by `by_digest`, with the script's text instead of its digest."""
    return ("EVAL", script(SCRIPT).text, *command[2:])


def read_answer(reply: Any) -> Applied:
    """
    What the script returned, from a client that decodes responses or one that does not.

    Raises:
        ValueError: When it is not the script's answer.
    """
    outcome, epoch, sequence, status, attempt = (
        part.decode() if isinstance(part, bytes) else str(part) for part in reply
    )
    return Applied(Answer(outcome), epoch, int(sequence), status, int(attempt))


def _list(entries: Iterable[Sequence[str | bytes]]) -> list[str | bytes | int]:
    """A list as the script takes it, led by its length."""
    flat: list[str | bytes | int] = [0]
    count = 0
    for entry in entries:
        flat.extend(entry)
        count += 1
    flat[0] = count
    return flat
