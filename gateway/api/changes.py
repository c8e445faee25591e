"""What can be said of a run that exists: its state, metadata, tags, and that it shall stop (docs/http.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.api import access, idempotency
from gateway.api.calls import Answer, Call, Operation, Reply, json_answer
from gateway.api.endpoint import mount
from gateway.api.forms import Document, Field, Json, ListOf, Number, Object, Text
from gateway.api.parts import ERROR, OPERATION, PROGRESS, RUN_PATH, STATUS, TASK, Tags, error_column, operation
from gateway.api.replies import RUN
from gateway.api.runs import (
    CONTEXT_FIELD,
    JSON_TYPE,
    LEASE_FIELD,
    find_run,
    naming_fields,
    origin_of,
)
from gateway.changes import Operation as MetadataOperation
from gateway.changes import Operator, cancel_request, change
from gateway.codec import decode_json, encode_json, public_metadata, raw_json
from gateway.errors import NotAllowed, NotFound, TooLarge, TooManyTags
from gateway.metadata import progress_value
from gateway.runs import FINAL, METADATA, Status
from gateway.store.writing import Answer as Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.api.endpoint import ApiRoute
    from gateway.changes import Change, Limits
    from gateway.store.writing import Applied
    from gateway.transports.viewing import Services

_MOST_OPERATIONS: Final = 1_000
_COST: Final = Number(least=0, fraction=True)

UPDATE: Final = Object(
    {
        "status": Field(STATUS, "A later status, or the same. One that comes too late is `stale`, and no error."),
        "attempt": Field(Number(least=1, most=1_000_000), "A higher one than the run's opens it again."),
        "output": Field(Json(), "What the task gave back: any JSON."),
        "error": Field(ERROR, "Why it failed. What had an error and is then COMPLETED has none any more."),
        "metadata": Field(Document(), "Top-level keys to set; null deletes one. The others stay."),
        "progress": Field(PROGRESS, "Sets the metadata key `progress`."),
        "tags": Field(Tags(), "To be put on the run, up to ten in all."),
        "context": CONTEXT_FIELD,
        "leaseSeconds": LEASE_FIELD,
        "durationMs": Field(_COST, "How long it took, when that is not the time since it started."),
        "costInCents": Field(_COST, "What it cost."),
        "baseCostInCents": Field(_COST, "What invoking it cost."),
        "taskIdentifier": Field(TASK, "When given, the run is created if it does not exist."),
    },
    name="RunUpdate",
    example={"status": "EXECUTING", "progress": {"current": 3, "total": 10}},
    least=1,
)


async def _may_update(call: Call) -> None:
    if "taskIdentifier" in call.body:
        await access.check_create(call, call.path["id"], call.body)
    else:
        await access.may_write_run(call)


async def _update(call: Call) -> Answer:
    run = call.path["id"]
    applied = await _apply(call, _update_of(run, call.body, call), metadata_field="/metadata")
    found = await find_run(call, run, await access.hidden_from(call, run))
    headers = (("etag", found.etag),)
    return json_answer(200, {"outcome": applied.outcome.value, "run": raw_json(found.body)}, *headers)


_COLUMNS: Final = {"output": "output", "context": "context", "durationMs": "usageDurationMs"} | {
    name: name for name in ("costInCents", "baseCostInCents")
}


def _update_of(run: str, said: Mapping[str, Any], call: Call) -> Change:
    columns = {column: said[name] for name, column in _COLUMNS.items() if name in said}
    if "output" in said:
        columns["outputType"] = None if said["output"] is None else JSON_TYPE
    if "error" in said:
        columns["error"] = error_column(said["error"])
    elif said.get("status") in (Status.COMPLETED, "COMPLETED_SUCCESSFULLY"):
        columns["error"] = None
    with naming_fields():
        return change(
            run,
            create="taskIdentifier" in said,
            attempt=said.get("attempt"),
            status=said.get("status"),
            columns=columns,
            initial=origin_of(said),
            tags=said.get("tags", ()),
            operations=_merging(said, call.services.settings.limits),
            lease_seconds=said.get("leaseSeconds"),
            limits=call.services.settings.limits,
        )


def _merging(said: Mapping[str, Any], limits: Limits) -> list[MetadataOperation]:
    """The operations that merge `metadata` into what there is, by top-level key, and set the progress."""
    operations = _read_operations(
        (
            {"type": "delete", "key": key} if value is None else {"type": "set", "key": key, "value": value}
            for key, value in said.get(METADATA, {}).items()
        ),
        limits,
    )
    if "progress" in said:
        progress = said["progress"]
        value = progress_value(progress["current"], progress.get("total"), progress.get("text"))
        operations.append(MetadataOperation(Operator.SET, "progress", value))
    return operations


def _read_operations(said: Iterable[Mapping[str, Any]], limits: Limits) -> list[MetadataOperation]:
    """
    Metadata operations, from what OPERATION has checked.

    Raises:
        TooLarge: When they name and set more than metadata may be. A million of them, or one that sets as many keys,
            would hold up Redis for seconds before the script could say so.
    """
    operations, size = [], 0
    for one in said:
        read = operation(one)
        size += len(read.key) + len(encode_json(read.value, what=METADATA))
        if size > limits.metadata_bytes:
            raise TooLarge(METADATA, size=size, limit=limits.metadata_bytes)
        operations.append(read)
    return operations


async def _apply(call: Call, made: Change, *, metadata_field: str) -> Applied:
    """
    Say it, and return what became of it.

    Raises:
        NotFound: When there is no such run.
        TooLarge, TooManyTags: When the run would hold more than it may; nothing was changed then.
    """
    call.services.quotas.check_changes(call.environment)
    try:
        applied = await call.services.writer.apply(call.environment, made, once=idempotency.once_name(call))
    except TooLarge as error:
        error.field = metadata_field
        raise
    except TooManyTags as error:
        error.field = "/tags"
        raise
    call.services.counters.changes_written[applied.outcome.value] += 1
    if applied.outcome is Outcome.MISSING:
        raise NotFound(f"there is no run {made.run[:80]!r}")
    return applied


_OPERATIONS: Final = ListOf(OPERATION, most=_MOST_OPERATIONS)
METADATA_OPERATIONS: Final = Object(
    {
        "operations": Field(_OPERATIONS, "What is done to the run's metadata, in this order."),
        "parentOperations": Field(_OPERATIONS, "As `operations`, for the run's parent; for itself if it has none."),
        "rootOperations": Field(_OPERATIONS, "As `operations`, for the run's root; for itself if it has none."),
    },
    name="MetadataOperations",
    example={"operations": [{"type": "increment", "key": "rows", "value": 100}]},
    least=1,
)
#: Field of the request → column that names the run that it is about.
_RELATED: Final = {"parentOperations": "parentRunId", "rootOperations": "rootRunId"}


async def _may_operate(call: Call) -> None:
    """A run's relatives are other runs: the same scope must cover them too."""
    run = call.path["id"]
    await access.check_write(call, run)
    call.found["targets"] = targets = {run: list(call.body.get("operations", ()))}
    wanted = [name for name in _RELATED if call.body.get(name)]
    if not wanted:
        return
    row = await call.services.store.read_row(call.environment, run, tuple(_RELATED.values()))
    for name in wanted:
        text = row.columns.get(_RELATED[name]) if row is not None else None
        target = run if text is None else str(decode_json(text))
        if target not in targets:
            await _check_relative(call, target, _RELATED[name])
        targets.setdefault(target, []).extend(call.body[name])


async def _check_relative(call: Call, target: str, column: str) -> None:
    """As `check_write`, of the run that *column* names; its id is not told to whoever may not see it."""
    try:
        await access.check_write(call, target)
    except NotAllowed:
        if column in await access.hidden_from(call, call.path["id"]):
            raise NotAllowed(f"the run's {column}", "write:runs") from None
        raise


async def _operate(call: Call) -> Answer:
    run = call.path["id"]
    limits, outcomes = call.services.settings.limits, {}
    with naming_fields("/operations"):
        targets = {target: _read_operations(said, limits) for target, said in call.found["targets"].items()}
    for target, operations in targets.items():
        made = change(target, operations=operations, limits=limits)
        outcomes[target] = (await _apply(call, made, metadata_field="/operations")).outcome.value
    hidden = await access.hidden_from(call, run)
    found = await find_run(call, run, hidden)
    answer: dict[str, Any] = {"outcome": outcomes[run]}
    if METADATA not in hidden:
        answer["metadata"] = public_metadata(found.row.metadata.items())
    return json_answer(200, answer)


async def _tag(call: Call) -> Answer:
    run = call.path["id"]
    made = change(run, tags=call.body["tags"], limits=call.services.settings.limits)
    await _apply(call, made, metadata_field="")
    hidden = await access.hidden_from(call, run)
    found = await find_run(call, run, hidden)
    if "runTags" in hidden:
        return json_answer(200, {})
    return json_answer(200, {"tags": raw_json(found.row.columns.get("runTags", b"[]"))})


async def _cancel(call: Call) -> Answer:
    run = call.path["id"]
    await _apply(call, cancel_request(run, (call.body or {}).get("reason")), metadata_field="")
    found = await find_run(call, run, await access.hidden_from(call, run))
    return Answer(200 if found.row.status in FINAL else 202, found.body)


_SCOPES: Final = "`write:runs`, `write:runs:ID`, or `write:` of the run's task, a tag or the batch"
_OUTCOME: Final = {
    "type": "string",
    "enum": ["applied", "unchanged", "stale"],
    "description": "What became of it. `stale`: a later status or attempt is known; that is no error.",
}
_UPDATE: Final = Operation(
    id="updateRun",
    method="PATCH",
    summary="Say what happened to a run",
    description="Whatever is left out stays as it is. A word that comes too late is answered with `stale`.",
    scopes=f"{_SCOPES}; with `taskIdentifier` as for creating",
    allow=_may_update,
    handle=_update,
    path=(RUN_PATH,),
    body=UPDATE,
    idempotent=True,
    replies=(
        Reply(
            status=200,
            description="What became of it, and the run as it is now.",
            schema={
                "type": "object",
                "properties": {"outcome": _OUTCOME, "run": RUN},
                "required": ["outcome", "run"],
            },
            headers={"ETag": "Names this state of the run."},
        ),
    ),
    errors=(NotFound, TooManyTags),
)
_METADATA: Final = Operation(
    id="changeMetadata",
    method="POST",
    summary="Change a run's metadata by operations",
    description="Applied where it is kept: two writers don't lose each other's. Of each run all of them, or none.",
    scopes=_SCOPES,
    allow=_may_operate,
    handle=_operate,
    path=(RUN_PATH,),
    body=METADATA_OPERATIONS,
    idempotent=True,
    replies=(
        Reply(
            status=200,
            description="What became of it, and the metadata as it is now (unless it is hidden from the token).",
            schema={
                "type": "object",
                "properties": {"outcome": _OUTCOME, "metadata": {"type": "object"}},
                "required": ["outcome"],
            },
        ),
    ),
    errors=(NotFound,),
)
_TAGS: Final = Operation(
    id="addTags",
    method="POST",
    summary="Put tags on a run",
    description="Up to ten in all; when these would be more, none is added.",
    scopes=_SCOPES,
    allow=access.may_write_run,
    handle=_tag,
    path=(RUN_PATH,),
    body=Object(
        {"tags": Field(Tags(least=1), "The tags to add.", required=True)},
        name="NewTags",
        example={"tags": ["customer:7"]},
    ),
    idempotent=True,
    replies=(
        Reply(
            status=200,
            description="All tags that the run has now (unless they are hidden from the token).",
            schema={"type": "object", "properties": {"tags": {"type": "array", "items": {"type": "string"}}}},
        ),
    ),
    errors=(NotFound, TooManyTags),
)
_CANCEL: Final = Operation(
    id="cancelRun",
    method="POST",
    summary="Ask a run's job to stop",
    description="Sets `cancelRequestedAt`, which the job can see and wait for. The run is CANCELED when the job says "
    "so. Who asks first is remembered.",
    scopes=_SCOPES,
    allow=access.may_write_run,
    handle=_cancel,
    path=(RUN_PATH,),
    body=Object(
        {"reason": Field(Text(least=1, most=1_000), "Why, for people.")},
        name="Cancellation",
        example={"reason": "no longer needed"},
    ),
    body_required=False,
    idempotent=True,
    replies=(
        Reply(status=202, description="The job was asked; the run as it is now.", schema=RUN),
        Reply(status=200, description="The run has ended already.", schema=RUN),
    ),
    errors=(NotFound,),
)


def routes(services: Services) -> list[ApiRoute]:
    """Everything that is said of one run."""
    run = "/v1/runs/{id}"
    return mount(
        services,
        [
            (run, _UPDATE),
            (f"{run}/metadata", _METADATA),
            (f"{run}/tags", _TAGS),
            (f"{run}/cancel", _CANCEL),
        ],
    )
