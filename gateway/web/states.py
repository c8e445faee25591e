"""Statuses in a few words, for those who look at a picture or a page and not at the protocol."""

from __future__ import annotations

import math
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from gateway.runs import FAILURES, Status

if TYPE_CHECKING:
    from collections.abc import Mapping


class State(StrEnum):
    """What a run's status comes to; in the order in which a count of several names them."""

    RUNNING = "running"
    WAITING = "waiting"
    FAILED = "failed"
    CANCELED = "canceled"
    COMPLETED = "completed"


_STATES: Final[Mapping[Status, State]] = MappingProxyType(
    {
        **dict.fromkeys((Status.DEQUEUED, Status.EXECUTING), State.RUNNING),
        **dict.fromkeys((Status.DELAYED, Status.PENDING_VERSION, Status.QUEUED, Status.WAITING), State.WAITING),
        **dict.fromkeys(FAILURES, State.FAILED),
        Status.CANCELED: State.CANCELED,
        Status.COMPLETED: State.COMPLETED,
    }
)
_WORDS: Final[Mapping[Status, str]] = MappingProxyType(
    {
        Status.PENDING_VERSION: "waiting for a version",
        Status.EXECUTING: "running",
        Status.DEQUEUED: "starting",
    }
)


def state_of(status: Status) -> State:
    return _STATES[status]


def words_of(status: Status) -> str:
    """As in `timed out`."""
    return _WORDS.get(status, status.value.lower().replace("_", " "))


def percent_of(progress: Any) -> float | None:
    """
    How far a run is by its metadata key `progress`, 0 to 100; None when that does not say so.

    In each form that pages take, too (client/src/elements/progress.ts): counted, in percent, or a bare number of those.
    """
    said = progress if isinstance(progress, dict) else {"percent": progress}
    current, total, percent = (_number(said.get(name)) for name in ("current", "total", "percent"))
    if percent is None and current is not None and total:
        percent = 100 * current / total
    return None if percent is None else min(max(0.0, percent), 100.0)


def _number(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None


def percent_text(percent: float) -> str:
    """As in `45%`. Never a hundred before it is."""
    return f"{int(percent)}%"
