"""`GET /api/v1/runs`: runs by filters, in pages that go both ways (Trigger.dev realtime protocol, section 1.6)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from auth import Resource
from gateway.api.calls import Answer, Call, Operation, Parameter, Reply, json_answer
from gateway.api.endpoint import mount
from gateway.api.forms import Flag, ListOf, Moment, Number, Text, wrong
from gateway.api.parts import BATCH_ID, PUBLIC, TAG, TASK, Since
from gateway.errors import NotAllowed
from gateway.runs import METADATA, PUBLIC_STATUS
from gateway.store.listing import Listing
from gateway.triggerdev.dialect import TRIGGERDEV
from gateway.triggerdev.run_object import COMMON, common_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.api.endpoint import ApiRoute
    from gateway.api.forms import Schema
    from gateway.codec import Row
    from gateway.transports.viewing import Services

DEFAULT_SIZE: Final = 25
MOST_SIZE: Final = 100
#: One step looks at two thousand runs. With filters that few of more runs meet a page is short, and others follow.
_MOST_STEPS: Final = 10
#: Of the metadata on a page: with so much of it the page is short, too.
_MOST_BYTES: Final = 4 * 1024 * 1024
_MOST_NAMES: Final = 100

_SIZE, _AFTER, _BEFORE = "page[size]", "page[after]", "page[before]"
_STATUS, _TASK, _TAG, _BATCH = "filter[status]", "filter[taskIdentifier]", "filter[tag]", "filter[batch]"
_TEST, _FROM, _TO = "filter[isTest]", "filter[createdAt][from]", "filter[createdAt][to]"
_PERIOD, _ENV = "filter[createdAt][period]", "filter[env]"
#: Filters by what runs here don't have: to show all of them, or none, would both be taken for an answer.
_NOT_KEPT: Final = {
    "version": "versions",
    "queue": "queues",
    "machine": "machines",
    "region": "regions",
    "bulkAction": "bulk actions",
    "schedule": "schedules",
    "error": "error groups",
}
_RUNS_OR_TASKS: Final = (Resource("runs"), Resource("tasks"))


@dataclass(frozen=True, slots=True)
class _AnyOf(ListOf):
    """Some of these, by commas. The clients send an empty one for an empty list."""

    commas: bool = True
    most: int | None = _MOST_NAMES

    def parse(self, text: str, where: str) -> Any:
        return [self.item.parse(part, where) for part in text.split(",") if part]


@dataclass(frozen=True, slots=True)
class _NotKept:
    """A filter that can't be met, by what it is about."""

    what: str

    def read(self, value: Any, where: str) -> Any:
        return self.parse(str(value), where)

    def parse(self, text: str, where: str) -> Any:
        if text:
            raise wrong(where, f"runs here have no {self.what} to look for; leave it out")
        return None

    @property
    def schema(self) -> Schema:
        return {"type": "string", "maxLength": 0}


class _When(Moment):
    """A moment as these clients spell it: milliseconds, a date with a time, or a date alone, which begins in UTC."""

    def parse(self, text: str, where: str) -> Any:
        return super().parse(f"{text}T00:00:00Z" if _DATE.fullmatch(text) else text, where)


_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class _Cursor:
    """
    Where a page begins: the number of a run, and how many pages there were on the way.

    Their clients keep the cursor that led to a page when they turn round, and send it along: the later one counts.
    """

    step: int
    number: int

    def __str__(self) -> str:
        return f"{self.step}.{self.number}"

    @classmethod
    def parse(cls, text: str) -> _Cursor:
        step, _, number = text.partition(".")
        return cls(int(step), int(number))


_CURSOR: Final = Text(
    pattern=r"^[1-9][0-9]{0,8}\.[0-9]{1,15}$(?!\n)", words="a `next` or `previous` of a page, as it came"
)


async def _may_list(call: Call) -> None:
    grant = call.admitted.grant
    tasks = [Resource("tasks", task) for task in call.query.get(_TASK, ())]
    if not (grant.allows("read", _RUNS_OR_TASKS) or grant.allows_every("read", tasks)):
        needed = ", ".join(f"read:{resource}" for resource in _RUNS_OR_TASKS)
        each = f", or each of {', '.join(f'read:{task}' for task in tasks)}" if tasks else ""
        raise NotAllowed("this list", needed + each)


async def _list(call: Call) -> Answer:
    if call.query.get(_ENV) and call.environment not in call.query[_ENV]:
        return json_answer(200, {"data": [], "pagination": {}})
    page = await _read(call, _listing(call.query))
    hidden = call.admitted.hidden or frozenset()
    environment = {"id": call.environment, "name": call.environment}
    data = [{**common_fields(row, hidden), "env": environment} for row in page.rows]
    return json_answer(200, {"data": data, "pagination": page.pagination})


def _listing(query: Mapping[str, Any]) -> Listing:
    asked = set(query.get(_STATUS, ()))
    return Listing(
        any_tags=tuple(dict.fromkeys(query.get(_TAG, ()))),
        tasks=tuple(dict.fromkeys(query.get(_TASK, ()))),
        batch=query.get(_BATCH),
        statuses=tuple(raw for raw, public in PUBLIC_STATUS.items() if public in asked),
        since=max(query.get(_FROM, 0), query.get(_PERIOD, 0)),
        until=query.get(_TO, 0),
        is_test=query.get(_TEST),
    )


@dataclass(frozen=True, slots=True)
class _Page:
    """Runs, the newest first, and from where on there are older and newer ones; None where there are none."""

    rows: list[Row]
    older: int | None
    newer: int | None
    #: How many pages there were before it.
    step: int

    @property
    def pagination(self) -> dict[str, str]:
        places = {"next": self.older, "previous": self.newer}
        return {name: str(_Cursor(self.step + 1, place)) for name, place in places.items() if place is not None}


async def _read(call: Call, listing: Listing) -> _Page:
    """The page that the call asks for: full, unless there are no more, or too many that don't meet the filters."""
    size = call.query.get(_SIZE, DEFAULT_SIZE)
    after, before = (
        _Cursor.parse(call.query[name]) if name in call.query else _Cursor(0, 0) for name in (_AFTER, _BEFORE)
    )
    if after.step == before.step > 0:
        raise wrong(_BEFORE, f"can't be given together with {_AFTER} of the same page")
    if before > after:
        return await _newer_page(call, listing, before, size)
    return await _older_page(call, listing, after, size)


async def _older_page(call: Call, listing: Listing, start: _Cursor, size: int) -> _Page:
    place = str(start.number) if start.step else ""
    rows, numbers, rest = await _collect(call, listing, "before", place, size + 1)
    older = numbers[size - 1] if len(rows) > size else rest
    newer = (numbers[0] if numbers else max(0, start.number - 1)) if start.step else None
    return _Page(rows[:size], older, newer, start.step)


async def _newer_page(call: Call, listing: Listing, start: _Cursor, size: int) -> _Page:
    rows, numbers, rest = await _collect(call, listing, "after", str(start.number), size + 1)
    newer = numbers[-size] if len(rows) > size else rest
    return _Page(rows[-size:], numbers[-1] if numbers else start.number + 1, newer, start.step)


async def _collect(
    call: Call, listing: Listing, way: str, place: str, count: int
) -> tuple[list[Row], list[int], int | None]:
    """
    Up to *count* runs, the newest first, with their numbers; and where to go on when others may follow.

    Args:
        way: Whether those `before` *place* are wanted, or those `after` it.
    """
    hidden = call.admitted.hidden or frozenset()
    rows: list[Row] = []
    numbers: list[int] = []
    size = 0
    for _ in range(_MOST_STEPS):
        page = await call.services.store.list_runs(
            call.environment,
            listing,
            before=place if way == "before" else "",
            after=place if way == "after" else "",
            limit=count - len(rows),
            columns=COMMON,
            metadata=METADATA not in hidden,
        )
        found = [int(number) for number in page.numbers]
        if way == "before":
            rows, numbers = rows + page.rows, numbers + found
        else:
            rows, numbers = page.rows + rows, found + numbers
        if not page.next:
            return rows, numbers, None
        place = page.next
        size += sum(len(text) for row in page.rows for text in row.metadata.values())
        if len(rows) >= count or size > _MOST_BYTES:
            break
    return rows, numbers, int(place)


def _query(name: str, form: Any, description: str) -> Parameter:
    return Parameter(name=name, form=form, description=description)


_LIST: Final = Operation(
    id="triggerdevListRuns",
    method="GET",
    summary="List runs, the newest first",
    allow=_may_list,
    handle=_list,
    query=(
        _query(_SIZE, Number(least=1, most=MOST_SIZE), "How many."),
        _query(_AFTER, _CURSOR, "Those that are older."),
        _query(_BEFORE, _CURSOR, "Those that are newer."),
        _query(_STATUS, _AnyOf(PUBLIC), "Any of these."),
        _query(_TASK, _AnyOf(TASK), "Any of these."),
        _query(_TAG, _AnyOf(TAG), "With any of these."),
        _query(_BATCH, BATCH_ID, "Of this batch."),
        _query(_TEST, Flag(), "Only tests, or none."),
        _query(_FROM, _When(), "Created at or after this moment."),
        _query(_TO, _When(), "Created at or before this moment."),
        _query(_PERIOD, Since(), "Created within this age."),
        _query(_ENV, _AnyOf(Text(most=255)), "Of any of these environments; the caller's is the only one there is."),
        *(_query(f"filter[{name}]", _NotKept(what), "Not kept here.") for name, what in _NOT_KEPT.items()),
    ),
    replies=(Reply(status=200, description="A page.", schema={"type": "object"}),),
)


def routes(services: Services) -> list[ApiRoute]:
    """The list, also as one of a project: there is one here, whatever it is called."""
    return mount(services, [("/api/v1/runs", _LIST), ("/api/v1/projects/{ref}/runs", _LIST)], TRIGGERDEV)
