"""
Whatever happens in whatever order, viewers end with what Redis has, and saw every status on the way.

Real Redis, hub, store and subscription; generated schedules of changes, viewers who come, go and are slow, reads that
take long, changes that come faster than they may or can be told, viewers that are told one after the other, a
subscription that is late or killed, restarts that keep the data or lose some. The viewers' models
(tests/doubles.py) hold every message against what was told before.

RUNCAST_EXAMPLES sets how many schedules are tried.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import os
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.changes import Operation, Operator, change
from gateway.codec import Row, public_run
from gateway.feed import rounds
from gateway.feed.follower import Phase
from gateway.feed.hub import Hub
from gateway.feed.view import View
from gateway.feeds import ALL_RUNS, EnvironmentId, FeedId, RunId
from gateway.limits import Hearing
from gateway.runs import COLUMNS, METADATA
from gateway.store import redis_store
from gateway.store.redis_keys import Retention, history_key, prefix
from gateway.store.redis_store import RedisStore
from tests.doubles import Watcher
from tests.gateway.store.changing import Changing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.store.redis_store import Page, Place
    from tests.redis_server import RedisServer

EXAMPLES = int(os.environ.get("RUNCAST_EXAMPLES", "80"))
#: Longer than two canaries: a schedule may end with a subscription that must first be found deaf.
PATIENCE_SECONDS = 5.0
RUNS = ("run_1", "run_2", "run_3", "run_4")
#: Runs that are said to be created an hour ago are older than any view that looks back less.
HOUR_MS = 3_600_000

#: The name of what happens (`World.do_…`) and to what.
Step = tuple[Any, ...]

_numbers = itertools.count(1)


class HeldStore(RedisStore):
    """The real store, whose answers can be held back before and after they are read."""

    def __init__(self, url: str) -> None:
        super().__init__(url, Retention())
        self.before, self.after = asyncio.Event(), asyncio.Event()
        self.release()

    def release(self) -> None:
        self.before.set()
        self.after.set()

    async def place(self, *args: Any, **words: Any) -> Place:
        await self.before.wait()
        place = await super().place(*args, **words)
        await self.after.wait()
        return place

    async def read_page(self, *args: Any, **words: Any) -> Page:
        await self.before.wait()
        page = await super().read_page(*args, **words)
        await self.after.wait()
        return page


class Sluice(Hearing):
    """Says when changes come faster than they may as the schedule wants it; every other one is heard then."""

    def __init__(self, environment: EnvironmentId) -> None:
        super().__init__(math.inf, environment, Counter())
        self.flooded = False
        self._told = False

    def hear(self) -> bool:
        self._told = not self._told
        return self._told or not self.flooded

    def turn(self) -> float:
        return 0.0


@dataclass
class World:
    """What a schedule acts on."""

    client: redis.Redis
    #: The same server, for what is not text.
    raw: redis.Redis
    changing: Changing
    hub: Hub
    store: HeldStore
    sluice: Sluice
    viewers: list[Watcher]
    backup: list[tuple[str, int, bytes | None]] = field(default_factory=list)
    attempts: dict[str, int] = field(default_factory=dict)

    @property
    def environment(self) -> EnvironmentId:
        return self.changing.environment

    def keys(self) -> list[str]:
        """What the environment has in Redis now."""
        return sorted(self.client.scan_iter(match=prefix(self.environment) + "*"))

    async def act(self, step: Step) -> None:
        name, *arguments = step
        done = getattr(self, f"do_{name}")(*arguments)
        if done is not None:
            await done

    # Changes. The client is synchronous, so a change is one moment of the schedule.

    def do_create(self, run: str, said: dict[str, Any]) -> None:
        self.changing.create(run, **said)

    def do_status(self, run: str, status: str, attempt: int | None) -> None:
        self.changing.apply(run, status=status, attempt=attempt)

    def do_metadata(self, run: str, operations: Sequence[Operation]) -> None:
        self.changing.apply(run, operations=operations)

    def do_tags(self, run: str, tags: Sequence[str]) -> None:
        self.changing.apply(run, tags=tags)

    def do_output(self, run: str, size: int) -> None:
        self.changing.apply(run, columns={"output": "x" * size})

    def do_burst(self, run: str, count: int) -> None:
        """Many changes that arrive in one piece."""
        with self.client.pipeline(transaction=True) as pipeline:
            for number in range(count):
                tick = change(run, operations=[Operation(Operator.SET, "tick", number)])
                pipeline.execute_command(*self.changing.writer.by_digest(tick, [("set", "tick", b"%d" % number)]))  # type: ignore[no-untyped-call]
            pipeline.execute()

    # Viewers.

    def do_connect(self, number: int) -> None:
        viewer = self.viewers[number % len(self.viewers)]
        if viewer.connection is None:
            viewer.connect()

    def do_disconnect(self, number: int) -> None:
        self.viewers[number % len(self.viewers)].disconnect()

    def do_refollow(self, number: int) -> None:
        viewer = self.viewers[number % len(self.viewers)]
        if viewer.connection is not None and not viewer.connection.full and not viewer.sink.unsent:
            view = viewer.views[number % len(viewer.views)]
            viewer.unfollow(view)
            viewer.follow(view)

    def do_stall(self, number: int) -> None:
        self.viewers[number % len(self.viewers)].sink.stall()

    def do_drain(self, number: int) -> None:
        self.viewers[number % len(self.viewers)].sink.drain()

    # Time passes, things break.

    async def do_calm(self) -> None:
        """Nobody is catching up any more."""
        self.store.release()
        self.do_hear()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while any(f.phase is Phase.CATCHING_UP for viewer in self.viewers for f in viewer.followers):
                await asyncio.sleep(0.001)

    async def do_turns(self, count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    async def do_rest(self) -> None:
        """Long enough for one answer of Redis, mostly."""
        await asyncio.sleep(0.002)

    def do_press(self) -> None:
        """Changes come faster than they can be told, as far as their age says."""
        self.hub._rounds.judge(1000, age_seconds=1.0)

    def do_ease(self) -> None:
        self.hub._rounds.late = False

    def do_flood(self) -> None:
        self.sluice.flooded = True

    def do_ebb(self) -> None:
        self.sluice.flooded = False

    def do_hold(self, when: str) -> None:
        (self.store.before if when == "before" else self.store.after).clear()

    def do_release(self) -> None:
        self.store.release()

    def do_late(self) -> None:
        """What is published stays in the socket."""
        connection = self.hub._subscription._connection
        if connection is not None and connection._transport is not None and not connection._transport.is_closing():
            connection._transport.pause_reading()

    def do_hear(self) -> None:
        connection = self.hub._subscription._connection
        if connection is not None and connection._transport is not None and not connection._transport.is_closing():
            connection._transport.resume_reading()

    def do_kill(self, kind: str) -> None:
        self.client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")  # type: ignore[no-untyped-call]

    def do_restart(self) -> None:
        """As after a restart with all data: the server is another one."""
        if self.client.exists(history_key(self.environment)):
            self.client.hset(history_key(self.environment), "replid", "another")

    def do_backup(self) -> None:
        self.backup = [(key, self.client.pttl(key), self.raw.dump(key)) for key in self.keys()]

    def do_restore(self) -> None:
        """As after a failover to a replica that lacked the newest changes."""
        if self.backup:
            with self.client.pipeline(transaction=True) as pipeline:
                pipeline.delete(*self.keys(), "nothing")
                for key, lifetime, dumped in self.backup:
                    assert dumped is not None
                    pipeline.restore(key, lifetime, dumped)
                pipeline.hset(history_key(self.environment), "replid", "a replica")
                pipeline.execute()

    def do_lose(self) -> None:
        """All data is gone."""
        self.client.delete(*self.keys(), "nothing")

    # At the end.

    async def settle(self) -> None:
        """Everything that was held back happens, and everybody is connected."""
        self.store.release()
        self.do_hear()
        self.do_ebb()
        for viewer in self.viewers:
            viewer.sink.drain()
            if viewer.connection is None:
                viewer.connect()
        for viewer in self.viewers:
            await self._agrees(viewer)

    async def _agrees(self, viewer: Watcher) -> None:
        def differences() -> list[str]:
            viewer.look()
            return [found for view in viewer.views if (found := self.difference(viewer, view))]

        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while differences():
                    await viewer.sink.more()
        except TimeoutError:
            raise AssertionError(differences()) from None
        for model in viewer.models.values():
            model.check_end()

    def difference(self, viewer: Watcher, view: View) -> str:
        """What a viewer has otherwise than Redis; nothing when it agrees."""
        model = viewer.models[str(view.feed)]
        if not model.complete:
            return f"{view} is not complete"
        stored = self.rows(view)
        expected = {run: self.shown(run, view) for run in stored[-view.limit :]}
        for run in model.runs.keys() - expected.keys():
            # Beyond its limit a viewer keeps what it was told before.
            expected[run] = self.shown(run, view) if run in stored else {}
        shown = model.runs
        if view.hidden:  # a change of which nothing is shown is not told, not even when it was
            shown, expected = _without_time(shown), _without_time(expected)
        return "" if shown == expected else f"{view} shows {shown}, Redis has {expected}"

    def rows(self, view: View) -> list[str]:
        """The runs of a view by their last change, from the rows alone."""
        found = []
        for run in RUNS:
            row = self.changing.stored(run)
            if row and int(row["_created"]) >= view.since and self._matches(view.feed, run, row):
                found.append((int(row["_sequence"]), run))
        return [run for _, run in sorted(found)]

    def _matches(self, feed: FeedId, run: str, row: dict[str, str]) -> bool:
        tags = set(row.get("_tags", "").split(","))
        has = {"run": {run}, "task": {row.get("_task", "")}, "batch": {row.get("_batch", "")}, "tag": tags}
        return feed.kind == "all" or set(feed.names) <= has[feed.kind]

    def shown(self, run: str, view: View) -> dict[str, Any]:
        row, metadata = self.changing.stored(run), self.changing.raw_metadata(run)
        columns = {name: text.encode() for name, text in row.items() if name in COLUMNS and text != "null"}
        document = {key.encode(): text.encode() for key, text in metadata.items()}
        public = json.loads(public_run(Row(RunId(run), 0, columns, document), view.hidden))
        return {name: value for name, value in public.items() if value is not None}


def _without_time(runs: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {run: {name: value for name, value in row.items() if name != "updatedAt"} for run, row in runs.items()}


runs = st.sampled_from(RUNS)
tag_lists = st.lists(st.sampled_from(["a", "b", "c"]), unique=True, max_size=3)
statuses = st.sampled_from(["QUEUED", "EXECUTING", "WAITING", "COMPLETED", "FAILED"])
operations = st.lists(
    st.one_of(
        st.builds(Operation, st.just(Operator.SET), st.sampled_from("xyz"), st.integers(0, 3)),
        st.builds(Operation, st.just(Operator.DELETE), st.sampled_from("xyz")),
        st.builds(Operation, st.just(Operator.APPEND), st.just("log"), st.text(max_size=2)),
        st.builds(Operation, st.just(Operator.UPDATE), st.just(""), st.fixed_dictionaries({"x": st.integers(0, 3)})),
    ),
    min_size=1,
    max_size=3,
)
births = st.fixed_dictionaries(
    {
        "task": st.sampled_from(["resize", "resize", "mail"]),
        "tags": tag_lists,
        "initial": st.sampled_from([{}, {"batchId": "batch_1"}, {"payload": {"n": 1}}, {"payload": "p" * 5000}]),
        "metadata": st.sampled_from([{}, {"x": 1}]),
        "age": st.sampled_from([0, 0, HOUR_MS]),
    }
)
changes = st.one_of(
    st.tuples(st.just("create"), runs, births),
    st.tuples(st.just("status"), runs, statuses, st.none() | st.integers(1, 4)),
    st.tuples(st.just("status"), runs, statuses, st.none() | st.integers(1, 4)),
    st.tuples(st.just("metadata"), runs, operations),
    st.tuples(st.just("tags"), runs, tag_lists),
    st.tuples(st.just("output"), runs, st.sampled_from([1, 2, 5000, 6000])),
    st.tuples(st.just("burst"), runs, st.integers(1, 20)),
)
numbers = st.integers(0, 3)
viewing = st.tuples(st.sampled_from(["connect", "connect", "disconnect", "refollow", "stall", "drain"]), numbers)
passing = st.one_of(
    st.tuples(st.just("turns"), st.integers(1, 6)),
    st.tuples(st.just("rest")),
    st.tuples(st.just("hold"), st.sampled_from(["before", "after"])),
    st.tuples(st.sampled_from(["release", "late", "hear", "flood", "ebb"])),
)
breaking = st.one_of(
    st.tuples(st.just("kill"), st.sampled_from(["pubsub", "normal"])),
    st.tuples(st.sampled_from(["restart", "backup", "restore", "lose"])),
)


def some(*steps: st.SearchStrategy[Step], least: int = 1, most: int = 5) -> st.SearchStrategy[list[Step]]:
    return st.lists(st.one_of(*steps), min_size=least, max_size=most)


def scene(*parts: str | st.SearchStrategy[list[Step]]) -> st.SearchStrategy[list[Step]]:
    """Steps in a row; a word is the step of that name, with the same viewer wherever it needs one."""
    return numbers.flatmap(
        lambda number: st.tuples(
            *(st.just([_step(part, number)]) if isinstance(part, str) else part for part in parts)
        ).map(lambda lists: list(itertools.chain(*lists)))
    )


def _step(name: str, number: int) -> Step:
    first, *words = name.split()
    return (first, *words) if words or first not in ("connect", "disconnect", "stall", "drain") else (first, number)


# Most interleavings at random lead nowhere; these are the ones that something was built for.
well_scenes = [
    some(changes, viewing, passing, most=12),
    scene("calm", some(changes, most=8)),
    scene("calm", "stall", some(changes, least=3), "rest", "drain", some(changes, passing)),
    scene("calm", "disconnect", some(changes), "connect", some(changes, passing)),
    scene("calm", "disconnect", "hold before", "connect", some(changes, passing), "release", some(changes, passing)),
    scene("calm", "disconnect", "hold after", "connect", "rest", some(changes), "release", "rest", some(changes)),
    scene("calm", "disconnect", "late", some(changes), "connect", "rest", "rest", some(changes, most=2), "hear"),
    scene("calm", "flood", some(changes, passing), "disconnect", some(changes), "connect", some(changes), "ebb"),
    scene("calm", "flood", "hold after", some(changes, least=2), "rest", some(changes), "release", "rest", "ebb"),
    scene("calm", "press", some(changes, passing, least=3, most=12), "ease"),
    scene("calm", "press", "stall", some(changes, least=3), "rest", "drain", some(changes), "ease"),
    scene("calm", "press", "disconnect", "hold after", "connect", "rest", some(changes, least=2), "release", "rest"),
]
breaking_scenes = [
    some(changes, viewing, passing, breaking, most=12),
    scene("calm", "kill pubsub", some(changes, passing)),
    scene("calm", "hold after", "kill pubsub", "rest", some(changes), "rest", "release", some(changes)),
    scene("calm", "disconnect", "hold after", "connect", "rest", "kill pubsub", some(changes), "release"),
    scene("calm", "restart", some(changes, passing)),
    scene("calm", "hold after", "disconnect", "connect", "rest", "restart", some(changes), "release"),
    scene("calm", "backup", some(changes), "calm", "restore", some(changes, viewing)),
    scene("calm", "backup", some(changes), "calm", "disconnect", "restore", some(changes), "connect"),
    scene("calm", "backup", "late", some(changes), "restore", some(changes, viewing), "rest", "hear"),
    scene("calm", "lose", some(changes, viewing, most=2)),
]
feeds = st.sampled_from(
    [
        *map(FeedId.run, RUNS[:2]),
        FeedId.tags("a"),
        FeedId.tags("b"),
        FeedId.tags("a", "b"),
        FeedId.batch("batch_1"),
        FeedId.task("resize"),
        ALL_RUNS,
        ALL_RUNS,
    ]
)
views = st.builds(
    View,
    feeds,
    st.sampled_from(
        [frozenset(), frozenset(), frozenset({"output", "payload"}), frozenset({METADATA}), frozenset({"transitions"})]
    ),
    st.sampled_from([0, 0, HOUR_MS // 2]),
    st.sampled_from([1000, 1000, 1, 2, 3]),
)
viewers = st.lists(st.lists(views, min_size=1, max_size=2, unique_by=lambda view: view.feed), min_size=1, max_size=4)


@st.composite
def schedules(draw: st.DrawFn, *scenes: st.SearchStrategy[list[Step]]) -> list[Step]:
    created: list[Step] = [("create", run, draw(births)) for run in RUNS[: draw(st.integers(0, len(RUNS)))]]
    return created + list(itertools.chain(*draw(st.lists(st.one_of(*scenes), min_size=3, max_size=8))))


@contextmanager
def told(*, one_by_one: bool) -> Iterator[None]:
    """Whether every group is as good as a large one: its viewers are told one after the other."""
    if not one_by_one:
        yield
        return
    with mock.patch.object(rounds, "SMALL", 0), mock.patch.object(rounds, "SLICE", 1):
        yield


async def run_schedule(server: RedisServer, seen: list[list[View]], schedule: list[Step]) -> None:
    baseline = asyncio.all_tasks()
    environment = EnvironmentId(f"env_property_{next(_numbers)}")
    store = HeldStore(server.url)
    sluice = Sluice(environment)
    hub = Hub(store, server.url, [], 0.06, lambda _: sluice)
    running = asyncio.create_task(hub.run())
    now = int(time.time() * 1000)
    with (
        server.client() as client,
        redis.Redis(port=server.port) as raw,
        mock.patch.object(redis_store, "PAGE_ROWS", 2),
    ):
        changing = Changing(client, environment)
        watchers = [
            Watcher(
                hub,
                environment,
                *(View(view.feed, view.hidden, now - view.since if view.since else 0, view.limit) for view in some),
                limit=4000,
            )
            for some in seen
        ]
        world = World(client, raw, changing, hub, store, sluice, watchers)
        try:
            for viewer in watchers[::2]:
                viewer.connect()
            for step in schedule:
                await world.act(step)
                for viewer in watchers:
                    viewer.look()
            await world.settle()
            for viewer in watchers:
                viewer.disconnect()
            assert not hub._channels
            assert not hub._environments
        finally:
            for viewer in watchers:
                viewer.disconnect()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await store.close()
            client.delete(*world.keys(), "nothing")
    assert asyncio.all_tasks() <= baseline


def profile(share: float) -> settings:
    return settings(
        max_examples=max(1, int(EXAMPLES * share)),
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@pytest.mark.timeout(0)
class TestWhateverHappens:
    """Each viewer ends with what Redis has, having seen every status in order and nothing older than it had."""

    @profile(0.4)
    @given(seen=viewers, schedule=schedules(*well_scenes), one_by_one=st.booleans())
    def test_while_all_is_well(
        self, redis_server: RedisServer, seen: list[list[View]], schedule: list[Step], one_by_one: bool
    ) -> None:
        """Changes, viewers who come, go and are slow, reads and messages that are late."""
        with told(one_by_one=one_by_one):
            asyncio.run(run_schedule(redis_server, seen, schedule))

    @profile(0.6)
    @given(seen=viewers, schedule=schedules(*well_scenes, *breaking_scenes), one_by_one=st.booleans())
    def test_while_things_break(
        self, redis_server: RedisServer, seen: list[list[View]], schedule: list[Step], one_by_one: bool
    ) -> None:
        """The same with killed connections, restarts, and data that is lost in part or altogether."""
        with told(one_by_one=one_by_one):
            asyncio.run(run_schedule(redis_server, seen, schedule))
