"""`GET /api/v3/runs/:id`, tags, cancelling, the result (Trigger.dev realtime protocol, sections 1.5 and 1.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from auth import Resource
from gateway.api.access import secret_key_only
from gateway.api.calls import Answer, Call, Operation, Reply, json_answer
from gateway.api.endpoint import mount
from gateway.api.forms import Field, Object
from gateway.api.parts import RUN_PATH, Tags
from gateway.changes import cancel_request, change
from gateway.codec import decode_json
from gateway.errors import NotFound
from gateway.store.writing import Answer as Outcome
from gateway.triggerdev.access import find_row, may_read, read_row, require, resources_of
from gateway.triggerdev.dialect import TRIGGERDEV
from gateway.triggerdev.results import RESULT, result_of
from gateway.triggerdev.run_object import COMMON, WHOLE, related_fields, whole_run

if TYPE_CHECKING:
    from gateway.api.endpoint import ApiRoute
    from gateway.changes import Change
    from gateway.codec import Row
    from gateway.store.writing import Applied
    from gateway.transports.viewing import Services

#: A run that is deeper below its root is said to be so deep.
_MOST_DEPTH: Final = 16
_ABOVE: Final = ("parentRunId", "rootRunId")
_RUN: Final = {"type": "object"}


async def _may_retrieve(call: Call) -> None:
    row = call.found["row"] = await find_row(call, WHOLE, metadata=True, patient=True)
    require(call, "read", f"run:{row.run}", resources_of(row))


async def _retrieve(call: Call) -> Answer:
    row, hidden = call.found["row"], call.admitted.hidden or frozenset()
    above, depth = await _rows_above(call, row)
    root = await _root(call, row, above)
    found = [("parent", above[0] if above else None, depth - 1), ("root", root, 0)]
    relatives = {
        name: related_fields(relative, hidden, its_depth)
        for name, relative, its_depth in found
        # A token for one run says nothing of the others.
        if relative is not None and may_read(call, relative) and f"{name}RunId" not in hidden
    }
    return json_answer(200, whole_run(row, hidden, depth, relatives))


async def _rows_above(call: Call, row: Row) -> tuple[list[Row], int]:
    """The runs that *row* comes from, its parent first, as far as they are known; and how many there are."""
    above: list[Row] = []
    seen, parent = {str(row.run)}, _name(row, "parentRunId")
    while parent is not None and parent not in seen and len(above) < _MOST_DEPTH:
        seen.add(parent)
        found = await read_row(call, parent, (*COMMON, *_ABOVE), metadata=True)
        if found is None:
            return above, len(above) + 1
        above.append(found)
        parent = _name(found, "parentRunId")
    return above, len(above)


async def _root(call: Call, row: Row, above: list[Row]) -> Row | None:
    """The root that *row* names; of a run that names its parent alone, the one where that leads."""
    name = _name(row, "rootRunId")
    if name == row.run:
        return None
    if name is None:
        return above[-1] if above and _name(above[-1], "parentRunId") is None else None
    known = next((one for one in above if one.run == name), None)
    return known or await read_row(call, name, COMMON, metadata=True)


def _name(row: Row, column: str) -> str | None:
    text = row.columns.get(column)
    return None if text is None else str(decode_json(text))


async def _may_cancel(call: Call) -> None:
    row = await read_row(call, call.path["id"], ())
    resources = [Resource("runs", call.path["id"])]
    if row is not None:
        resources = [one for one in resources_of(row) if one.type in ("runs", "tasks")]
    require(call, "write", f"run:{call.path['id']}", resources)


async def _cancel(call: Call) -> Answer:
    run = call.path["id"]
    await write(call, cancel_request(run))
    return json_answer(200, {"id": run})


async def write(call: Call, made: Change, *, once: str = "") -> Applied:
    """
    Say it, and return what became of it.

    Raises:
        NotFound: When there is no such run.
        TooLarge, TooManyTags: When the run would hold more than it may; nothing was changed then.
    """
    call.services.quotas.check_changes(call.environment)
    applied = await call.services.writer.apply(call.environment, made, once=once)
    call.services.counters.changes_written[applied.outcome.value] += 1
    if applied.outcome is Outcome.MISSING:
        raise NotFound(f"there is no run {made.run[:80]!r}")
    return applied


class _TagOrTags(Tags):
    """One tag, or a list of them."""

    def read(self, value: Any, where: str) -> Any:
        return super().read([value] if isinstance(value, str) else value, where)


_TAGS: Final = Object({"tags": Field(_TagOrTags(), "What to add.", required=True)}, open=True)


async def _tag(call: Call) -> Answer:
    made = change(call.path["id"], tags=call.body["tags"])
    applied = await write(call, made)
    message = "the tags were added" if applied.outcome is Outcome.APPLIED else "the run has these tags already"
    return json_answer(200, {"message": message})


async def _result(call: Call) -> Answer:
    row = await find_row(call, RESULT)
    return json_answer(200, result_of(row))


def _reply(description: str, schema: dict[str, Any] = _RUN) -> tuple[Reply, ...]:
    return (Reply(status=200, description=description, schema=schema),)


_RETRIEVE: Final = Operation(
    id="triggerdevRetrieveRun",
    method="GET",
    summary="Read a run",
    allow=_may_retrieve,
    handle=_retrieve,
    path=(RUN_PATH,),
    replies=_reply("The run."),
)
_CANCEL: Final = Operation(
    id="triggerdevCancelRun",
    method="POST",
    summary="Ask a run's job to stop",
    allow=_may_cancel,
    handle=_cancel,
    path=(RUN_PATH,),
    replies=_reply("The job was asked, or has ended."),
)
_ADD_TAGS: Final = Operation(
    id="triggerdevAddTags",
    method="POST",
    summary="Put tags on a run",
    allow=secret_key_only,
    handle=_tag,
    path=(RUN_PATH,),
    body=_TAGS,
    replies=_reply("They are on it."),
)
_READ_RESULT: Final = Operation(
    id="triggerdevResult",
    method="GET",
    summary="Read how a run ended",
    allow=secret_key_only,
    handle=_result,
    path=(RUN_PATH,),
    replies=_reply("Its output or error."),
)


def routes(services: Services) -> list[ApiRoute]:
    """What is asked and said of one run."""
    return mount(
        services,
        [
            ("/api/v3/runs/{id}", _RETRIEVE),
            ("/api/v2/runs/{id}/cancel", _CANCEL),
            ("/api/v1/runs/{id}/tags", _ADD_TAGS),
            ("/api/v1/runs/{id}/result", _READ_RESULT),
        ],
        TRIGGERDEV,
    )
