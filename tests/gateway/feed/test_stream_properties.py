"""
Whatever happens in whatever order, readers of streams get each chunk once and in order, and end with what Redis has.

As test_properties.py, in the same world (acting.py): with appends, small and too large to be told, streams that lose
their oldest chunks, and a run that ends and is opened again.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import NoScriptError

from gateway.changes import Limits
from gateway.codec import decode_json, public_status
from gateway.cursors import Cursor
from gateway.feed.stream_view import StreamView
from gateway.feed.view import View
from gateway.feeds import EnvironmentId, FeedId
from gateway.runs import FINAL
from gateway.store.appending import Append, append_command, whole_append
from gateway.store.redis_keys import stream_key, stream_state_key
from tests.doubles import ViewerModel, Watcher
from tests.gateway.feed.acting import HeldStore, World, act_out
from tests.gateway.feed.schedules import breaking, passing, profile, scene, some, told, viewing

if TYPE_CHECKING:
    from gateway.feed.hub import Hub
    from gateway.store.pages import StreamPage
    from tests.gateway.feed.schedules import Step
    from tests.redis_server import RedisServer

RUN = "run_1"
KEYS = ("llm", "log")
#: Each attempt ends in another way, so that an end that is told twice is seen.
ENDS = ("COMPLETED_SUCCESSFULLY", "COMPLETED_WITH_ERRORS", "CRASHED", "CANCELED", "SYSTEM_FAILURE", "TIMED_OUT")
#: Fewer than two of the chunks that are too large to be told.
MOST_BYTES = 120_000
LARGE = 70_000


class StreamStore(HeldStore):
    """Small pages, so that there are several."""

    async def read_stream(self, *args: Any, **words: Any) -> StreamPage:
        return await super().read_stream(*args, **{**words, "limit": 3})


@dataclass
class StreamModel(ViewerModel):
    """One stream as a reader knows it: whatever comes twice, out of order or not at all fails at once."""

    chunks: dict[int, Any] = field(default_factory=dict)
    #: The index that comes next; None before the first.
    following: int | None = None
    end_told: str = ""

    def reconnect(self) -> Cursor | None:
        self.complete, self.end_told = self.cursor is not None, ""
        return self.cursor

    def take(self, message: dict[str, Any]) -> None:
        if message["type"] not in ("begin", "chunk"):
            super().take(message)
            return
        assert message["feed"] == str(self.feed)
        if message["type"] == "begin":
            self.cursor, self.complete, self.end_told = Cursor.parse(message["cursor"]), True, ""
            self.chunks.clear()
            self.following = message["firstIndex"]
            return
        before, index = self.cursor, message["index"]
        self._move(message, new_epoch=True)
        assert before is not None, f"no begin before {message}"
        assert self.cursor is not None
        assert self.cursor.epoch != before.epoch or self.cursor.sequence > before.sequence, f"{message} after {before}"
        assert index == self.following, f"{message} where {self.following} is due"
        self.chunks[index] = message["chunk"]
        self.following = index + 1

    def _end(self, message: dict[str, Any]) -> None:
        self._move(message, new_epoch=True)
        assert message["status"] in FINAL
        assert message["status"] != self.end_told, f"told twice: {message}"
        self.end_told = message["status"]

    def _heartbeat(self, message: dict[str, Any]) -> None:
        if "cursor" in message and self.cursor is not None and self.alone:
            # Its epoch may be another one that goes on where the reader was: it is told nothing else of that.
            self._move(message, new_epoch=True)

    def check_end(self) -> None:
        pass


class StreamWatcher(Watcher):
    """A viewer that follows streams, and perhaps their run."""

    def __init__(self, hub: Hub, environment: EnvironmentId, *views: Any) -> None:
        super().__init__(hub, environment, *views, limit=4000)
        for view in views:
            if isinstance(view, StreamView):
                self.models[str(view.feed)] = StreamModel(view.feed, alone=len(views) == 1)


@dataclass
class StreamWorld(World):
    written: int = 0
    attempt: int = 1

    def do_open(self) -> None:
        self.changing.create(RUN, status="EXECUTING", attempt=self.attempt)

    def do_append(self, key: str, count: int, size: int) -> None:
        texts = []
        for _ in range(count):
            self.written += 1
            texts.append(b'"%d %s"' % (self.written, b"x" * size))
        command: Any = append_command(Append(RUN, key, texts), self.changing.writer)
        client: Any = self.client
        try:
            client.execute_command(*command)
        except NoScriptError:
            client.execute_command(*whole_append(command))

    def do_tick(self) -> None:
        self.written += 1
        self.changing.apply(RUN, triples=[("set", "tick", b"%d" % self.written)])

    def do_finish(self) -> None:
        self.changing.apply(RUN, status=ENDS[self.attempt % len(ENDS)], attempt=self.attempt)

    def do_reopen(self) -> None:
        if self.attempt < len(ENDS):
            self.attempt += 1
            self.changing.apply(RUN, status="EXECUTING", attempt=self.attempt)

    def difference(self, viewer: Watcher, view: Any) -> str:
        if not isinstance(view, StreamView):
            return super().difference(viewer, view)
        model = viewer.models[str(view.feed)]
        assert isinstance(model, StreamModel)
        client: Any = self.client
        entries = client.xrange(stream_key(self.environment, *view.feed.names))
        texts = [(name, text) for _, fields in entries for name, text in fields.items() if name != "t"]
        stored = {int(index): decode_json(text) for index, text in texts}
        following = int(client.hget(stream_state_key(self.environment, *view.feed.names), "next") or 0)
        status = decode_json(client.hget(f"runcast:{{{self.environment}}}:run:{RUN}", "status") or b'""')
        shown = public_status(status) if status else None
        if model.following != following or not stored.items() <= model.chunks.items():
            return f"{view.feed} knows {model.following} of {following} chunks: {list(model.chunks)} of {list(stored)}"
        if shown in FINAL and model.end_told != shown:
            return f"{view.feed}: nobody said that the run ended, {shown}"
        return ""


sizes = st.sampled_from([1, 1, 10, 1500, 6000, LARGE])
appends = st.one_of(
    st.tuples(st.just("append"), st.sampled_from(KEYS), st.integers(1, 4), sizes),
    st.tuples(st.just("append"), st.just(KEYS[0]), st.integers(1, 8), sizes),
    st.tuples(st.sampled_from(["tick", "open", "finish", "reopen"])),
)
well = [
    some(appends, viewing, passing, most=12),
    scene("calm", some(appends, most=8)),
    scene("calm", "stall", some(appends, least=3), "rest", "drain", some(appends, passing)),
    scene("calm", "disconnect", some(appends), "connect", some(appends, passing)),
    scene("calm", "disconnect", "hold before", "connect", some(appends, passing), "release", some(appends, passing)),
    scene("calm", "disconnect", "hold after", "connect", "rest", some(appends), "release", "rest", some(appends)),
    scene("calm", "disconnect", "late", some(appends), "connect", "rest", "rest", some(appends, most=2), "hear"),
    scene("calm", "press", some(appends, passing, least=3, most=12), "ease"),
    scene("calm", "press", "disconnect", "hold after", "connect", "rest", some(appends, least=2), "release", "rest"),
]
badly = [
    some(appends, viewing, passing, breaking, most=12),
    scene("calm", "hold after", "kill pubsub", "rest", some(appends), "rest", "release", some(appends)),
    scene("calm", "restart", some(appends, passing)),
    scene("calm", "hold after", "disconnect", "connect", "rest", "restart", some(appends), "release"),
    scene("calm", "backup", some(appends), "calm", "restore", "open", some(appends, viewing)),
    scene("calm", "backup", some(appends), "calm", "disconnect", "restore", some(appends), "connect"),
    scene("calm", "lose", "open", some(appends, viewing, most=4)),
]
feeds = st.sampled_from([FeedId.stream(RUN, KEYS[0])] * 3 + [FeedId.stream(RUN, KEYS[1]), FeedId.run(RUN)])
viewers = st.lists(st.lists(feeds, min_size=1, max_size=3, unique=True), min_size=1, max_size=4)


@st.composite
def schedules(draw: st.DrawFn, *scenes: st.SearchStrategy[list[Step]]) -> list[Step]:
    opened: list[Step] = [("open",)] * draw(st.integers(0, 3))
    return opened[:1] + list(itertools.chain(*draw(st.lists(st.one_of(*scenes), min_size=3, max_size=8))))


async def run_schedule(server: RedisServer, seen: list[list[FeedId]], schedule: list[Step]) -> None:
    """Have *schedule* happen to viewers of whom each follows some feeds."""

    def watchers(hub: Hub, environment: EnvironmentId) -> list[Watcher]:
        views = [[StreamView(f) if f.kind == "stream" else View(f) for f in some_feeds] for some_feeds in seen]
        return [StreamWatcher(hub, environment, *some_views) for some_views in views]

    await act_out(server, schedule, StreamStore(server.url), watchers, StreamWorld, Limits(stream_bytes=MOST_BYTES))


@pytest.mark.timeout(0)
class TestWhateverHappens:
    """Each reader ends with what Redis has, having seen every chunk in order and none twice."""

    @profile(0.3)
    @given(seen=viewers, schedule=schedules(*well), one_by_one=st.booleans())
    def test_while_all_is_well(
        self, redis_server: RedisServer, seen: list[list[FeedId]], schedule: list[Step], one_by_one: bool
    ) -> None:
        """Appends, readers who come, go and are slow, reads and messages that are late."""
        with told(one_by_one=one_by_one):
            asyncio.run(run_schedule(redis_server, seen, schedule))

    @profile(0.4)
    @given(seen=viewers, schedule=schedules(*well, *badly), one_by_one=st.booleans())
    def test_while_things_break(
        self, redis_server: RedisServer, seen: list[list[FeedId]], schedule: list[Step], one_by_one: bool
    ) -> None:
        """The same with killed connections, restarts, and data that is lost in part or altogether."""
        with told(one_by_one=one_by_one):
            asyncio.run(run_schedule(redis_server, seen, schedule))
