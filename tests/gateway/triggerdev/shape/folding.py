"""A client of a shape feed that believes what the protocol says, and holds answers against what it was told before."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlencode

from tests.gateway.triggerdev.shape.visiting import AskedVisit

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message

    from gateway.transports.desk import FrontDesk

Row: TypeAlias = dict[str, "str | None"]


@dataclass(frozen=True)
class Answer:
    """One answer: status, headers by lower-case name, and its JSON."""

    status: int
    headers: dict[str, str]
    body: Any


async def ask(
    app: ASGIApp,
    path: str,
    query: dict[str, str],
    token: str,
    gone: asyncio.Event | None = None,
    desk: FrontDesk | None = None,
) -> Answer:
    """
    One request to an ASGI app, without a network. When *gone* is set it hangs up, and raises EOFError.

    With a *desk* it is shown to that first, as our own server does.
    """
    leaves = gone or asyncio.Event()
    # The clients sort by name.
    raw, asking = urlencode(sorted(query.items())).encode(), [(b"authorization", b"Bearer " + token.encode())]
    told = None if desk is None else await AskedVisit(path, raw, asking).at(desk, leaves)
    if told is not None:
        lines = [line.split(": ", 1) for line in told[0].decode().split("\r\n")[:-1]]
        return Answer(200, dict(lines), json.loads(told[1]))
    sent: list[Message] = []
    asked = False

    async def receive() -> Message:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await leaves.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": raw,
        "headers": asking,
    }
    await app(scope, receive, send)
    if not sent:
        raise EOFError
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    assert int(headers["content-length"]) == len(sent[1]["body"])
    return Answer(sent[0]["status"], headers, json.loads(sent[1]["body"]))


@dataclass
class FoldingClient:
    """One stream of a feed, as the official clients keep it: rows by key, and where it stands."""

    app: ASGIApp
    path: str
    query: dict[str, str]
    token: str
    #: Where it is shown first, if it is.
    desk: FrontDesk | None = None
    rows: dict[str, Row] = field(default_factory=dict)
    handle: str = ""
    offset: str = "-1"
    cursor: str = ""
    schema: set[str] = field(default_factory=set)
    up_to_date: bool = False
    #: Handles that were refused. None may ever come again.
    refused: set[str] = field(default_factory=set)
    statuses: list[int] = field(default_factory=list)
    #: Rows that were sent whole, and parts of rows.
    inserts: int = 0
    updates: int = 0

    @property
    def begins(self) -> bool:
        return self.offset == "-1"

    async def poll(self, *, live: bool = False) -> Answer:
        """Ask once, and take what comes."""
        live = live and self.up_to_date and not self.begins
        answer = await self.ask(live=live)
        self.take(answer, live=live)
        return answer

    async def ask(self, *, live: bool = False, gone: asyncio.Event | None = None) -> Answer:
        """Ask, and forget the answer. When *gone* is set it hangs up (EOFError)."""
        query = {**self.query, "offset": self.offset, "log": "full"}
        if self.handle:
            query["handle"] = self.handle
        if live:
            query |= {"live": "true", "cursor": self.cursor}
        return await ask(self.app, self.path, query, self.token, gone, self.desk)

    def take(self, answer: Answer, *, live: bool) -> None:
        """Fold one answer into what it has."""
        self.statuses.append(answer.status)
        headers = answer.headers
        if answer.status == 409:
            assert not self.begins, "a client that begins has nothing to be refused"
            assert answer.body == [{"headers": {"control": "must-refetch"}}]
            self.refused.add(self.handle)
            assert headers["electric-handle"] not in self.refused
            self.rows.clear()
            self.handle, self.offset, self.cursor = headers["electric-handle"], "-1", ""
            self.up_to_date = False
            return
        if answer.status == 404:
            assert self.begins, "what was there once is not answered with a 404"
            return
        if answer.status == 503:
            return
        assert answer.status == 200, answer
        assert headers["electric-handle"] not in self.refused
        before = self._number()
        self.up_to_date = bool(answer.body) and answer.body[-1] == {"headers": {"control": "up-to-date"}}
        assert ("electric-up-to-date" in headers) == self.up_to_date
        if live:
            assert headers["electric-cursor"] != self.cursor
            self.cursor = headers["electric-cursor"]
        else:
            assert "electric-cursor" not in headers
            self.schema = set(json.loads(headers["electric-schema"]))
        self.handle, self.offset = headers["electric-handle"], headers["electric-offset"]
        assert self._number() >= before, f"{answer} goes back"
        assert self.up_to_date or self._number() > before, f"{answer} leads nowhere"
        for message in answer.body:
            if "key" in message:
                self._change(message)

    def _number(self) -> int:
        return int(self.offset.split("_")[0])

    def _change(self, message: dict[str, Any]) -> None:
        value, operation = message["value"], message["headers"]["operation"]
        run = value["id"]
        assert message["key"] == f'"public"."TaskRun"/"{run}"'
        assert all(text is None or isinstance(text, str) for text in value.values()), value
        assert value.keys() <= self.schema, value.keys() - self.schema
        known = self.rows.get(run)
        if operation == "insert":
            assert value.keys() == self.schema, f"not all of a row: {value}"
            now = value
            self.inserts += 1
        else:
            assert operation == "update"
            assert known is not None, f"a part of a run that was never told whole: {message}"
            now = {**known, **value}
            self.updates += 1
        assert known is None or now["updatedAt"] >= known["updatedAt"], f"{message} is older than {known}"
        self.rows[run] = now
