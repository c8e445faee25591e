"""Batches: how one stands, and its results (Trigger.dev realtime protocol, sections 1.1 and 1.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from auth import Resource
from gateway.api.access import secret_key_only
from gateway.api.batches import rows_of
from gateway.api.calls import Answer, Call, Operation, Parameter, Reply, json_answer
from gateway.api.endpoint import mount
from gateway.api.parts import BATCH_ID
from gateway.codec import decode_json, rfc3339
from gateway.errors import NotFound, NotFoundYet, TooLarge
from gateway.runs import FINAL, Status
from gateway.store.listing import Listing
from gateway.triggerdev.access import read_row, require
from gateway.triggerdev.dialect import TRIGGERDEV
from gateway.triggerdev.results import RESULT, result_of

if TYPE_CHECKING:
    from gateway.api.endpoint import ApiRoute
    from gateway.codec import Row
    from gateway.transports.viewing import Services

_COLUMNS: Final = ("status", "createdAt", "updatedAt", "completedAt")
_WAITING: Final = frozenset({Status.DELAYED, Status.PENDING_VERSION, Status.QUEUED})
#: Of all results of a batch together. A batch of theirs has a thousand runs at most.
_MOST_BYTES: Final = 32 * 1024 * 1024
_PATH: Final = Parameter(name="id", form=BATCH_ID, description="The batch's id.", required=True)


async def _may_retrieve(call: Call) -> None:
    batch = call.path["id"]
    any_run = await call.services.store.list_runs(
        call.environment, Listing(batch=batch), limit=1, columns=("status",), metadata=False
    )
    if not any_run.rows:
        # A batch is its runs, and they may be on their way.
        raise NotFoundYet(f"there is no batch {batch[:80]!r}")
    require(call, "read", f"batch:{batch}", [Resource("batch", batch), Resource("runs")])


async def _retrieve(call: Call) -> Answer:
    rows, _ = await rows_of(call, call.path["id"], _COLUMNS)
    if not rows:
        raise NotFoundYet(f"there is no batch {call.path['id'][:80]!r}")
    processing: dict[str, Any] = {"errors": []}
    status = _status(rows)
    if status == "COMPLETED":
        processing["completedAt"] = rfc3339(max(_moment(row, "completedAt") for row in rows))
    message = {
        "id": call.path["id"],
        "status": status,
        "createdAt": rfc3339(min(_moment(row, "createdAt") for row in rows)),
        "updatedAt": rfc3339(max(_moment(row, "updatedAt") for row in rows)),
        "runCount": len(rows),
        "runs": [row.run for row in reversed(rows)],  # as they were created
        "processing": processing,
    }
    return json_answer(200, message)


def _status(rows: list[Row]) -> str:
    """How a batch stands. It is its runs: those that could not be created are not known, so it never fails in part."""
    if all(row.status in FINAL for row in rows):
        return "COMPLETED"
    return "PENDING" if all(row.status in _WAITING for row in rows) else "PROCESSING"


def _moment(row: Row, column: str) -> int:
    moment: int = decode_json(row.columns.get(column, row.columns["updatedAt"]))
    return moment


async def _results(call: Call) -> Answer:
    batch = call.path["id"]
    rows, _ = await rows_of(call, batch, ("status",))
    if not rows:
        raise NotFound(f"there is no batch {batch[:80]!r}")
    items, size = [], 0
    for row in reversed(rows):
        ended = await read_row(call, row.run, RESULT) if row.status in FINAL else None
        if ended is None or ended.status not in FINAL:
            continue
        size += sum(map(len, ended.columns.values()))
        if size > _MOST_BYTES:
            raise TooLarge("the results of this batch together; ask run by run", size=size, limit=_MOST_BYTES)
        items.append(result_of(ended))
    return json_answer(200, {"id": batch, "items": items})


_BATCH: Final = Operation(
    id="triggerdevRetrieveBatch",
    method="GET",
    summary="Read a batch",
    allow=_may_retrieve,
    handle=_retrieve,
    path=(_PATH,),
    replies=(Reply(status=200, description="The batch.", schema={"type": "object"}),),
)
_RESULTS: Final = Operation(
    id="triggerdevBatchResults",
    method="GET",
    summary="Read how the runs of a batch ended",
    allow=secret_key_only,
    handle=_results,
    path=(_PATH,),
    replies=(Reply(status=200, description="The results of those that have.", schema={"type": "object"}),),
)


def routes(services: Services) -> list[ApiRoute]:
    """How a batch stands, and its results."""
    return mount(services, [("/api/v2/batches/{id}", _BATCH), ("/api/v1/batches/{id}/results", _RESULTS)], TRIGGERDEV)
