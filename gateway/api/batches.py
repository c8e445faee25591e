"""`GET /v1/batches/{id}`: how many runs a batch has, and how they stand (docs/http.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.api.calls import Answer, Call, Operation, Parameter, Reply, json_answer
from gateway.api.endpoint import mount
from gateway.api.parts import BATCH_ID, STATUSES
from gateway.codec import decode_json, rfc3339
from gateway.errors import NotFound
from gateway.feeds import FeedId
from gateway.runs import FINAL
from gateway.store.listing import Listing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.api.endpoint import ApiRoute
    from gateway.codec import Row
    from gateway.transports.viewing import Services

#: Of a larger batch the newest runs are counted, and the answer says so: it is read in steps, each a moment of Redis.
MOST_RUNS: Final = 10_000
_STEP: Final = 1_000
_COLUMNS: Final = ("status", "createdAt", "updatedAt")


async def _may_read(call: Call) -> None:
    await call.services.admission.check_feed(call.admitted, FeedId.batch(call.path["id"]))


async def _read(call: Call) -> Answer:
    batch = call.path["id"]
    rows, complete = await rows_of(call, batch, _COLUMNS)
    if not rows:
        raise NotFound(f"there is no batch {batch[:80]!r}")
    statuses: dict[str, int] = {}
    for row in rows:
        statuses[row.status.value] = statuses.get(row.status.value, 0) + 1
    message: dict[str, Any] = {
        "id": batch,
        "runCount": len(rows),
        "runs": [row.run for row in rows],
        "statuses": statuses,
        "createdAt": rfc3339(min(_moment(row, "createdAt") for row in rows)),
        "updatedAt": rfc3339(max(_moment(row, "updatedAt") for row in rows)),
        "isCompleted": complete and all(row.status in FINAL for row in rows),
        "truncated": not complete,
    }
    return json_answer(200, message)


async def rows_of(call: Call, batch: str, columns: Sequence[str]) -> tuple[list[Row], bool]:
    """The newest runs of the batch, up to the bound, the newest first; and whether these are all."""
    rows: list[Row] = []
    before = ""
    while len(rows) < MOST_RUNS:
        page = await call.services.store.list_runs(
            call.environment, Listing(batch=batch), before=before, limit=_STEP, columns=columns, metadata=False
        )
        rows += page.rows
        before = page.next
        if not before:
            return rows, True
    return rows, False


def _moment(row: Row, column: str) -> int:
    moment: int = decode_json(row.columns[column])
    return moment


_SCHEMA: Final = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "runCount": {"type": "integer", "description": "How many runs there are."},
        "runs": {"type": "array", "items": {"type": "string"}, "description": "Their ids, the newest first."},
        "statuses": {
            "type": "object",
            "description": "How many have each status.",
            "properties": {status: {"type": "integer"} for status in STATUSES},
        },
        "createdAt": {"type": "string", "format": "date-time"},
        "updatedAt": {"type": "string", "format": "date-time"},
        "isCompleted": {"type": "boolean", "description": "Whether every run has ended."},
        "truncated": {"type": "boolean", "description": f"Whether there are more than {MOST_RUNS:,} runs."},
    },
    "required": ["id", "runCount", "runs", "statuses", "createdAt", "updatedAt", "isCompleted", "truncated"],
}
_BATCH: Final = Operation(
    id="readBatch",
    method="GET",
    summary="Read a batch",
    description=f"Of a batch of more than {MOST_RUNS:,} runs about so many of the newest are counted, and `truncated` "
    "is true; `GET /v1/runs?batch=ID` has all of them, page by page.",
    tag="batches",
    scopes="`read:batch`, `read:batch:ID` or `read:runs`",
    allow=_may_read,
    handle=_read,
    path=(Parameter(name="id", form=BATCH_ID, description="The batch's id, percent-encoded.", required=True),),
    replies=(Reply(status=200, description="The batch.", schema=_SCHEMA),),
    errors=(NotFound,),
)


def routes(services: Services) -> list[ApiRoute]:
    """Reading a batch."""
    return mount(services, [("/v1/batches/{id}", _BATCH)])
