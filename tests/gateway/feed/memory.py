"""A store in memory that behaves as Redis does, and can be stopped at every step; and a hub that hears it."""

from __future__ import annotations

import asyncio
import bisect
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from gateway.codec import Row
from gateway.cursors import History
from gateway.errors import Unavailable
from gateway.feed.hub import Hub
from gateway.feeds import EnvironmentId, RunId
from gateway.store.pages import Page, Place
from tests.doubles import PATIENCE_SECONDS, Watcher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.feed.connection import Connection
    from gateway.feed.view import View
    from gateway.feeds import FeedId

ENVIRONMENT = EnvironmentId("env_memory")
#: Runs are created at this moment unless a test says otherwise (ms since 1970).
CREATED = 1_760_000_000_000
FINAL_RAW = "COMPLETED_SUCCESSFULLY"


@dataclass
class _Run:
    sequence: int
    created: int
    columns: dict[str, Any]
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)


class MemoryStore:
    """
    Runs and their order. What a change publishes is kept in `published` until the network takes it.

    `at` is called before and after each answer is worked out, with the name of the step.
    """

    def __init__(self, *, page_rows: int = 100) -> None:
        self.epoch, self.sequence = "e1", 100
        self.past: tuple[tuple[str, int], ...] = ()
        self.runs: dict[str, _Run] = {}
        self.published: list[tuple[str, bytes]] = []
        self.reads: list[str] = []
        self.away = False
        self.at: Callable[[str], Awaitable[None]] | None = None
        self._page_rows = page_rows

    def change(
        self,
        run: str = "run_1",
        *,
        status: str | None = None,
        attempt: int = 1,
        tags: Sequence[str] = (),
        created: int = CREATED,
        metadata: dict[str, Any] | None = None,
        left_out: Sequence[str] = (),
        **columns: Any,
    ) -> int:
        """Store a change and publish it to the channels of its feeds, as apply_changes.lua does. Returns its number."""
        self.sequence += 1
        before = self.runs.get(run)
        now = before or _Run(0, created, {"taskIdentifier": "resize", "createdAt": created, "status": "PENDING"})
        if before is None and status is None:
            status = "PENDING"
        entered = [tag for tag in tags if tag not in now.tags]
        now.sequence, now.tags = self.sequence, (*now.tags, *entered)
        changed: dict[str, Any] = {**columns, "updatedAt": CREATED + self.sequence, "attempt": attempt}
        fields: dict[str, Any] = {"s": self.sequence, "e": self.epoch, "r": run, "b": now.created, "g": list(now.tags)}
        if status is not None:
            changed["status"] = status
            fields["t"] = [self.sequence, status, CREATED + self.sequence, attempt]
            now.columns["transitions"] = [*now.columns.get("transitions", []), fields["t"]]
        now.columns |= changed
        now.metadata |= metadata or {}
        self.runs[run] = now
        if before is None or entered:
            fields |= {"w": True, "c": now.columns, "m": now.metadata}
        else:
            fields |= {"c": changed, "m": metadata or {}}
        if left_out:
            fields["l"] = dict.fromkeys(left_out, 9999)
            fields["c"] = {name: value for name, value in fields["c"].items() if name not in left_out}
        payload = json.dumps(fields).encode()
        feeds = [f"run:{run}", "all", "task:resize", *(f"tag:{tag}" for tag in now.tags)]
        self.published += [(f"runcast:{{{ENVIRONMENT}}}:changes:{feed}", payload) for feed in feeds]
        return self.sequence

    def restart(self, *, losing: int = 0) -> None:
        """A new epoch; the last changes may be lost (of runs that no test looks at again)."""
        self.sequence -= losing
        self.past = ((self.epoch, self.sequence), *self.past)
        self.epoch = f"e{int(self.epoch[1:]) + 1}"

    async def _step(self, name: str) -> None:
        if self.away:
            raise Unavailable
        if self.at is not None:
            await self.at(name)

    async def place(self, environment: EnvironmentId, feed: FeedId, *, limit: int, since: int) -> Place:
        self.reads.append("place")
        await self._step("before place")
        rows = [] if feed.kind == "run" else self._rows(feed, since)
        start = rows[-limit - 1][1].sequence if len(rows) > limit else 0
        place = Place(History(self.epoch, self.sequence, self.past), start, len(rows) > limit)
        await self._step("after place")
        return place

    async def read_page(
        self,
        environment: EnvironmentId,
        feed: FeedId,
        epoch: str,
        *,
        after: int,
        since: int,
        columns: Sequence[str],
        metadata: bool,
    ) -> Page:
        self.reads.append("page")
        await self._step("before page")
        rows = self._rows(feed, since)
        rows = rows[bisect.bisect_right(rows, after, key=lambda entry: entry[1].sequence) :]
        some, complete = rows[: self._page_rows], len(rows) <= self._page_rows
        page = Page(
            self.epoch,
            self.sequence if complete else some[-1][1].sequence,
            complete,
            [_row(name, run, columns, metadata=metadata) for name, run in some],
        )
        await self._step("after page")
        return page if page.epoch == epoch else Page(page.epoch, 0, complete=False, rows=[])

    def _rows(self, feed: FeedId, since: int) -> list[tuple[str, _Run]]:
        def holds(name: str, run: _Run) -> bool:
            match feed.kind:
                case "run":
                    return name == feed.names[0]
                case "tag":
                    return run.created >= since and set(feed.names) <= set(run.tags)
                case _:
                    return run.created >= since

        return sorted(
            ((name, run) for name, run in self.runs.items() if holds(name, run)), key=lambda entry: entry[1].sequence
        )

    async def canary(self, environment: EnvironmentId, channel: str, text: str, *, sweep: int) -> None:
        await self._step("canary")
        if channel:
            self.published.append((channel, f"{text} {self.epoch} {self.sequence}".encode()))


def _row(name: str, run: _Run, columns: Sequence[str], *, metadata: bool) -> Row:
    texts = {name: json.dumps(run.columns[name]).encode() for name in columns if name in run.columns}
    document = {key.encode(): json.dumps(value).encode() for key, value in run.metadata.items()} if metadata else {}
    return Row(RunId(name), run.sequence, texts, document)


class NoAudience:
    """A hub that nobody needs: what a connection reports is kept as (what, connection)."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, Connection]] = []

    def fell_behind(self, connection: Connection) -> None:
        self.reports.append(("fell behind", connection))
        for follower in connection.followers.values():
            follower.group.fell_behind(follower)

    def drained(self, connection: Connection) -> None:
        self.reports.append(("drained", connection))
        for follower in connection.followers.values():
            follower.group.drained(follower)

    def gathered(self, connection: Connection) -> None:
        self.reports.append(("gathered", connection))

    def caught_up(self, connection: Connection) -> None:
        self.reports.append(("caught up", connection))


class _Wire:
    """A connection to nowhere."""

    def ask(self, *words: bytes) -> None: ...


class MemoryGateway:
    """
    A hub whose subscription is this object.

    It delivers what the store published when it is told to, and only on channels that are joined.
    """

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.hub = Hub(store, "redis://127.0.0.1:1/0", [], heartbeat_seconds=3600)
        self.hub._subscription._connection = cast("Any", _Wire())
        self.watchers: list[Watcher] = []
        self.joined: set[str] = set()

    def watch(self, *views: View, joined: bool = True, limit: int = 1000) -> Watcher:
        watcher = Watcher(self.hub, ENVIRONMENT, *views, limit=limit).connect()
        self.watchers.append(watcher)
        if joined:
            self.join()
        return watcher

    def join(self) -> None:
        """Redis answers: from now on every channel is heard."""
        for name, channel in self.hub._channels.items():
            if not channel.joined.is_set():
                self.joined.add(name.decode())
                self.hub.joined(name)

    def lose(self) -> None:
        """The subscription breaks."""
        self.joined.clear()
        self.store.published.clear()
        self.hub.lost()

    def deliver(self) -> None:
        """What was published arrives, in order, in one piece of the socket."""
        published, self.store.published = self.store.published, []
        for channel, payload in published:
            if channel in self.joined:
                self.hub.heard(channel.encode(), payload)
        self.hub.turn_ended()

    def change(self, run: str = "run_1", **said: Any) -> int:
        """A change that is heard at once."""
        number = self.store.change(run, **said)
        self.deliver()
        return number

    async def calm(self) -> None:
        """Wait until nobody catches up."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.hub._waves:
                await asyncio.sleep(0)
        for watcher in self.watchers:
            watcher.look()

    async def close(self) -> None:
        for watcher in self.watchers:
            watcher.disconnect()
        assert not self.hub._channels
        while tasks := [task for task in asyncio.all_tasks() if task.get_name().startswith("catching up")]:
            await asyncio.wait(tasks)
