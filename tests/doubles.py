"""Fakes with behaviour: a viewer's socket that may be slow, and a viewer that believes what docs/protocol.md says."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from gateway.cursors import Cursor
from gateway.feed.connection import Connection
from gateway.runs import FINAL
from gateway.transports.framings import LINES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from gateway.feed.follower import Follower
    from gateway.feed.hub import Hub
    from gateway.feed.view import View
    from gateway.feeds import EnvironmentId, FeedId

#: Enough for a machine that does much else at the same time; nothing that works waits for it.
PATIENCE_SECONDS = 30.0


class RecordingSink:
    """
    Keeps what is written, one JSON message a line.

    Bytes arrive at once, until `stall` is called: then they stay unsent, the connection is told when they are more
    than the limit, and `drain` lets all of them arrive.
    """

    def __init__(self, limit: int = 1000) -> None:
        self.limit = limit
        self.connection: Connection | None = None
        self.writes: list[bytes] = []
        self.most_unsent = 0
        self._arrived = bytearray()
        self._unsent: list[bytes] = []
        self._stalled = self._full = False
        self._came = asyncio.Event()

    @property
    def unsent(self) -> int:
        return sum(map(len, self._unsent))

    def write(self, data: bytes) -> None:
        assert data, "an empty write would end a chunked response"
        self.writes.append(data)
        if not self._stalled:
            self._arrive(data)
            return
        self._unsent.append(data)
        self.most_unsent = max(self.most_unsent, self.unsent)
        if self.unsent > self.limit and not self._full:
            self._full = True
            if self.connection is not None:
                self.connection.filled()

    def stall(self) -> None:
        """From now on the network takes nothing."""
        self._stalled = True

    def drain(self) -> None:
        """The network takes everything again."""
        self._stalled = False
        self._arrive(b"".join(self._unsent))
        self._unsent.clear()
        if self._full:
            self._full = False
            if self.connection is not None:
                self.connection.drained()

    def lose(self) -> None:
        """The network has gone, and what it did not take with it."""
        self._unsent.clear()

    def _arrive(self, data: bytes) -> None:
        self._arrived += data
        self._came.set()

    def take(self) -> list[dict[str, Any]]:
        """The messages that arrived since the last call."""
        self._came.clear()
        lines = bytes(self._arrived).splitlines()
        self._arrived.clear()
        return [json.loads(line) for line in lines]

    async def more(self) -> None:
        """Wait until something arrives that was not taken."""
        await self._came.wait()


@dataclass
class ViewerModel:
    """
    One feed as a viewer knows it, and what no message may do to it.

    Never an older state of a run than it had, never a cursor that goes back, never a part of a run that it lacks,
    never a status out of order, never the end of a run that goes on or whose end was told.
    """

    feed: FeedId
    #: Whether its connection has no other feed, for which a heartbeat might have to stay behind.
    alone: bool = True
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    cursor: Cursor | None = None
    complete: bool = False
    truncated: bool = False
    #: Snapshots that began anew, and among them those that replaced something.
    replacements: int = 0
    #: Whole runs and updates of each run.
    told: dict[str, int] = field(default_factory=dict)
    #: The attempt whose end was told on this connection.
    ended: int = 0
    kinds: list[str] = field(default_factory=list)

    def reconnect(self) -> Cursor | None:
        """The connection is another one. Returns the cursor to begin with."""
        self.complete, self.ended = False, 0
        return self.cursor

    def take(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        self.kinds.append(kind)
        if kind == "heartbeat":
            self._heartbeat(message)
            return
        assert message["feed"] == str(self.feed), f"this connection follows {self.feed} only: {message}"
        match kind:
            case "snapshot":
                self._snapshot(message)
            case "update":
                self._update(message)
            case "end":
                self._end(message)
            case _:
                raise AssertionError(f"no feed says {message}")

    def _snapshot(self, message: dict[str, Any]) -> None:
        if message["replaces"]:
            self.replacements += 1
            self.runs.clear()
            self.cursor, self.ended = None, 0
        else:
            assert self.cursor is not None, f"nothing is known that {message} could be put into"
        self._move(message, new_epoch=True)
        ids = [run["id"] for run in message["runs"]]
        assert len(set(ids)) == len(ids), f"one snapshot tells a run twice: {ids}"
        for run in message["runs"]:
            self._whole(run)
        self.complete = message["complete"]
        self.truncated = message["truncated"]

    def _update(self, message: dict[str, Any]) -> None:
        assert self.complete, f"an update before the snapshot was complete: {message}"
        assert self.cursor is not None
        told = Cursor.parse(message["cursor"])
        assert told.sequence > self.cursor.sequence, f"{message} is not newer than {self.cursor}"
        self._move(message)
        run = message["run"]
        if message.get("whole"):
            self._whole(run)
        else:
            self._part(run)
        known = self.runs[run["id"]]
        if "metadata" in message:
            document = known.setdefault("metadata", {})
            document.update(message["metadata"]["changed"])
            for key in message["metadata"]["deleted"]:
                document.pop(key, None)
        if "transition" in message and not message.get("whole"):
            self._transition(known, message["transition"])

    def _whole(self, run: dict[str, Any]) -> None:
        before = self.runs.get(run["id"])
        now = {name: value for name, value in run.items() if value is not None}
        if before is not None:
            assert now["updatedAt"] >= before["updatedAt"], f"{now} is older than {before}"
            assert now["attempt"] >= before["attempt"], f"{now} is older than {before}"
            _assert_continues(before.get("transitions", []), now.get("transitions", []))
        self.runs[run["id"]] = now
        self.told[run["id"]] = self.told.get(run["id"], 0) + 1

    def _part(self, run: dict[str, Any]) -> None:
        known = self.runs.get(run["id"])
        assert known is not None, f"a part of a run that was never told whole: {run}"
        for name, value in run.items():
            if value is None:
                known.pop(name, None)
            else:
                assert name not in ("updatedAt", "attempt") or value >= known[name], f"{run} is older than {known}"
                known[name] = value
        self.told[run["id"]] += 1

    def _transition(self, run: dict[str, Any], transition: dict[str, Any]) -> None:
        before = run.setdefault("transitions", [])
        assert not before or transition["sequence"] > before[-1]["sequence"], f"{transition} comes after {before}"
        before.append(transition)

    def _end(self, message: dict[str, Any]) -> None:
        self._move(message)
        (run,) = self.runs.values()
        assert message["status"] in FINAL
        assert run["status"] == message["status"], f"the end of a run that is {run['status']}: {message}"
        assert self.ended != run["attempt"], f"told twice: {message}"
        self.ended = run["attempt"]

    def _heartbeat(self, message: dict[str, Any]) -> None:
        if "cursor" in message:
            assert self.complete, f"{message} moves a viewer past what it was not told"
            assert message["state"] == "live"
            told = Cursor.parse(message["cursor"])
            if self.alone or self.cursor is None or told.sequence > self.cursor.sequence:
                self._move(message)

    def _move(self, message: dict[str, Any], *, new_epoch: bool = False) -> None:
        told = Cursor.parse(message["cursor"])
        if self.cursor is not None and self.cursor.epoch == told.epoch:
            assert told.sequence >= self.cursor.sequence, f"{message} goes back from {self.cursor}"
        else:
            assert new_epoch or self.cursor is None, f"another epoch without a snapshot: {message} after {self.cursor}"
        self.cursor = told

    def check_end(self) -> None:
        """For a run feed that is caught up: its end was told exactly when the run is over."""
        if self.feed.kind == "run" and self.runs:
            (run,) = self.runs.values()
            over = run["attempt"] if run["status"] in FINAL else self.ended
            assert self.ended == over, f"nobody said that {run['id']} ended"


def _assert_continues(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    """A later list of transitions begins with the earlier one, but for the oldest, of which a hundred are kept."""
    if after and before:
        kept = [entry for entry in before if entry["sequence"] >= after[0]["sequence"]]
        assert after[: len(kept)] == kept, f"{after} does not continue {before}"


class Watcher:
    """A viewer of some feeds: its socket, its connection to the hub, and what it makes of what it is told."""

    def __init__(self, hub: Hub, environment: EnvironmentId, *views: View, limit: int = 1000) -> None:
        self._hub, self._environment, self._limit = hub, environment, limit
        self.views = views
        self.models = {str(view.feed): ViewerModel(view.feed, alone=len(views) == 1) for view in views}
        self.ends: list[FeedId] = []
        self.said: list[dict[str, Any]] = []
        self.sink = RecordingSink(limit)
        self.connection: Connection | None = None
        self.followers: list[Follower] = []

    @property
    def model(self) -> ViewerModel:
        """What it knows of its first feed."""
        return next(iter(self.models.values()))

    @property
    def heartbeats(self) -> list[dict[str, Any]]:
        return [message for message in self.said if message["type"] == "heartbeat"]

    def connect(self) -> Watcher:
        """Come, or come back with the cursors that arrived last."""
        self.sink = RecordingSink(self._limit)
        self.connection = self.sink.connection = _Heard(self._hub, self.sink, self._environment, self.ends)
        self._hub.open(self.connection)
        for view in self.views:
            self.follow(view)
        return self

    def follow(self, view: View) -> None:
        assert self.connection is not None
        cursor = self.models[str(view.feed)].reconnect()
        self.followers.append(self._hub.follow(self.connection, view, cursor))

    def unfollow(self, view: View) -> None:
        """Leave one feed; what it was told of that has arrived."""
        assert self.connection is not None
        follower = self.connection.followers[view.feed]
        self._hub.leave(follower)
        self.followers.remove(follower)
        self.look()

    def disconnect(self) -> None:
        """Go; what was not sent is lost, what has arrived is known."""
        if self.connection is not None:
            self.look()
            self.sink.lose()
            self._hub.close(self.connection)
            self.connection = None
            self.followers = []

    def look(self) -> ViewerModel:
        """Take what has arrived."""
        for message in self.sink.take():
            self.said.append(message)
            if message["type"] != "heartbeat":
                self.models[message["feed"]].take(message)
                continue
            for model in self.models.values():
                model.take(message)
        return self.model

    async def until(self, holds: Callable[[ViewerModel], object], what: str = "what was waited for") -> ViewerModel:
        """Take what arrives until *holds*."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not holds(self.look()):
                    await self.sink.more()
        except TimeoutError:
            raise AssertionError(f"{what} never came: {self.model}") from None
        return self.model

    async def until_complete(self) -> ViewerModel:
        return await self.until(lambda model: model.complete, "a complete snapshot")

    async def until_status(self, status: str, run: str = "run_1") -> ViewerModel:
        return await self.until(lambda model: model.runs.get(run, {}).get("status") == status, f"{run} {status}")


class _Heard(Connection):
    """A connection that remembers which feeds ended."""

    __slots__ = ("_ends",)

    def __init__(self, hub: Hub, sink: RecordingSink, environment: EnvironmentId, ends: list[FeedId]) -> None:
        super().__init__(hub, sink, LINES, environment)
        self._ends = ends

    def ended(self, feed: FeedId) -> None:
        self._ends.append(feed)


Answering: TypeAlias = "Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]"


@contextlib.asynccontextmanager
async def impostor(answer: Answering) -> AsyncIterator[str]:
    """Something that listens where a Redis should be. Yields its URL."""
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await answer(reader, writer)

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not server.is_serving():  # it came when all was over
            writer.transport.abort()
            return
        task = asyncio.create_task(serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)
        task.add_done_callback(lambda _: writer.close())  # even if it was cancelled before it began

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
