"""
A row of a feed as the official clients read it: parsed by the schema header, then held against their own schema.

From electric-shape.md, sections 7.2, 7.3 and 8.3, and trigger-realtime.md, sections 3.1 to 3.5.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Row = dict[str, str | None]

#: Column → its type in the schema header, and whether it may be null.
COLUMNS: Final = MappingProxyType(
    {
        **dict.fromkeys(("id", "taskIdentifier", "friendlyId", "status"), ("text", False)),
        **dict.fromkeys(("createdAt", "updatedAt"), ("timestamp", False)),
        **dict.fromkeys(("startedAt", "delayUntil", "queuedAt", "expiredAt", "completedAt"), ("timestamp", True)),
        **dict.fromkeys(("number", "usageDurationMs"), ("int4", False)),
        **dict.fromkeys(("costInCents", "baseCostInCents"), ("float8", False)),
        "isTest": ("bool", False),
        **dict.fromkeys(("ttl", "payload", "metadata", "output"), ("text", True)),
        **dict.fromkeys(("payloadType", "metadataType", "outputType"), ("text", True)),
        **dict.fromkeys(("runTags", "realtimeStreams"), ("text[]", True)),
        "error": ("jsonb", True),
    }
)
#: What `skipColumns` never takes away.
KEPT: Final = frozenset({"id", "taskIdentifier", "friendlyId", "status", "createdAt", "updatedAt"})
#: Every other column, for whoever skips them all.
SKIPPABLE: Final = tuple(sorted(COLUMNS.keys() - KEPT))

#: What a run with each raw status is shown as.
PUBLIC: Final = MappingProxyType(
    {
        "DELAYED": "DELAYED",
        "PENDING_VERSION": "PENDING_VERSION",
        "WAITING_FOR_DEPLOY": "PENDING_VERSION",
        "PENDING": "QUEUED",
        "DEQUEUED": "DEQUEUED",
        "EXECUTING": "EXECUTING",
        "RETRYING_AFTER_FAILURE": "EXECUTING",
        "PAUSED": "WAITING",
        "WAITING_TO_RESUME": "WAITING",
        "COMPLETED_SUCCESSFULLY": "COMPLETED",
        "CANCELED": "CANCELED",
        "COMPLETED_WITH_ERRORS": "FAILED",
        "INTERRUPTED": "FAILED",
        "SYSTEM_FAILURE": "SYSTEM_FAILURE",
        "CRASHED": "CRASHED",
        "EXPIRED": "EXPIRED",
        "TIMED_OUT": "TIMED_OUT",
    }
)
FINAL: Final = frozenset(
    {"COMPLETED_SUCCESSFULLY", "CANCELED", "COMPLETED_WITH_ERRORS", "INTERRUPTED", "SYSTEM_FAILURE", "CRASHED"}
    | {"EXPIRED", "TIMED_OUT"}
)

_CODES: Final = """
COULD_NOT_FIND_EXECUTOR COULD_NOT_FIND_TASK COULD_NOT_IMPORT_TASK CONFIGURED_INCORRECTLY TASK_ALREADY_RUNNING
TASK_EXECUTION_FAILED TASK_EXECUTION_ABORTED TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE TASK_PROCESS_SIGKILL_TIMEOUT
TASK_PROCESS_SIGSEGV TASK_PROCESS_SIGTERM TASK_PROCESS_OOM_KILLED TASK_PROCESS_MAYBE_OOM_KILLED TASK_RUN_CANCELLED
TASK_INPUT_ERROR TASK_OUTPUT_ERROR TASK_MIDDLEWARE_ERROR HANDLE_ERROR_ERROR GRACEFUL_EXIT_TIMEOUT
TASK_RUN_HEARTBEAT_TIMEOUT TASK_RUN_CRASHED TASK_RUN_UNCAUGHT_EXCEPTION MAX_DURATION_EXCEEDED DISK_SPACE_EXCEEDED
POD_EVICTED POD_UNKNOWN_ERROR TASK_HAS_N0_EXECUTION_SNAPSHOT TASK_DEQUEUED_INVALID_STATE
TASK_DEQUEUED_QUEUE_NOT_FOUND TASK_RUN_DEQUEUED_MAX_RETRIES TASK_RUN_STALLED_EXECUTING
TASK_RUN_STALLED_EXECUTING_WITH_WAITPOINTS OUTDATED_SDK_VERSION TASK_DID_CONCURRENT_WAIT RECURSIVE_WAIT_DEADLOCK
BATCH_ITEM_COULD_NOT_TRIGGER PAYLOAD_TOO_LARGE UNSPECIFIED_ERROR
"""
INTERNAL_CODES: Final = frozenset(_CODES.split())

_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?")
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")


def read_run(row: Row, schema: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """
    What the client makes of *row*; columns that were skipped are missing.

    Raises:
        AssertionError: When it would end the subscription instead ("Unable to parse shape").
    """
    assert row.keys() == schema.keys(), row.keys() ^ schema.keys()
    assert row.keys() >= KEPT
    run = {name: _read(name, value, schema[name]) for name, value in row.items()}
    assert run["status"] in PUBLIC, f"{run['status']} is no raw status"
    _check_error(run.get("error"))
    return run


def _read(name: str, value: str | None, entry: Mapping[str, Any]) -> Any:
    kind, nullable = COLUMNS[name]
    assert (entry["type"], entry.get("dims", 0)) == ((kind.removesuffix("[]")), int(kind.endswith("[]"))), name
    assert not entry.get("not_null") or value is not None
    if value is None:
        assert nullable, f"{name} is null"
        return None
    match kind:
        case "int4":
            assert re.fullmatch(r"-?\d+", value), (name, value)
            return int(value)
        case "float8":
            assert _NUMBER.fullmatch(value), (name, value)
            return float(value)
        case "bool":
            assert value in ("t", "f"), (name, value)
            return value == "t"
        case "timestamp":
            assert _TIMESTAMP.fullmatch(value), f"{name} is {value!r}; no zone, please: the client appends a Z"
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        case "jsonb":
            return json.loads(value)
        case "text[]":
            return read_array(value)
    return value


def read_array(literal: str) -> list[str]:
    """The elements of an array literal, each of which is in quotes."""
    assert (literal[:1], literal[-1:]) == ("{", "}"), literal
    return list(_elements(literal[1:-1]))


def _elements(inner: str) -> Iterator[str]:
    place = 0
    while place < len(inner):
        found = re.compile(r'"((?:[^"\\]|\\.)*)"(,|$)', re.DOTALL).match(inner, place)
        assert found, f"not a quoted element: {inner[place:]!r}"
        yield re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL)
        place = found.end()


def _check_error(error: Any) -> None:
    if error is None:
        return
    match error:
        case {"type": "BUILT_IN_ERROR", "name": str(), "message": str(), "stackTrace": str()}:
            pass
        case {"type": "CUSTOM_ERROR" | "STRING_ERROR", "raw": str()}:
            pass
        case {"type": "INTERNAL_ERROR", "code": code}:
            assert code in INTERNAL_CODES, code
        case _:
            raise AssertionError(f"an error of no kind that the clients know: {error}")
