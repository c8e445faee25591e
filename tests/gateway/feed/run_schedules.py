"""Schedules of what happens to runs and to those who follow them, in whatever order."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING
from unittest import mock

from hypothesis import strategies as st

from gateway.changes import Operation, Operator
from gateway.feed.hub import Hub
from gateway.feed.view import View
from gateway.feeds import ALL_RUNS, EnvironmentId, FeedId
from gateway.runs import METADATA
from gateway.store import redis_store
from tests.doubles import Watcher
from tests.gateway.feed.acting import RUNS, HeldStore, World, act_out
from tests.gateway.feed.schedules import Step, breaking, passing, scene, some, viewing

if TYPE_CHECKING:
    from gateway.feed.hub import Hub
    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer

#: Runs that are said to be created an hour ago are older than any view that looks back less.
HOUR_MS = 3_600_000


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


async def run_schedule(
    server: RedisServer,
    seen: list[list[View]],
    schedule: list[Step],
    *,
    watcher: type[Watcher] = Watcher,
    world: type[World] = World,
) -> None:
    """Have *schedule* happen to viewers of whom each follows some views; their `since` is how far they look back."""
    now = int(time.time() * 1000)

    def watchers(hub: Hub, environment: EnvironmentId) -> list[Watcher]:
        found = [
            [View(view.feed, view.hidden, now - view.since if view.since else 0, view.limit) for view in some_views]
            for some_views in seen
        ]
        return [watcher(hub, environment, *some_views, limit=4000) for some_views in found]

    with mock.patch.object(redis_store, "PAGE_ROWS", 2):
        await act_out(server, schedule, HeldStore(server.url), watchers, world)
