"""
`/api/v1/runs/:id/metadata`: a run's metadata, and what is done to it (Trigger.dev realtime protocol, section 5).

A worker sends its operations every second, those for its parent and root among them. Of each run all are applied at
once, in their order, or none. A request that is sent again is done once: the run knows the name of what was done.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from gateway.api.access import secret_key_only
from gateway.api.calls import Answer, Call, Operation, Reply, json_answer
from gateway.api.endpoint import mount
from gateway.api.forms import Document, Field, ListOf, Object, Tagged
from gateway.api.idempotency import once_name
from gateway.api.parts import OPERATION, RUN_PATH, operation
from gateway.changes import Operation as MetadataOperation
from gateway.changes import Operator, change
from gateway.codec import decode_json, public_metadata
from gateway.errors import BadInput, NotFound, RunEnded, TooLarge
from gateway.metadata import checked, merged
from gateway.runs import FINAL, METADATA
from gateway.triggerdev.access import find_row
from gateway.triggerdev.dialect import TRIGGERDEV
from gateway.triggerdev.runs import write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.api.endpoint import ApiRoute
    from gateway.codec import Row
    from gateway.transports.viewing import Services

_log = logging.getLogger("runcast.api")

#: Of a request: what a worker collects in a second, and no more than Redis applies without holding up others.
_MOST_OPERATIONS: Final = 20_000
_MOST_BYTES: Final = 2 * 1024 * 1024

_OPERATION: Final = Tagged(
    OPERATION.tag, {kind: Object(one.fields, open=True) for kind, one in OPERATION.objects.items()}
)
_OPERATIONS: Final = Field(ListOf(_OPERATION, most=_MOST_OPERATIONS), "What is done, in this order.")
_FLUSHED: Final = Object(
    {
        METADATA: Field(Document(), "The whole new metadata, when there are no `operations`."),
        "operations": _OPERATIONS,
        "parentOperations": _OPERATIONS,
        "rootOperations": _OPERATIONS,
    },
    open=True,
)
#: Field of the request → column that names the run that it is about.
_RELATED: Final = {"parentOperations": "parentRunId", "rootOperations": "rootRunId"}
_METADATA: Final = {
    "type": "object",
    "properties": {METADATA: {"type": "object"}},
    "required": [METADATA],
}


async def _read(call: Call) -> Answer:
    return _shown(await find_row(call, ("status",), metadata=True))


def _shown(row: Row) -> Answer:
    return json_answer(200, {METADATA: public_metadata(row.metadata.items())})


async def _flush(call: Call) -> Answer:
    row = await find_row(call, ("status", *_RELATED.values()))
    if row.status in FINAL:
        raise RunEnded("metadata of a run that has ended can't be changed")
    own, relatives = _targets(call.body, row)
    if own:
        await _apply(call, row.run, own)
    for run, operations in relatives.items():
        await _apply_to_relative(call, run, operations)
    return _shown(await find_row(call, ("status",), metadata=True))


def _targets(said: Mapping[str, Any], row: Row) -> tuple[list[MetadataOperation], dict[str, list[MetadataOperation]]]:
    """What is done to the run itself, and to each of its relatives: one that it does not have is the run itself."""
    own = [operation(one) for one in said.get("operations", ())]
    if "operations" not in said and METADATA in said:
        own.append(checked(MetadataOperation(Operator.UPDATE, "", said[METADATA])))
    relatives: dict[str, list[MetadataOperation]] = {}
    for name, column in _RELATED.items():
        text = row.columns.get(column)
        run = row.run if text is None else str(decode_json(text))
        target = own if run == row.run else relatives.setdefault(run, [])
        target += (operation(one) for one in said.get(name, ()))
    return own, {run: operations for run, operations in relatives.items() if operations}


async def _apply(call: Call, run: str, operations: list[MetadataOperation]) -> None:
    made = change(run, operations=merged(operations), limits=call.services.settings.limits)
    await write(call, made, once=once_name(call, run))


async def _apply_to_relative(call: Call, run: str, operations: list[MetadataOperation]) -> None:
    """
    As `_apply`. That a relative takes no more is told to nobody: what was asked of the run itself is done, and a worker
    that hears of an error keeps all of its operations, and sends them again with those of the next second.
    """
    try:
        await _apply(call, run, operations)
    except (BadInput, NotFound) as error:
        call.services.counters.refusals[error.code] += 1
        _log.warning("metadata of run %s, from one of its children: %s", run, error)


_READ: Final = Operation(
    id="triggerdevReadMetadata",
    method="GET",
    summary="Read a run's metadata",
    allow=secret_key_only,
    handle=_read,
    path=(RUN_PATH,),
    replies=(Reply(status=200, description="All of it.", schema=_METADATA),),
    errors=(NotFound,),
)
_FLUSH: Final = Operation(
    id="triggerdevChangeMetadata",
    method="PUT",
    summary="Change a run's metadata",
    allow=secret_key_only,
    handle=_flush,
    path=(RUN_PATH,),
    body=_FLUSHED,
    body_bytes=_MOST_BYTES,
    takes_key=True,
    replies=(Reply(status=200, description="All of it, as it is now.", schema=_METADATA),),
    errors=(NotFound, TooLarge, RunEnded),
)


def routes(services: Services) -> list[ApiRoute]:
    """Reading and changing."""
    path = "/api/v1/runs/{id}/metadata"
    return mount(services, [(path, _READ), (path, _FLUSH)], TRIGGERDEV)
