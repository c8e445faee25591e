"""
The run row: its columns, its statuses, and the public object that people and programs read.

Column names and raw statuses are those of the Trigger.dev realtime protocol, sections 3.1 to 3.3; the public names
are those of section 3.2, plus what that protocol leaves out: batch, attempt, parent, root, transitions, context.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NewType

from gateway.errors import BadInput

RawStatus = NewType("RawStatus", str)


class Status(StrEnum):
    """What a run is doing, by its public name."""

    DELAYED = "DELAYED"
    PENDING_VERSION = "PENDING_VERSION"
    QUEUED = "QUEUED"
    DEQUEUED = "DEQUEUED"
    EXECUTING = "EXECUTING"
    WAITING = "WAITING"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"
    FAILED = "FAILED"
    SYSTEM_FAILURE = "SYSTEM_FAILURE"
    CRASHED = "CRASHED"
    EXPIRED = "EXPIRED"
    TIMED_OUT = "TIMED_OUT"


#: Raw status → public status (section 3.3). The script that applies changes knows the ranks of the raw ones.
PUBLIC_STATUS: Final = MappingProxyType(
    {
        "DELAYED": Status.DELAYED,
        "PENDING_VERSION": Status.PENDING_VERSION,
        "WAITING_FOR_DEPLOY": Status.PENDING_VERSION,
        "PENDING": Status.QUEUED,
        "DEQUEUED": Status.DEQUEUED,
        "EXECUTING": Status.EXECUTING,
        "RETRYING_AFTER_FAILURE": Status.EXECUTING,
        "PAUSED": Status.WAITING,
        "WAITING_TO_RESUME": Status.WAITING,
        "COMPLETED_SUCCESSFULLY": Status.COMPLETED,
        "CANCELED": Status.CANCELED,
        "COMPLETED_WITH_ERRORS": Status.FAILED,
        "INTERRUPTED": Status.FAILED,
        "SYSTEM_FAILURE": Status.SYSTEM_FAILURE,
        "CRASHED": Status.CRASHED,
        "EXPIRED": Status.EXPIRED,
        "TIMED_OUT": Status.TIMED_OUT,
    }
)

_RAW_STATUS: Final = MappingProxyType(
    {
        **{status.value: RawStatus(status.value) for status in Status},
        Status.QUEUED.value: RawStatus("PENDING"),
        Status.WAITING.value: RawStatus("WAITING_TO_RESUME"),
        Status.COMPLETED.value: RawStatus("COMPLETED_SUCCESSFULLY"),
        Status.FAILED.value: RawStatus("COMPLETED_WITH_ERRORS"),
    }
)

RETRYING: Final = RawStatus("RETRYING_AFTER_FAILURE")

FAILURES: Final = frozenset({Status.FAILED, Status.CRASHED, Status.SYSTEM_FAILURE, Status.EXPIRED, Status.TIMED_OUT})
FINAL: Final = FAILURES | {Status.COMPLETED, Status.CANCELED}


def raw_status(name: str) -> RawStatus:
    """
    The row's name of a status, from its public or its raw name.

    Raises:
        BadInput: When there is no such status; the text lists those that are.
    """
    if name in _RAW_STATUS:
        return _RAW_STATUS[name]
    if name in PUBLIC_STATUS:
        return RawStatus(name)
    raise BadInput(f"no status {name[:40]!r}; it is one of {', '.join(Status)}")


def flags(status: Status) -> dict[str, bool]:
    """The booleans of the public object, computed from the public status (section 3.4, feed objects)."""
    return {
        "isQueued": status in (Status.PENDING_VERSION, Status.QUEUED, Status.DELAYED),
        "isExecuting": status in (Status.DEQUEUED, Status.EXECUTING),
        "isWaiting": status is Status.WAITING,
        "isCompleted": status is Status.COMPLETED or status in FAILURES,
        "isSuccess": status is Status.COMPLETED,
        "isFailed": status in FAILURES,
        "isCancelled": status is Status.CANCELED,
    }


class Kind(StrEnum):
    """How a stored column becomes a value of the public object."""

    PLAIN = "plain"  # the stored JSON as it is
    TIME = "time"  # milliseconds since 1970 → RFC 3339
    STATUS = "status"  # raw → public name, and the flags
    ERROR = "error"  # the row's error → {name, message, stackTrace}
    TRANSITIONS = "transitions"  # compact lists → objects
    INTERNAL = "internal"  # not part of the public object


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the run row: stored as JSON text under `name`, shown as `public`."""

    name: str
    public: str
    kind: Kind = Kind.PLAIN


COLUMNS: Final = MappingProxyType(
    {
        column.name: column
        for column in (
            Column("taskIdentifier", "taskIdentifier"),
            Column("status", "status", Kind.STATUS),
            Column("attempt", "attempt"),
            Column("createdAt", "createdAt", Kind.TIME),
            Column("updatedAt", "updatedAt", Kind.TIME),
            Column("queuedAt", "queuedAt", Kind.TIME),
            Column("delayUntil", "delayedUntil", Kind.TIME),
            Column("startedAt", "startedAt", Kind.TIME),
            Column("completedAt", "finishedAt", Kind.TIME),
            Column("expiredAt", "expiredAt", Kind.TIME),
            Column("runTags", "tags"),
            Column("batchId", "batchId"),
            Column("parentRunId", "parentRunId"),
            Column("rootRunId", "rootRunId"),
            Column("number", "number"),
            Column("isTest", "isTest"),
            Column("ttl", "ttl"),
            Column("maxDuration", "maxDurationSeconds"),
            Column("cancelRequestedAt", "cancelRequestedAt", Kind.TIME),
            Column("cancelReason", "cancelReason"),
            Column("idempotencyKey", "idempotencyKey"),
            Column("usageDurationMs", "durationMs"),
            Column("costInCents", "costInCents"),
            Column("baseCostInCents", "baseCostInCents"),
            Column("payload", "payload"),
            Column("payloadType", "payloadType", Kind.INTERNAL),
            Column("output", "output"),
            Column("outputType", "outputType", Kind.INTERNAL),
            Column("error", "error", Kind.ERROR),
            Column("context", "context"),
            Column("traceparent", "traceparent"),  # W3C Trace Context: the trace that it was created in
            Column("transitions", "transitions", Kind.TRANSITIONS),
            Column("realtimeStreams", "realtimeStreams"),
        )
    }
)

#: Metadata is kept beside the row, by top-level key, but is skipped like a column.
METADATA: Final = "metadata"

#: What no view leaves out (section 3.7; `updatedAt` because the official clients need it).
ALWAYS_SHOWN: Final = frozenset({"taskIdentifier", "status", "attempt", "createdAt", "updatedAt"})

_BY_ANY_NAME: Final = MappingProxyType(
    {column.public: column.name for column in COLUMNS.values()}
    | {name: name for name in COLUMNS}
    | {METADATA: METADATA, "metadataType": "metadataType", "id": "id", "friendlyId": "friendlyId"}
)


def hidden_columns(names: list[str] | frozenset[str], *, lenient: bool = False) -> frozenset[str]:
    """
    The columns to leave out, from column names or public names; those that are always shown stay.

    Raises:
        BadInput: For a name that is no column, unless *lenient* (tokens may name columns we don't have).
    """
    unknown = [name for name in names if name not in _BY_ANY_NAME]
    if unknown and not lenient:
        raise BadInput(f"no column {unknown[0][:40]!r} to skip; there are {', '.join(sorted(_BY_ANY_NAME))}")
    chosen = {_BY_ANY_NAME[name] for name in names if name in _BY_ANY_NAME}
    return frozenset(chosen & (COLUMNS.keys() | {METADATA})) - ALWAYS_SHOWN
