"""
A client of the shape protocol that does what the official ones do, and demands what they demand.

Every answer is held against the document (section numbers are those of electric-shape.md): whatever would end, freeze
or mislead a real client is an AssertionError here.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpx2

    from tests.conformance.rows import Row

UP_TO_DATE: Final = {"headers": {"control": "up-to-date"}}
MUST_REFETCH: Final = [{"headers": {"control": "must-refetch"}}]

#: Enough for a machine that does much else; what is asked for comes in milliseconds.
PATIENCE_SECONDS: Final = 10.0
#: A live poll that nothing happens to is held for about 20 s; 429 and 5xx are asked again after this.
_RETRY_SECONDS: Final = 0.1


@dataclass(frozen=True)
class Poll:
    """One answer, and how long it took."""

    status: int
    headers: httpx2.Headers
    body: bytes
    seconds: float
    live: bool

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def messages(self) -> list[dict[str, Any]]:
        found = self.json
        assert isinstance(found, list), found
        return found

    @property
    def changes(self) -> list[dict[str, Any]]:
        return [message for message in self.messages if "key" in message]

    @property
    def operations(self) -> list[str]:
        return [change["headers"]["operation"] for change in self.changes]

    @property
    def up_to_date(self) -> bool:
        return self.messages[-1:] == [UP_TO_DATE] or _is_up_to_date(self.messages[-1:])


def _is_up_to_date(last: list[dict[str, Any]]) -> bool:
    return bool(last) and last[0].get("headers", {}).get("control") == "up-to-date"


@dataclass
class ShapeClient:
    """Follows one feed. `rows` is what the user would be shown, by key, before parsing."""

    http: httpx2.AsyncClient
    path: str
    bearer: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    sent_headers: dict[str, str] = field(default_factory=dict)

    handle: str = ""
    offset: str = "-1"
    cursor: str = ""
    schema: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    #: Up to date: from now on polls are live.
    live: bool = False
    expired: str = ""
    polls: list[Poll] = field(default_factory=list)
    #: What subscribers were handed, one merged row for each key of each answer.
    emitted: list[Row] = field(default_factory=list)
    _touched: dict[str, None] = field(default_factory=dict)

    def query(self, **overriding: str) -> dict[str, str]:
        """The next request's parameters, as the client sorts them (section 2.1)."""
        ours = {"log": "full", "offset": self.offset}
        if self.handle:
            ours["handle"] = self.handle
        if self.live:
            ours |= {"live": "true", "cursor": self.cursor}
        if self.expired:
            ours["expired_handle"] = self.expired
        return dict(sorted({**self.parameters, **ours, **overriding}.items()))

    def first(self, **more: str) -> dict[str, str]:
        """The parameters of a first request."""
        return dict(sorted({**self.parameters, "log": "full", "offset": "-1", **more}.items()))

    async def get(self, query: Mapping[str, str] | None = None) -> Poll:
        """One request, the next one unless *query* says otherwise; nothing is taken over from the answer."""
        asked = self.query() if query is None else query
        headers = {"authorization": f"Bearer {self.bearer}", **self.sent_headers} if self.bearer else self.sent_headers
        began = time.monotonic()
        answer = await self.http.get(self.path, params=dict(asked), headers=headers)
        return Poll(answer.status_code, answer.headers, answer.content, time.monotonic() - began, "live" in asked)

    async def poll(self) -> Poll:
        """The next request, and what the client makes of its answer. A 409 throws it back to the start."""
        while True:
            answer = await self.get()
            if answer.status not in (429, 500, 502, 503, 504):
                break
            await asyncio.sleep(_RETRY_SECONDS)
        check_poll(answer)
        if answer.status == 409:
            self._start_over(answer.headers["electric-handle"])
        else:
            self._take(answer)
        self.polls.append(answer)
        return answer

    async def catch_up(self) -> ShapeClient:
        """Ask until it is up to date."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self.live:
                await self.poll()
        return self

    async def until(self, holds: Callable[[ShapeClient], object], *, seconds: float = PATIENCE_SECONDS) -> ShapeClient:
        """Go on polling until what it has *holds*."""
        async with asyncio.timeout(seconds):
            while not (self.live and holds(self)):
                await self.poll()
        return self

    @property
    def row(self) -> Row:
        """The only one."""
        (row,) = self.rows.values()
        return row

    def copy(self) -> ShapeClient:
        """Another one at the same place."""
        other = ShapeClient(self.http, self.path, self.bearer, self.parameters, dict(self.sent_headers))
        other.handle, other.offset, other.cursor, other.live = self.handle, self.offset, self.cursor, self.live
        other.schema, other.rows = dict(self.schema), {key: dict(row) for key, row in self.rows.items()}
        return other

    def _start_over(self, handle: str) -> None:
        assert handle != self.handle, "a 409 names another handle than the one it refuses"
        assert self.offset != "-1", "never 409 for offset=-1: the client would ask again for ever"
        self.expired, self.handle = self.handle, handle
        self.offset, self.cursor, self.live, self.schema = "-1", "", False, {}
        self.rows.clear()
        self._touched.clear()

    def _take(self, answer: Poll) -> None:
        if self.expired:
            assert answer.headers["electric-handle"] != self.expired, "an expired handle was issued again"
        self.handle, self.offset = answer.headers["electric-handle"], answer.headers["electric-offset"]
        self.cursor = answer.headers.get("electric-cursor") or self.cursor
        if not self.schema:
            self.schema = json.loads(answer.headers["electric-schema"])
        for change in answer.changes:
            self._fold(change)
        if answer.up_to_date:
            self.live = True
            self.emitted.extend(dict(self.rows[key]) for key in self._touched)
            self._touched.clear()

    def _fold(self, change: dict[str, Any]) -> None:
        key, value, operation = change["key"], change["value"], change["headers"]["operation"]
        unknown = value.keys() - self.schema.keys()
        assert not unknown, f"columns that the schema does not name: {unknown}"
        if operation == "insert":
            assert value.keys() == self.schema.keys(), "an insert is the full row"
            self.rows[key] = dict(value)
        elif operation == "update":
            assert key in self.rows, "an update before its insert would be taken for a whole row"
            assert "id" in value, "an update carries the primary key"
            self.rows[key].update(value)
        else:
            raise AssertionError(f"the official client ignores a {operation}")
        self._touched[key] = None


def check_poll(answer: Poll) -> None:
    """
    Whether a client can live with *answer*: sections 3.1, 3.2, 4, 10 and 11.

    Raises:
        AssertionError: When it can't.
    """
    assert answer.status in (200, 409), (answer.status, answer.body[:500])
    headers = answer.headers
    assert headers["content-type"].partition(";")[0] == "application/json"
    assert headers["cache-control"] == "no-store"
    assert int(headers["content-length"]) == len(answer.body) or "content-encoding" in headers
    assert not {"etag", "transfer-encoding"} & set(headers)
    assert headers["electric-handle"]
    if answer.status == 409:
        assert answer.json == MUST_REFETCH
        return
    assert headers["electric-offset"]
    if answer.live:
        assert headers["electric-cursor"], "required on every live answer"
    else:
        assert headers["electric-schema"].isascii(), "required on every other answer"
        assert json.loads(headers["electric-schema"])
        assert "electric-cursor" not in headers, "the newer client would drop an up-to-date"
    _check_messages(answer)


def _check_messages(answer: Poll) -> None:
    messages = answer.messages
    assert messages, "an empty answer makes a live client ask again at once"
    ends = [_is_up_to_date([message]) for message in messages]
    assert not any(ends[:-1]), "up-to-date counts only as the last element"
    if not answer.live or "electric-up-to-date" in answer.headers:
        assert ("electric-up-to-date" in answer.headers) == ends[-1]
    for change in answer.changes:
        assert change["headers"]["operation"] in ("insert", "update", "delete")
        wrong = {name: value for name, value in change["value"].items() if not isinstance(value, str | None)}
        assert not wrong, f"values are text or null, not {wrong}"
        digits = [change["headers"].get("lsn"), messages[-1]["headers"].get("global_last_seen_lsn")]
        assert all(number is None or str(number).isdecimal() for number in digits)


async def held(polling: asyncio.Task[Poll], seconds: float = 0.3) -> None:
    """Look for a moment, and see that *polling* is not answered: an answer without news would make a hot loop."""
    await asyncio.wait({polling}, timeout=seconds)
    assert not polling.done(), f"answered without holding: {polling.result()}"


def check_refused(poll: Poll, *statuses: int) -> None:
    """*poll* was answered with one of *statuses*, and a JSON object that says why."""
    assert poll.status in statuses, (poll.status, poll.body[:300])
    assert poll.headers["content-type"].startswith("application/json")
    assert isinstance(poll.json["error"], str)
