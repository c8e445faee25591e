"""What is answered, as JSON Schema: the public object of a run, and problems. Made from the columns themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.api.parts import STATUSES
from gateway.runs import COLUMNS, FINAL, METADATA, Kind, Status, flags

if TYPE_CHECKING:
    from gateway.api.forms import Schema

_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_TEXT: Final[Schema] = {"type": "string"}
_ANY: Final[Schema] = {}
#: Columns whose JSON is of one type.
_PLAIN: Final[dict[str, Schema]] = {
    "taskIdentifier": _TEXT,
    "attempt": {"type": "integer", "minimum": 1},
    "tags": {"type": "array", "items": _TEXT},
    "batchId": _TEXT,
    "parentRunId": _TEXT,
    "rootRunId": _TEXT,
    "number": {"type": "integer"},
    "isTest": {"type": "boolean"},
    "ttl": _TEXT,
    "idempotencyKey": _TEXT,
    "durationMs": {"type": "number"},
    "costInCents": {"type": "number"},
    "baseCostInCents": {"type": "number"},
    "maxDurationSeconds": {"type": "number"},
    "cancelReason": _TEXT,
    "context": {"type": "object"},
    "realtimeStreams": {"type": "array", "items": _TEXT},
}
_OF_KIND: Final[dict[Kind, Schema]] = {
    Kind.TIME: _TIME,
    Kind.STATUS: {"type": "string", "enum": list(STATUSES)},
    Kind.ERROR: {"type": "object", "properties": {"name": _TEXT, "message": _TEXT, "stackTrace": _TEXT}},
    Kind.TRANSITIONS: {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "status": {"type": "string", "enum": list(STATUSES)},
                "at": _TIME,
                "attempt": {"type": "integer"},
                "sequence": {"type": "integer"},
            },
            "required": ["status", "at", "attempt", "sequence"],
        },
    },
}


def _run_schema() -> Schema:
    properties: dict[str, Any] = {"id": _TEXT}
    for column in COLUMNS.values():
        if column.kind is not Kind.INTERNAL:
            properties[column.public] = _OF_KIND.get(column.kind, _PLAIN.get(column.public, _ANY))
    properties |= {name: {"type": "boolean"} for name in flags(Status.QUEUED)}
    properties[METADATA] = {"type": "object"}
    return {
        "type": "object",
        "description": "A run, whole. A field that is absent is null.",
        "properties": properties,
        "required": ["id", "status", "attempt", "createdAt", "updatedAt", *flags(Status.QUEUED)],
        "examples": [RUN_EXAMPLE],
    }


RUN_EXAMPLE: Final = {
    "id": "run_1",
    "taskIdentifier": "export",
    "status": "EXECUTING",
    **flags(Status.EXECUTING),
    "attempt": 1,
    "createdAt": "2026-01-31T10:00:00.000Z",
    "updatedAt": "2026-01-31T10:00:04.120Z",
    "startedAt": "2026-01-31T10:00:01.000Z",
    "tags": ["customer:7"],
    "payload": {"rows": 1000},
    "metadata": {"progress": {"current": 300, "total": 1000, "percent": 30}},
    "transitions": [{"status": "QUEUED", "at": "2026-01-31T10:00:00.000Z", "attempt": 1, "sequence": 1041}],
}

RUN: Final = {"$ref": "#/components/schemas/Run"}
FINAL_STATUSES: Final = tuple(sorted(FINAL))

PROBLEM: Final[Schema] = {
    "type": "object",
    "description": "What was wrong (RFC 9457), and what would be right.",
    "properties": {
        "status": {"type": "integer", "description": "The status of the response."},
        "title": {"type": "string", "description": "What kind of problem it is."},
        "detail": {"type": "string", "description": "What was wrong with this request, for people."},
        "code": {"type": "string", "description": "Stable, for programs; the list is in docs/protocol.md."},
        "retry": {"type": "boolean", "description": "Whether the same request may succeed later."},
        "field": {"type": "string", "description": "A JSON pointer into the body, or a parameter's or header's name."},
    },
    "required": ["status", "title", "detail", "code", "retry"],
}

#: What operations refer to by name.
SCHEMAS: Final[dict[str, Schema]] = {"Run": _run_schema(), "Problem": PROBLEM}
