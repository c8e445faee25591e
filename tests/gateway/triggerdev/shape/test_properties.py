"""
Whatever happens in whatever order, whoever folds the answers of a shape ends with the rows that Redis has.

Real Redis, hub, store and endpoints; the schedules of changes, held reads, floods, killed connections, restarts and
lost data are those of the feeds (tests/gateway/feed/test_properties.py). Clients poll with random pauses, live or not,
ask twice for the same, hang up, and begin anew; shapes are let go of in between; logs, pages and documents hold next to
nothing, so that their bounds are met all the time.

RUNCAST_EXAMPLES sets how many schedules are tried.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from gateway.codec import Row
from gateway.feed.view import View
from gateway.feeds import EnvironmentId, FeedId, RunId
from gateway.runs import COLUMNS, METADATA
from gateway.store import redis_store
from gateway.triggerdev import feeds
from gateway.triggerdev.shape import documents, log, poll, reading, shape, shapes
from gateway.triggerdev.shape.columns import row_values
from gateway.triggerdev.shape.view import ShapeView
from tests.gateway.feed.acting import PATIENCE_SECONDS, RUNS, HeldStore, Sluice, World
from tests.gateway.feed.run_schedules import breaking_scenes, schedules, well_scenes
from tests.gateway.feed.schedules import profile
from tests.gateway.store.changing import Changing
from tests.gateway.triggerdev.shape.serving import Feeds

if TYPE_CHECKING:
    from tests.gateway.feed.schedules import Step
    from tests.gateway.triggerdev.shape.folding import FoldingClient
    from tests.redis_server import RedisServer

_numbers = itertools.count(1)
#: Nobody is held for longer than this.
HOLD_SECONDS = 0.02


@dataclass(frozen=True)
class Wanted:
    """A feed that somebody polls: its path, its query, the same as a view."""

    path: str
    query: tuple[tuple[str, str], ...]
    feed: FeedId
    hidden: frozenset[str] = frozenset()


@dataclass
class Polling:
    """One client that polls as its dice say."""

    client: FoldingClient
    wanted: Wanted
    dice: random.Random
    task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            match self.dice.randrange(8):
                case 0:
                    await asyncio.sleep(self.dice.choice([0, 0.001, 0.004]))
                case 1:
                    with contextlib.suppress(EOFError):
                        await self.client.ask(live=self.client.up_to_date and self.dice.random() < 0.5)
                case 2:
                    await self._hang_up()
                case 3:
                    await self.client.poll()
                case _:
                    await self.client.poll(live=True)
            if self.client.statuses and self.client.statuses[-1] in (404, 503):
                await asyncio.sleep(0.002)

    async def _hang_up(self) -> None:
        gone, live = asyncio.Event(), self.client.up_to_date and not self.client.begins
        asyncio.get_running_loop().call_later(0.001, gone.set)
        with contextlib.suppress(EOFError):
            await self.client.ask(live=live, gone=gone)


@dataclass
class ShapeWorld(World):
    """What a schedule acts on, with polling clients for viewers."""

    served: Feeds = field(kw_only=True)
    polling: list[Polling] = field(kw_only=True)
    limit: int = field(kw_only=True)

    def do_connect(self, number: int) -> None:
        polling = self.polling[number % len(self.polling)]
        if polling.task is None:
            polling.task = asyncio.create_task(polling.run())

    async def do_disconnect(self, number: int) -> None:  # type: ignore[override]
        polling = self.polling[number % len(self.polling)]
        if polling.task is not None:
            polling.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await polling.task
            polling.task = None

    def do_refollow(self, number: int) -> None:
        """The tail is taken up anew."""
        self.served.shapes.close()

    def do_stall(self, number: int) -> None:
        self.served.shapes.close()

    def do_drain(self, number: int) -> None:
        """Nobody's socket is slow here."""

    async def do_calm(self) -> None:
        self.store.release()
        self.do_hear()
        self.do_ebb()
        for polling in self.polling:
            if polling.task is not None and polling.task.done():
                polling.task.result()
        await asyncio.sleep(0.005)

    async def settle(self) -> None:
        self.store.release()
        self.do_hear()
        self.do_ebb()
        for number, polling in enumerate(self.polling):
            await self.do_disconnect(number)
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while self.shape_difference(polling):
                        await polling.client.poll(live=True)
            except TimeoutError:
                raise AssertionError(f"{self._state(polling)}: {self.shape_difference(polling)}") from None
            await self._as_fresh(polling)

    def _state(self, polling: Polling) -> str:
        """Where a client and the shapes stand, for whoever must find out why."""
        client, at = polling.client, {run: self.changing.stored(run).get("_sequence") for run in RUNS}
        logs = [(str(one.view.feed), one._log and (one._log.epoch, one._log._sequences)) for one in self._shapes]
        desk = "desk" if client.desk is not None else "app"
        return f"{desk} {client.offset} {client.handle} {client.statuses[-8:]}, limit {self.limit}, {at}, {logs}"

    @property
    def _shapes(self) -> list[shape.Shape]:
        return [*self.served.shapes._shapes.values()]

    async def _as_fresh(self, polling: Polling) -> None:
        """
        Whoever begins now comes to the same.

        At once, unless what was read a moment ago is told (feed/reading.py) while a change is on its way to us.
        """
        wanted = polling.wanted
        fresh = self.served.client(wanted.path, **dict(wanted.query))
        await fresh.poll()
        while not fresh.up_to_date and fresh.statuses[-1] == 200:
            await fresh.poll()
        folded = _comparable(polling.client.rows, wanted)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while {run: folded.get(run) for run in fresh.rows} != (rows := _comparable(fresh.rows, wanted)):
                    await fresh.poll(live=True)
        except TimeoutError:
            raise AssertionError(f"{self._state(polling)}: {folded} is not {rows}") from None
        # A snapshot whose place was read before the last changes has more than its limit.
        assert folded.keys() == rows.keys() or len(rows) >= self.limit

    def shape_difference(self, polling: Polling) -> str:
        """What a client has otherwise than Redis; nothing when it agrees."""
        wanted, client = polling.wanted, polling.client
        if not client.up_to_date and client.statuses[-1:] != [404]:
            return f"{wanted} is not complete"
        stored = self.rows(View(wanted.feed))
        expected = {run: self.shown_row(run, wanted) for run in stored[-self.limit :]}
        for run in client.rows.keys() - expected.keys():
            expected[run] = self.shown_row(run, wanted) if run in stored else {}
        shown, expected = _comparable(client.rows, wanted), _comparable(expected, wanted)
        return "" if shown == expected else f"{wanted} shows {shown}, Redis has {expected}"

    def shown_row(self, run: str, wanted: Wanted) -> dict[str, str | None]:
        row, metadata = self.changing.stored(run), self.changing.raw_metadata(run)
        columns = {name: text.encode() for name, text in row.items() if name in COLUMNS and text != "null"}
        document = {key.encode(): text.encode() for key, text in metadata.items()}
        return row_values(Row(RunId(run), 0, columns, document), wanted.hidden)


def _comparable(rows: dict[str, dict[str, str | None]], wanted: Wanted) -> dict[str, dict[str, Any]]:
    """JSON as what it says, and without the time of a change of which nothing is shown."""
    return {
        run: {
            name: json.loads(text) if name in ("metadata", "payload", "output") and text else text
            for name, text in row.items()
            if name != "updatedAt" or not wanted.hidden
        }
        for run, row in rows.items()
    }


SKIPPED = {"skipColumns": "payload,output,outputType"}
UNSEEN = {"skipColumns": METADATA}
wanteds = st.sampled_from(
    [
        *(Wanted(f"runs/{run}", (), FeedId.run(run)) for run in RUNS[:2]),
        Wanted("runs/run_1", (("skipColumns", "metadata,nothing"),), FeedId.run("run_1"), frozenset({METADATA})),
        Wanted("runs", (("tags", "a"),), FeedId.tags("a")),
        Wanted("runs", (("tags", "b,a"),), FeedId.tags("a", "b")),
        Wanted("runs", (), FeedId("all")),
        Wanted("runs", tuple(SKIPPED.items()), FeedId("all"), frozenset({"payload", "output", "outputType"})),
        Wanted("batches/batch_1", (), FeedId.batch("batch_1")),
    ]
)
limits = st.sampled_from([1000, 1000, 1, 2, 3])
tables = st.lists(st.tuples(wanteds, st.integers(0, 2**32)), min_size=1, max_size=4)


@contextlib.contextmanager
def everything_small(limit: int) -> Any:
    """Bounds that a schedule reaches."""
    with contextlib.ExitStack() as patched:
        for where, name, value in (
            (redis_store, "PAGE_ROWS", 2),
            (poll, "HOLD_SECONDS", HOLD_SECONDS),
            (poll, "ARRIVAL_SECONDS", 0.002),
            (feeds, "REFUSAL_SECONDS", 0.002),
            (shapes, "LINGER_SECONDS", 0.005),
            (log, "MAX_ENTRIES", 4),
            (log, "MAX_BYTES", 6000),
            (shape, "MAX_ENTRY_BYTES", 4000),
            (reading, "MOST_BYTES", 3000),
            (shapes, "Documents", partial(documents.Documents, most_bytes=500)),
            (feeds, "ShapeView", partial(ShapeView, limit=limit)),
        ):
            patched.enter_context(mock.patch.object(where, name, value))
        yield


async def run_schedule(server: RedisServer, seen: list[tuple[Wanted, int]], limit: int, schedule: list[Step]) -> None:
    baseline = asyncio.all_tasks()
    environment = EnvironmentId(f"env_shapes_{next(_numbers)}")
    sluice = Sluice(environment)
    with server.client() as client, redis.Redis(port=server.port) as raw, everything_small(limit):
        store = HeldStore(server.url)
        served = Feeds(server, environment, store=store, hearing=lambda _: sluice)
        polling = [
            Polling(
                (served.visitor if seed % 2 else served.client)(wanted.path, **dict(wanted.query)),
                wanted,
                random.Random(seed),
            )
            for wanted, seed in seen
        ]
        world = ShapeWorld(
            *(client, raw, Changing(client, environment), served.hub, store, sluice, []),
            served=served,
            polling=polling,
            limit=limit,
        )
        try:
            async with served.serving():
                try:
                    for number in range(0, len(polling), 2):
                        world.do_connect(number)
                    for step in schedule:
                        await world.act(step)
                        for one in polling:
                            if one.task is not None and one.task.done():
                                one.task.result()
                    await world.settle()
                finally:
                    for number in range(len(polling)):
                        await world.do_disconnect(number)
                served.shapes.close()
                assert len(served.shapes) == 0
                assert not served.hub._channels
                assert not served.hub._environments
                assert not served.expirations.viewers()
        finally:
            client.delete(*world.keys(), "nothing")
    assert asyncio.all_tasks() <= baseline


@pytest.mark.timeout(0)
class TestWhateverHappens:
    """Folding all answers gives the rows that Redis has, and those of a fresh snapshot; no row ever gets older."""

    @profile(0.2)
    @given(seen=tables, limit=limits, schedule=schedules(*well_scenes))
    def test_while_all_is_well(
        self, redis_server: RedisServer, seen: list[tuple[Wanted, int]], limit: int, schedule: list[Step]
    ) -> None:
        """Changes, clients who come and go, reads and messages that are late."""
        asyncio.run(run_schedule(redis_server, seen, limit, schedule))

    @profile(0.3)
    @given(seen=tables, limit=limits, schedule=schedules(*well_scenes, *breaking_scenes))
    def test_while_things_break(
        self, redis_server: RedisServer, seen: list[tuple[Wanted, int]], limit: int, schedule: list[Step]
    ) -> None:
        """The same with killed connections, restarts, and data that is lost in part or altogether."""
        asyncio.run(run_schedule(redis_server, seen, limit, schedule))
