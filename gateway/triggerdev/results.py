"""How a run ended, as a value that is handed on (Trigger.dev realtime protocol, sections 1.7, 3.5 and 3.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.codec import decode_json, raw_json
from gateway.errors import NotFound
from gateway.runs import FINAL, Status
from gateway.triggerdev.shape.failures import failure_text

if TYPE_CHECKING:
    from gateway.codec import Row

#: The columns that it is made from.
RESULT: Final = ("status", "taskIdentifier", "output", "outputType", "error", "usageDurationMs")
#: Their names of how a run ended that had no error of its own.
_CODES: Final = {
    Status.CANCELED: "TASK_RUN_CANCELLED",
    Status.CRASHED: "TASK_RUN_CRASHED",
    Status.TIMED_OUT: "MAX_DURATION_EXCEEDED",
}


def result_of(row: Row) -> dict[str, Any]:
    """
    The result of a run that has ended. The row has the columns RESULT.

    Raises:
        NotFound: When it has not.
    """
    status = row.status
    if status not in FINAL:
        raise NotFound(f"run {row.run[:80]!r} has not ended; it is {status}")
    found: dict[str, Any] = {"ok": status is Status.COMPLETED, "id": row.run}
    if "taskIdentifier" in row.columns:
        found["taskIdentifier"] = raw_json(row.columns["taskIdentifier"])
    if "usageDurationMs" in row.columns:
        found["usage"] = {"durationMs": raw_json(row.columns["usageDurationMs"])}
    if status is not Status.COMPLETED:
        return {**found, "error": _error_of(row)}
    if "output" in row.columns:
        found["output"] = row.columns["output"].decode()
    return {**found, "outputType": raw_json(row.columns.get("outputType", b'"application/json"'))}


def _error_of(row: Row) -> Any:
    known = failure_text(decode_json(row.columns["error"])) if "error" in row.columns else None
    if known is not None:
        return raw_json(known.encode())
    if row.status in _CODES:
        return {"type": "INTERNAL_ERROR", "code": _CODES[row.status]}
    return {"type": "STRING_ERROR", "raw": f"the run ended as {row.status}"}
