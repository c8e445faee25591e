"""
A run as the official clients' requests get it (Trigger.dev realtime protocol, sections 1.5 and 3.4).

What is required is there, whatever the run or the token: those clients throw away an answer that lacks it. What is
optional and not known is absent, never null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.codec import decode_json, public_changes, public_metadata, raw_json, rfc3339
from gateway.runs import FINAL, METADATA, Status, flags
from gateway.triggerdev.shape.failures import failure_text

if TYPE_CHECKING:
    from gateway.codec import Row

#: Column → field, of what is shown as it is stored, when it is known.
_OPTIONAL: Final = {"idempotencyKey": "idempotencyKey", "ttl": "ttl", "batchId": "batchId"}
#: The same of moments.
_MOMENTS: Final = {
    "startedAt": "startedAt",
    "completedAt": "finishedAt",
    "delayUntil": "delayedUntil",
    "expiredAt": "expiredAt",
}
#: Column → field and JSON, of what is required.
_REQUIRED: Final = {
    "taskIdentifier": ("taskIdentifier", b'""'),
    "isTest": ("isTest", b"false"),
    "runTags": ("tags", b"[]"),
    "costInCents": ("costInCents", b"0"),
    "baseCostInCents": ("baseCostInCents", b"0"),
    "usageDurationMs": ("durationMs", b"0"),
}
#: What every run is shown with: as an entry of a list, or as a relative of another.
COMMON: Final = ("status", "attempt", "createdAt", "updatedAt", *_OPTIONAL, *_MOMENTS, *_REQUIRED)
#: What a run that is read by itself is shown with besides.
WHOLE: Final = (*COMMON, "payload", "output", "error", "parentRunId", "rootRunId")
#: Keys of the metadata that are between their server and client.
_INTERNAL: Final = b"$$"


def common_fields(row: Row, hidden: frozenset[str]) -> dict[str, Any]:
    """
    What a run in a list is shown with. The row has the columns COMMON, and metadata.

    Args:
        hidden: Columns that are not sent; of those that are required it is what an empty run would have.
    """
    columns = {name: text for name, text in row.columns.items() if name not in hidden}
    shown: dict[str, Any] = {"id": row.run, "status": row.status, **rest_flags(row.status)}
    for name, (field, nothing) in _REQUIRED.items():
        shown[field] = raw_json(columns.get(name, nothing))
    for name, field in _OPTIONAL.items():
        if name in columns:
            shown[field] = raw_json(columns[name])
    for name, field in {"createdAt": "createdAt", "updatedAt": "updatedAt", **_MOMENTS}.items():
        if name in columns:
            shown[field] = rfc3339(decode_json(columns[name]))
    metadata = {} if METADATA in hidden else row.metadata
    known = [(key, text) for key, text in metadata.items() if not key.startswith(_INTERNAL)]
    return {**shown, "metadata": public_metadata(known)} if known else shown


def related_fields(row: Row, hidden: frozenset[str], depth: int) -> dict[str, Any]:
    """What a relative of a run is shown with; *depth* is how many runs are above it."""
    function = "batchTrigger" if "batchId" in row.columns else "trigger"
    return {**common_fields(row, hidden), "depth": depth, "triggerFunction": function}


def whole_run(row: Row, hidden: frozenset[str], depth: int, relatives: dict[str, Any]) -> dict[str, Any]:
    """What a run is shown with that is read by itself. The row has the columns WHOLE, and metadata."""
    attempts = row.attempt if "startedAt" in row.columns else 0
    shown = {**related_fields(row, hidden, depth), "attemptCount": attempts, "relatedRuns": relatives}
    columns = {name: text for name, text in row.columns.items() if name not in hidden}
    if "payload" in columns:
        shown["payload"] = raw_json(columns["payload"])
    if "output" in columns and row.status is Status.COMPLETED:
        shown["output"] = raw_json(columns["output"])
    failure = failure_text(decode_json(columns["error"])) if "error" in columns else None
    if failure is not None:
        shown |= public_changes({"error": decode_json(failure)}, frozenset())
    return shown


def rest_flags(status: Status) -> dict[str, bool]:
    """
    The booleans of an object that the server made: other than on the feeds a cancelled run is completed, and failed.

    Their server leaves EXPIRED and TIMED_OUT out of the completed ones, and who waits for the end then waits for ever.
    """
    ended = status in FINAL
    return {**flags(status), "isCompleted": ended, "isFailed": ended and status is not Status.COMPLETED}
