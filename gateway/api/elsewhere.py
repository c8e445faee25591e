"""What `/openapi.json` says of the routes that are no plain requests: feeds, health, metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.api.parts import BATCH_ID, RUN_ID, SPAN, TAG, TASK
from gateway.transports.refusals import PROBLEM_TYPE

if TYPE_CHECKING:
    from gateway.api.forms import Schema

EVENTS: Final = "/v1/events"
POLL: Final = "/v1/poll"
#: Answered to GET alone: there is no HEAD of what goes on.
WITHOUT_HEAD: Final = frozenset({EVENTS, POLL})


def _query(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "query", "description": description, "required": False, "schema": schema}


def _many(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def _problem(description: str) -> Schema:
    return {
        "description": description,
        "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


_COMMA_LIST: Final = {"type": "string", "minLength": 1}
#: Of events alone: what of them is HTML (gateway/web/forms.py).
FORMS: Final = ("json", "html", "htmx", "turbo", "datastar")
_FORM: Final = _query(
    "format", {"type": "string", "enum": list(FORMS)}, "JSON, or HTML for htmx, Turbo or Datastar (docs/embedding.md)."
)

_FEEDS: Final[Schema] = {
    "operationId": "followFeeds",
    "summary": "Follow feeds, as Server-Sent Events",
    "description": "Runs as they are, and then as they change: `snapshot`, `update`, `end`, `heartbeat`, and others; "
    "docs/protocol.md describes them. The response ends when every run that it follows has ended.\n\n"
    "The same over a WebSocket is `GET /v1/ws`, which OpenAPI has no words for.\n\n"
    "Public tokens: of each feed that is named.",
    "tags": ["feeds"],
    "security": [{"bearer": []}, {"token": []}],
    "parameters": [
        _query("run", _many(RUN_ID.schema), "A run's id."),
        _query("batch", _many(BATCH_ID.schema), "A batch's id."),
        _query("task", _many(TASK.schema), "A task."),
        _query("tag", _many(TAG.schema), "A tag."),
        _query("tags", _COMMA_LIST, "Several tags, by commas: runs that carry all of them."),
        _query("all", {"type": "boolean", "const": True}, "Every run of the environment."),
        _query("cursor", {"type": "string"}, "Where the viewer was: it is told what changed after it."),
        _query("skipColumns", _COMMA_LIST, "Columns to leave out, by commas."),
        _query("since", SPAN.schema, "Only runs created within this age."),
        _query("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "The most runs of a snapshot."),
        _FORM,
        {
            "name": "Last-Event-ID",
            "in": "header",
            "description": "A cursor, as an EventSource sends it; it wins over `cursor`.",
            "required": False,
            "schema": {"type": "string"},
        },
    ],
    "responses": {
        "200": {
            "description": "Events, until the runs or the token end.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        "204": {"description": "Every run has ended, and the cursor is of who has seen it."},
        "400": _problem("A parameter of a wrong form, or none that names a feed."),
        "401": _problem("No token, or one that does not hold."),
        "403": _problem("No scope of the token allows one of the feeds, or the page's origin is not allowed."),
        "429": _problem("More connections or requests than there may be; `Retry-After` says when to come back."),
        "503": _problem("The data can't be read now."),
    },
}


_MESSAGES: Final[Schema] = {
    "type": "object",
    "properties": {
        "state": {"type": "string", "enum": ["live", "stale"], "description": "Whether the feeds are up to date."},
        "cursor": {"type": "string", "description": "Where the next poll goes on."},
        "messages": {"type": "array", "items": {"type": "object"}, "description": "As `/v1/events` has them."},
    },
    "required": ["state", "messages"],
}
_POLL: Final[Schema] = {
    **_FEEDS,
    "operationId": "pollFeeds",
    "summary": "Follow feeds, by long poll",
    "description": "What happened since `cursor`, as soon as something has, or when the time is up; docs/protocol.md "
    "describes the messages.\n\nPublic tokens: of each feed that is named.",
    "parameters": [
        *(parameter for parameter in _FEEDS["parameters"] if parameter is not _FORM),
        _query("wait", {"type": "string"}, "How long to wait when there is nothing: `0`, `20s` (the default), `30s`."),
    ],
    "responses": {
        **_FEEDS["responses"],
        "200": {
            "description": "What happened.",
            "content": {"application/json": {"schema": _MESSAGES}},
            "headers": {
                "Runcast-Connection": {
                    "description": "Names this connection, so that it can be given another token while it waits.",
                    "schema": {"type": "string"},
                }
            },
        },
    },
}


def _json(description: str, properties: dict[str, Any]) -> Schema:
    schema = {"type": "object", "properties": properties, "required": ["status"]}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_STATUS: Final = {"status": {"type": "string"}}
_CHECKS: Final = {**_STATUS, "checks": {"type": "object", "additionalProperties": {"type": "string"}}}


def _alive(name: str) -> Schema:
    return {
        "operationId": name,
        "summary": "Is the process alive?",
        "tags": ["service"],
        "security": [],
        "responses": {"200": _json("It is.", _STATUS)},
    }


#: Path → its methods.
PATHS: Final[dict[str, dict[str, Schema]]] = {
    EVENTS: {"get": _FEEDS},
    POLL: {"get": _POLL},
    "/livez": {"get": _alive("livez")},
    "/healthz": {"get": _alive("healthz")},
    "/readyz": {
        "get": {
            "operationId": "readyz",
            "summary": "May it be sent viewers?",
            "tags": ["service"],
            "security": [],
            "responses": {
                "200": _json("It may.", _CHECKS),
                "503": _json("Not now; `checks` says why.", _CHECKS),
            },
        }
    },
    "/metrics": {
        "get": {
            "operationId": "metrics",
            "summary": "What was counted, for Prometheus",
            "description": "With `RUNCAST_METRICS_PORT` set it is at that port, open to whoever reaches it, and not "
            "here.\n\nPublic tokens: none.",
            "tags": ["service"],
            "responses": {
                "200": {
                    "description": "Counters, gauges and histograms.",
                    "content": {
                        "text/plain": {"schema": {"type": "string"}},
                        "application/openmetrics-text": {"schema": {"type": "string"}},
                    },
                },
                "401": _problem("No secret key."),
                "403": _problem("A public token; or a secret key of one of several environments."),
                "404": _problem("Metrics have a port of their own."),
            },
        }
    },
}
