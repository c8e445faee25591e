"""Statuses in a few words, for those who look at a picture or a page and not at the protocol."""

from __future__ import annotations

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
    """How far a run is by its metadata key `progress`; None when that does not say so."""
    value = progress.get("percent") if isinstance(progress, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return min(max(float(value), 0.0), 100.0)


def percent_text(percent: float) -> str:
    """As in `45%`. Never a hundred before it is."""
    return f"{int(percent)}%"
