"""
What the official clients can ask for and is not there yet: 501, to everybody, and not to be tried again.

501 is above 500, so that their clients would repeat it without `x-should-retry` (Trigger.dev realtime protocol, section
0.2). A path that other routes have, too, comes after them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.api import access
from gateway.api.calls import Answer, Call, Operation, Reply, json_answer
from gateway.api.endpoint import mount
from gateway.triggerdev.dialect import TRIGGERDEV

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.api.endpoint import ApiRoute
    from gateway.transports.viewing import Services

_TRIGGER: Final = "triggering tasks is not there yet; create runs where they are executed, or by POST /v1/runs"
_WAIT: Final = "wait tokens are not there yet"
_SESSIONS: Final = "sessions are not there yet; streams and input streams of a run are"
_PACKETS: Final = "packets are not there yet; payload and output come with the run"
_ENGINE: Final = "tasks are not executed here; workers report what they do through the publisher, or by /v1"

_EVERY: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
#: Methods, path, and what is not there (sections 1.1, 7 and 8).
LATER: Final[tuple[tuple[tuple[str, ...], str, str], ...]] = (
    (("POST",), "/api/v1/tasks/{task}/trigger", _TRIGGER),
    (("POST",), "/api/v1/tasks/batch", _TRIGGER),
    (("POST",), "/api/v1/tasks/{task}/batch", _TRIGGER),
    (("POST",), "/api/v2/tasks/batch", _TRIGGER),
    (("POST",), "/api/v3/batches", _TRIGGER),
    (("POST",), "/api/v3/batches/{batch}/items", _TRIGGER),
    (("POST",), "/api/v1/runs/{id}/replay", "replaying runs is not there yet"),
    (("POST",), "/api/v1/runs/{id}/reschedule", "rescheduling runs is not there yet"),
    (("GET", "POST"), "/api/v1/waitpoints/tokens", _WAIT),
    (_EVERY, "/api/v1/waitpoints/tokens/*", _WAIT),
    (("POST",), "/api/v1/runs/{id}/input-streams/wait", _ENGINE),
    (("POST",), "/api/v1/runs/{id}/session-streams/wait", _ENGINE),
    (_EVERY, "/api/v1/sessions/*", _SESSIONS),
    (_EVERY, "/realtime/v1/sessions/*", _SESSIONS),
    (_EVERY, "/api/v1/packets/*", _PACKETS),
    (_EVERY, "/api/v2/packets/*", _PACKETS),
    (("GET",), "/api/v1/runs/{id}/packets/{which}", _PACKETS),
    (_EVERY, "/engine/*", _ENGINE),
)


def routes(services: Services) -> list[ApiRoute]:
    """One for each path of the table."""
    return mount(services, _operations(), TRIGGERDEV)


def _operations() -> Iterator[tuple[str, Operation]]:
    for methods, path, missing in LATER:
        for method in methods:
            yield path, _operation(method, missing)


def _operation(method: str, missing: str) -> Operation:
    async def refuse(call: Call) -> Answer:
        body = {"error": missing, "code": "not_implemented"}
        return json_answer(501, body, ("x-should-retry", "false"))

    return Operation(
        id="later",
        method=method,
        summary=missing,
        public=True,
        allow=access.anybody,
        handle=refuse,
        replies=(Reply(status=501, description=missing),),
    )
