"""
Changes ↔ the words of `apply_changes.lua`. No client is used here: whoever has one sends the command.

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
    prefix,
    script,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.changes import Change
    from gateway.feeds import EnvironmentId

#: What the script does with one metadata key: (set, delete, append, increment or clear; key; JSON).
Triple = tuple[str, str, bytes]
Command = tuple[str | bytes | int, ...]

SCRIPT: Final = "apply_changes"
#: Changes, or appends, that one call of their script may carry: Redis does nothing else meanwhile, some milliseconds.
MOST_TOGETHER: Final = 32
#: Words of a command before those of its changes.
START: Final = 11
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
    #: What every command begins with, `START` words.
    _start: Command = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        start = (
            *("EVALSHA", script(SCRIPT).sha1, 1, history_key(self.environment)),
            *(prefix(self.environment), self.publish),
            *(self.retention.finished_ms, self.retention.unfinished_ms, self.retention.streams_ms),
            *(self.large_bytes, self.limits.metadata_bytes),
        )
        object.__setattr__(self, "_start", start)

    def by_digest(
        self, change: Change, operations: Sequence[Triple] = (), *, version: int | None = None, once: str = ""
    ) -> Command:
        """
        The command that applies *change*, for a server that knows the script.

        One that does not answers NOSCRIPT; `whole` makes the command that then brings the text along. Those that go out
        together are better joined (joining.py).

        Args:
            operations: *change*'s metadata operations, as `gateway.metadata` makes them.
            version: The version of the metadata that they were computed from, if they were.
            once: A name by which the script knows the operations when they are sent again.
        """
        return (*self._start, *_words(change, operations, version, once))


def _words(change: Change, operations: Sequence[Triple], version: int | None, once: str) -> Command:
    """What the script is told of one change: only what there is to say."""
    words: list[str | bytes | int] = [change.run, 0]
    if change.create:
        words += ("create", 1)
    if change.attempt:
        words += ("attempt", change.attempt)
    if change.status:
        words += ("status", change.status)
    if change.age_ms:
        words += ("age", change.age_ms)
    if change.lease_ms is not None:
        words += ("lease", change.lease_ms)
    if change.ttl_ms is not None:
        words += ("ttl", change.ttl_ms)
    if change.max_duration_ms is not None:
        words += ("max_duration", change.max_duration_ms)
    if change.overdue:
        words += ("overdue", 1)
    if change.stream:
        words += ("stream", change.stream)
    for tag in change.tags:
        words += ("tag", tag)
    for name, json in change.columns.items():
        words += ("column", name, json)
    for name, json in change.initial.items():
        words += ("initial", name, json)
    for key, json in change.initial_metadata.items():
        words += ("initial_metadata", key, json)
    if version is not None:
        words += ("version", version)
    if once:
        words += ("once", once)
    for operation in operations:
        words += operation
    words[1] = len(words) - 2
    return tuple(words)


def whole(command: Command) -> Command:
    """A command made by `by_digest`, with the script's text instead of its digest."""
    return ("EVAL", script(SCRIPT).text, *command[2:])


def read_answer(reply: Any) -> Applied:
    """
    What the script returned for the one change that it was told, from a client that decodes responses or one that does
    not.

    Raises:
        ValueError: When it is not the script's answer.
    """
    (answer,) = reply
    # A list and a dictionary are faster than a generator and calling the enum, and this is done for every change.
    outcome, epoch, sequence, status, attempt = [
        part.decode() if isinstance(part, bytes) else str(part) for part in answer
    ]
    if outcome not in _ANSWERS:
        raise ValueError(f"not an answer: {outcome!r}")
    return Applied(_ANSWERS[outcome], epoch, int(sequence), status, int(attempt))


_ANSWERS: Final = {answer.value: answer for answer in Answer}
