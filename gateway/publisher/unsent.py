"""What one run has to say and has not said yet, and how two changes of a run become one."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from gateway.changes import Change, Operation, Operator
from gateway.metadata import Merging
from gateway.store.writing import ONCE_LENGTH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.publisher.chunks import Batch

LARGE: Final = ("payload", "output")
_COUNTING: Final = frozenset({Operator.APPEND, Operator.INCREMENT})

# As in apply_changes.lua, which has the last word: kept statuses of one run become one, and it must be the one that
# would have won.
_RANK: Final = MappingProxyType(
    {"DELAYED": 1, "PENDING_VERSION": 2, "WAITING_FOR_DEPLOY": 2, "PENDING": 3, "DEQUEUED": 4, "EXECUTING": 5}
    | {"PAUSED": 5, "WAITING_TO_RESUME": 5, "RETRYING_AFTER_FAILURE": 6}
)
_FINAL_RANK: Final = 9


@dataclass(slots=True)
class Unsent:
    """What one run has to say and has not said yet; it goes out as one change."""

    change: Change  # without its operations: those wait in `merging`
    merging: Merging = field(default_factory=Merging)
    #: They go before the change: a stream is whole when its run ends.
    batches: list[Batch] = field(default_factory=list)
    #: When its status happened.
    happened: float = 0.0
    due: float = 0.0
    #: The name of operations that must not be applied twice, once they may have been sent.
    once: str = ""

    @property
    def operations(self) -> list[Operation]:
        return self.merging.operations

    def stamped(self, now: float) -> Change:
        """The change as it is sent now."""
        age = max(0, round((now - self.happened) * 1000)) if self.change.status else 0
        return self.change.aged(age) if age else self.change

    def name_operations(self) -> None:
        """Name them before they are sent, so that the script knows them should they come again."""
        if not self.once and any(operation.operator in _COUNTING for operation in self.operations):
            self.once = secrets.token_hex(ONCE_LENGTH // 2)


def chunk_bytes(batches: list[Batch]) -> int:
    """How much these hold in memory, about."""
    return sum(batch.bytes for batch in batches)


def says_something(change: Change) -> bool:
    """Whether there is more to it than operations."""
    return bool(change.create or change.status or change.columns or change.tags or change.lease_ms is not None)


def size(change: Change) -> int:
    """The bytes of what it carries, as far as they matter for a bound."""
    return sum(map(len, change.columns.values())) + sum(map(len, change.initial.values()))


def without_large(change: Change) -> Change:
    """The same without its large columns."""

    def small(columns: Mapping[str, bytes]) -> dict[str, bytes]:
        return {name: text for name, text in columns.items() if name not in LARGE}

    return replace(change, columns=small(change.columns), initial=small(change.initial))


def merge(unsent: Unsent, later: Change, happened: float) -> None:
    """Two changes of one run as one: where both speak of the same, the later one holds, if it may."""
    earlier = unsent.change
    merged = replace(
        earlier,
        create=earlier.create or later.create,
        initial={**later.initial, **earlier.initial},
        initial_metadata={**later.initial_metadata, **earlier.initial_metadata},
        tags=tuple(dict.fromkeys(earlier.tags + later.tags)),
        ttl_ms=later.ttl_ms if earlier.ttl_ms is None else earlier.ttl_ms,
        max_duration_ms=later.max_duration_ms if earlier.max_duration_ms is None else earlier.max_duration_ms,
    )
    if not _is_late(earlier, later):
        columns = later.columns if _begins_anew(earlier, later) else {**earlier.columns, **later.columns}
        merged = replace(
            merged,
            attempt=later.attempt or earlier.attempt,
            status=later.status or earlier.status,
            columns=columns,
            # A lease belongs to the status it came with.
            lease_ms=later.lease_ms if later.status or later.lease_ms is not None else earlier.lease_ms,
        )
        if later.status:
            unsent.happened = happened
    unsent.change = merged


def _is_late(earlier: Change, later: Change) -> bool:
    if later.attempt and later.attempt != earlier.attempt:
        return later.attempt < (earlier.attempt or 0)
    if not earlier.status or not later.status:
        return False
    before = _rank(earlier)
    return before == _FINAL_RANK or _rank(later) < before


def _begins_anew(earlier: Change, later: Change) -> bool:
    """Whether the later change is of another attempt: what the earlier one left, an error say, is not its own."""
    if not later.attempt:
        return False
    return later.attempt > earlier.attempt if earlier.attempt else _rank(earlier) == _FINAL_RANK


def _rank(change: Change) -> int:
    return _RANK.get(change.status, _FINAL_RANK) if change.status else 0
