"""
What a schedule acts on, and how it is acted out.

Real Redis, hub, store and subscription; viewers who come, go and are slow, reads that take long, changes that come
faster than they may or can be told, viewers that are told one after the other, a subscription that is late or killed,
restarts that keep the data or lose some. The viewers' models (tests/doubles.py) hold every message against what was
told before.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import redis

from gateway.changes import Operation, Operator, change
from gateway.codec import Row, public_run
from gateway.feed.follower import Phase
from gateway.feed.hub import Hub
from gateway.feeds import EnvironmentId, FeedId, RunId
from gateway.limits import Hearing
from gateway.runs import COLUMNS
from gateway.store.redis_keys import Retention, history_key, prefix
from gateway.store.redis_store import RedisStore
from tests.gateway.store.changing import Changing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.changes import Limits
    from gateway.feed.view import View
    from gateway.store.pages import Page, Place
    from tests.doubles import Watcher
    from tests.gateway.feed.schedules import Step
    from tests.redis_server import RedisServer

#: Longer than two canaries: a schedule may end with a subscription that must first be found deaf.
PATIENCE_SECONDS = 30.0
RUNS = ("run_1", "run_2", "run_3", "run_4")

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


async def act_out(
    server: RedisServer,
    schedule: list[Step],
    store: HeldStore,
    watchers_of: Callable[[Hub, EnvironmentId], list[Watcher]],
    world_of: type[World] = World,
    limits: Limits | None = None,
) -> None:
    """
    Have everything in *schedule* happen, and hold the viewers against Redis at the end. Nothing of it stays.

    Args:
        store: On *server*; it is closed.
        watchers_of: The viewers, every other one of whom is there from the beginning.
        limits: Of what is published.
    """
    baseline = asyncio.all_tasks()
    environment = EnvironmentId(f"env_schedule_{next(_numbers)}")
    sluice = Sluice(environment)
    hub = Hub(store, server.url, [], 0.06, lambda _: sluice)
    running = asyncio.create_task(hub.run())
    with server.client() as client, redis.Redis(port=server.port) as raw:
        changing = Changing(client, environment) if limits is None else Changing(client, environment, limits=limits)
        viewers = watchers_of(hub, environment)
        world = world_of(client, raw, changing, hub, store, sluice, viewers)
        try:
            for viewer in viewers[::2]:
                viewer.connect()
            for step in schedule:
                await world.act(step)
                for viewer in viewers:
                    viewer.look()
            await world.settle()
            for viewer in viewers:
                viewer.disconnect()
            assert not hub._channels
            assert not hub._environments
        finally:
            for viewer in viewers:
                viewer.disconnect()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await store.close()
            client.delete(*world.keys(), "nothing")
    assert asyncio.all_tasks() <= baseline
