"""`/v1/runs`: create a run, read it, list runs (docs/http.md)."""

from __future__ import annotations

import contextlib
import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, urlencode

from gateway.api import access, idempotency
from gateway.api.calls import Answer, Call, Operation, Parameter, Reply, json_answer
from gateway.api.endpoint import mount
from gateway.api.forms import Document, Field, Flag, Json, ListOf, Moment, Number, Object, Text
from gateway.api.parts import (
    BATCH_ID,
    RUN_ID,
    RUN_PATH,
    SECONDS,
    SPAN_OR_SECONDS,
    STATUS,
    STATUSES,
    TAG,
    TASK,
    Since,
    Tags,
    words,
)
from gateway.api.replies import RUN
from gateway.changes import change
from gateway.codec import decode_json, public_run, raw_json
from gateway.errors import NotFound, TooLarge, TooManyTags
from gateway.feed.view import View
from gateway.feeds import ALL_RUNS, MAX_TAGS_PER_RUN, FeedId
from gateway.runs import COLUMNS, METADATA, PUBLIC_STATUS, Status, hidden_columns
from gateway.store.listing import Listing
from gateway.store.writing import Answer as Outcome
from gateway.tracing import COLUMN, traceparent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.api.endpoint import ApiRoute
    from gateway.changes import Change
    from gateway.codec import Row
    from gateway.transports.viewing import Services

DEFAULT_LIST: Final = 50
MOST_LISTED: Final = 100
JSON_TYPE: Final = "application/json"
#: A number that a list has given out.
_PLACE: Final = Text(pattern="^[1-9][0-9]{0,14}$", words="the `next` of a page, as it came")
_SKIPPABLE: Final = tuple(sorted({column.public for column in COLUMNS.values()} | {METADATA} | set(COLUMNS)))

#: What a run can be created with, and is known to be from then on.
ORIGIN: Final = {
    "batchId": Field(BATCH_ID, "The batch that the run belongs to."),
    "parentRunId": Field(RUN_ID, "The run that started this one."),
    "rootRunId": Field(RUN_ID, "The run that all began with."),
}
TAGS_FIELD: Final = Field(Tags(), f"Up to {MAX_TAGS_PER_RUN} tags.")
LEASE_FIELD: Final = Field(SECONDS, "The worker lives. When nothing is heard of it for so long, the run is CRASHED.")
CONTEXT_FIELD: Final = Field(Document(), "What the job knows of itself.")

CREATE: Final = Object(
    {
        "taskIdentifier": Field(TASK, "The task that runs.", required=True),
        "id": Field(RUN_ID, "The run's id; by default one is made. The same id again is the same run."),
        "payload": Field(Json(), "What the task is given: any JSON."),
        "tags": TAGS_FIELD,
        **ORIGIN,
        "metadata": Field(Document(), "The metadata that the run begins with."),
        "delayedUntil": Field(Moment(), "Not to be started before; the run is DELAYED until then."),
        "ttl": Field(SPAN_OR_SECONDS, "When it has not started by then, the run is EXPIRED."),
        "maxDurationSeconds": Field(SECONDS, "When it takes longer, the run is TIMED_OUT."),
        "leaseSeconds": LEASE_FIELD,
        "idempotencyKey": Field(
            Text(least=1, most=255), "Creating with the same task and key again gives the same run."
        ),
        "isTest": Field(Flag(), "Whether it is a test."),
        "number": Field(Number(), "Counts the runs of a task, say."),
        "status": Field(STATUS, "By default QUEUED, or DELAYED."),
        "context": CONTEXT_FIELD,
    },
    name="NewRun",
    example={"taskIdentifier": "export", "payload": {"rows": 1000}, "tags": ["customer:7"]},
)

SKIP: Final = Parameter(
    name="skipColumns",
    form=words(_SKIPPABLE),
    description="Columns to leave out: repeated, or a comma list.",
)
_LIST_SCHEMA: Final = {
    "type": "object",
    "properties": {
        "runs": {"type": "array", "items": RUN},
        "next": {"type": ["string", "null"], "description": "`after` of the next page; null when there is none."},
    },
    "required": ["runs", "next"],
}


async def _may_create(call: Call) -> None:
    call.found["id"] = _id_of(call)
    await access.check_create(call, call.found["id"], call.body)


def _id_of(call: Call) -> str:
    """The id that the call asks for; else one that follows from its idempotency keys, if it has any."""
    said = call.body
    if "id" in said:
        return str(said["id"])
    if "idempotencyKey" in said:
        return "run_" + idempotency.letters_of(call.environment, said["taskIdentifier"], said["idempotencyKey"])
    return "run_" + idempotency.derived_id(call, "run")


async def _create(call: Call) -> Answer:
    run = call.found["id"]
    call.services.quotas.check_changes(call.environment)
    applied = await call.services.writer.apply(call.environment, creation(run, call.body, call))
    call.services.counters.changes_written[applied.outcome.value] += 1
    found = await find_run(call, run, await access.hidden_from(call, run))
    # It is new when the first thing ever said of it is what we said now.
    first: int = decode_json(found.row.columns["transitions"])[0][0]
    is_new = applied.outcome is Outcome.APPLIED and applied.sequence == first
    location = ("location", f"{call.root}/v1/runs/{quote(run, safe='')}")
    return Answer(201 if is_new else 200, found.body, (location, ("etag", found.etag)))


def creation(run: str, said: Mapping[str, Any], call: Call) -> Change:
    """The change that creates *run* as CREATE has checked it, or fills what is not known of it yet."""
    status = said.get("status")
    delayed = said.get("delayedUntil")
    if status is None and delayed is not None and delayed > time.time_ns() // 1_000_000:
        status = Status.DELAYED.value
    with naming_fields():
        return change(
            run,
            create=True,
            # Without a status a new run is QUEUED, and one that exists stays what it is.
            status=status,
            initial=_initial(said) | _trace(call),
            metadata=said.get("metadata"),
            tags=said.get("tags", ()),
            lease_seconds=said.get("leaseSeconds"),
            limits=call.services.settings.limits,
        )


def _trace(call: Call) -> dict[str, str]:
    found = traceparent(call.headers)
    return {} if found is None else {COLUMN: found}


#: Field of a request → column, where they differ.
_COLUMN: Final = {"delayedUntil": "delayUntil", "maxDurationSeconds": "maxDuration"}
_INITIAL: Final = (
    *("taskIdentifier", *ORIGIN, "payload", "delayedUntil", "ttl", "maxDurationSeconds", "idempotencyKey"),
    *("isTest", "number", "context"),
)


def _initial(said: Mapping[str, Any]) -> dict[str, Any]:
    columns = {_COLUMN.get(name, name): said[name] for name in _INITIAL if said.get(name) is not None}
    if "payload" in columns:
        columns["payloadType"] = JSON_TYPE
    if isinstance(columns.get("ttl"), (int, float)):
        columns["ttl"] = f"{columns['ttl']:.3f}".rstrip("0").rstrip(".")  # seconds need no unit
    return columns


def origin_of(said: Mapping[str, Any]) -> dict[str, Any]:
    """Where a run comes from, as far as a request says so."""
    return {name: said[name] for name in ("taskIdentifier", *ORIGIN) if name in said}


@contextlib.contextmanager
def naming_fields(field: str = "") -> Iterator[None]:
    """Names the field of the body that a value was in which is too large; by default it is called as the value is."""
    try:
        yield
    except TooLarge as error:
        error.field = field or f"/{error.what}"
        raise


@dataclass(frozen=True, slots=True)
class Found:
    """A run as it is now, and as somebody may see it."""

    row: Row
    hidden: frozenset[str]
    etag: str

    @property
    def body(self) -> bytes:
        return public_run(self.row, self.hidden)


async def find_run(call: Call, run: str, hidden: frozenset[str]) -> Found:
    """
    The run with this id in the call's environment.

    Raises:
        NotFound: When there is none.
        Unavailable: When it can't be read now.
    """
    view = View(FeedId.run(run), hidden)
    page = await call.services.store.read_page(
        call.environment,
        view.feed,
        "",
        after=0,
        since=0,
        columns=tuple(dict.fromkeys((*view.columns, "transitions"))),
        metadata=view.shows_metadata,
    )
    if not page.rows:
        raise NotFound(f"there is no run {run[:80]!r}")
    shown = hashlib.sha256(",".join(sorted(hidden)).encode()).hexdigest()[:8]
    return Found(page.rows[0], hidden, f'"{page.epoch}-{page.rows[0].sequence}-{shown}"')


async def _read(call: Call) -> Answer:
    wished = hidden_columns(call.query.get("skipColumns", []))
    hidden = wished if call.admitted.hidden is None else call.admitted.hidden
    found = await find_run(call, call.path["id"], hidden)
    headers = (("etag", found.etag), ("cache-control", "private, no-cache"))
    asked = [tag.strip().removeprefix("W/") for tag in call.headers.get("if-none-match", "").split(",")]
    if found.etag in asked or "*" in asked:
        return Answer(304, b"", headers)
    return Answer(200, found.body, headers)


async def _list(call: Call) -> Answer:
    query = call.query
    wished = hidden_columns(query.get("skipColumns", []))
    hidden = wished if call.admitted.hidden is None else call.admitted.hidden
    view = View(ALL_RUNS, hidden)
    asked = set(query.get("status", ()))
    page = await call.services.store.list_runs(
        call.environment,
        Listing(
            tags=tuple(dict.fromkeys(query.get("tag", ()))),
            tasks=(query["task"],) if "task" in query else (),
            batch=query.get("batch"),
            statuses=tuple(raw for raw, public in PUBLIC_STATUS.items() if public in asked),
            since=query.get("createdAfter", 0),
        ),
        before=query.get("after", ""),
        limit=query.get("limit", DEFAULT_LIST),
        columns=view.columns,
        metadata=view.shows_metadata,
    )
    runs = [raw_json(public_run(row, hidden)) for row in page.rows]
    following = [("link", f'<?{_next_query(call, page.next)}>; rel="next"')] if page.next else []
    return json_answer(200, {"runs": runs, "next": page.next or None}, *following)


def _next_query(call: Call, after: str) -> str:
    """The query of the next page, to be resolved against this one's address (RFC 8288, section 3.1)."""
    pairs = parse_qsl(call.scope["query_string"].decode("ascii"), keep_blank_values=True)
    return urlencode([*((name, value) for name, value in pairs if name != "after"), ("after", after)])


_ID_HEADERS: Final = {"Location": "The run's address.", "ETag": "Names this state of the run."}
_CREATE: Final = Operation(
    id="createRun",
    method="POST",
    summary="Create a run",
    description="A run that exists already stays as it is; only what was not known of it yet is filled in.",
    scopes="`write:runs`, `write:runs:ID` or `write:tasks:TASK`",
    allow=_may_create,
    handle=_create,
    body=CREATE,
    idempotent=True,
    replies=(
        Reply(status=201, description="The new run.", schema=RUN, headers=_ID_HEADERS),
        Reply(status=200, description="The run was there already.", schema=RUN, headers=_ID_HEADERS),
    ),
    errors=(TooManyTags,),
)
_READ: Final = Operation(
    id="readRun",
    method="GET",
    summary="Read a run",
    scopes="those of the feed `run:ID`: `read:runs`, `read:runs:ID`, or the task, a tag or the batch of the run",
    allow=access.may_read_run,
    handle=_read,
    path=(RUN_PATH,),
    query=(SKIP,),
    replies=(
        Reply(status=200, description="The run.", schema=RUN, headers={"ETag": "Names this state of the run."}),
        Reply(status=304, description="It is as `If-None-Match` says."),
    ),
    errors=(NotFound,),
)
_LIST: Final = Operation(
    id="listRuns",
    method="GET",
    summary="List runs, the newest first",
    description="Runs that meet every filter. Pages are stable: what is created meanwhile moves nothing. A page may "
    "be shorter than `limit`, even empty, though `next` says that more follow.",
    scopes="of any of the filters: `read:tags:TAG`, `read:tasks:TASK`, `read:batch:ID`; without one `read:runs`",
    allow=access.may_list,
    handle=_list,
    query=(
        Parameter(name="tag", form=ListOf(TAG, most=MAX_TAGS_PER_RUN), description="Runs with all of these tags."),
        Parameter(name="task", form=TASK, description="Runs of this task."),
        Parameter(name="batch", form=BATCH_ID, description="Runs of this batch."),
        Parameter(name="status", form=words(STATUSES), description="Any of these."),
        Parameter(name="createdAfter", form=Since(), description="A moment, or an age such as `1h` or `2d12h`."),
        Parameter(name="limit", form=Number(least=1, most=MOST_LISTED), description=f"Default {DEFAULT_LIST}."),
        Parameter(name="after", form=_PLACE, description="The `next` of the page before."),
        SKIP,
    ),
    replies=(
        Reply(
            status=200,
            description="A page.",
            schema=_LIST_SCHEMA,
            headers={"Link": 'The next page, `rel="next"`.'},
        ),
    ),
)


def routes(services: Services) -> list[ApiRoute]:
    """Creating, listing, reading."""
    return mount(services, [("/v1/runs", _CREATE), ("/v1/runs", _LIST), ("/v1/runs/{id}", _READ)])
