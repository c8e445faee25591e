"""What takes its time by design: idle polls, silent streams. All of it is begun at once, and waited for together."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import pytest
import pytest_asyncio

from tests.conformance.chunks import path_of, reading
from tests.conformance.events import open_events
from tests.conformance.shape_client import UP_TO_DATE, check_poll

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.conformance.shape_client import Poll, ShapeClient
    from tests.conformance.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: An idle live poll, in seconds (Trigger.dev realtime protocol, line 3).
HOLD: Final = (15.0, 25.0)
#: A keepalive comes so often at the least (section 6.5).
KEEPALIVE_SECONDS: Final = 16.0
FEEDS: Final = ("run", "tag", "batch", "finished run")


class Idle:
    """Everything that waits, begun together."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clients: dict[str, ShapeClient] = {}
        self.polls: dict[str, asyncio.Task[Poll]] = {}
        self.many: list[asyncio.Task[Poll]] = []
        self.streams: dict[str, asyncio.Task[None]] = {}
        self.timed_out: asyncio.Task[float] | None = None
        self.events: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        world, tag, batch = self.world, self.world.new("tag"), self.world.new("batch")
        run, finished = world.run(tags=[tag], batch=batch), world.run()
        finished.start()
        finished.complete()
        paths = (f"runs/{run.id}", "runs", f"batches/{batch}", f"runs/{finished.id}")
        for name, path in zip(FEEDS, paths, strict=True):
            feed = world.feed(path, **({"tags": tag} if name == "tag" else {}))
            self.clients[name] = await feed.catch_up()
            self.polls[name] = asyncio.create_task(feed.get())
        self.many = [asyncio.create_task(self.clients["run"].copy().get()) for _ in range(20)]
        writer = world.run().id  # a run of its own, for its first chunk is news on the feeds
        self.streams = {version: asyncio.create_task(self._silent_stream(writer, version)) for version in ("v1", "v2")}
        self.timed_out = asyncio.create_task(self._times_out(writer))
        self.events = asyncio.create_task(self._silent_events(self.clients["tag"]))

    async def _silent_stream(self, run: str, version: str) -> None:
        """Nothing but comments come, and the end does not; then a chunk is read as the first one."""
        async with reading(self.world, run, f"silent{version}", x_trigger_realtime_streams_version=version) as reader:
            await reader.events.until_comment(seconds=KEEPALIVE_SECONDS)
            await self.world.ask(path_of(run, f"silent{version}") + "/append", "POST", content=b"at last")
            assert await reader.take(1) == ["at last"]

    async def _times_out(self, run: str) -> float:
        """How long a stream takes to end that was asked to wait five seconds."""
        async with reading(self.world, run, "never", timeout_seconds="5") as reader:
            began = time.monotonic()
            assert await reader.rest() == []
            return time.monotonic() - began

    async def _silent_events(self, feed: ShapeClient) -> None:
        """A shape's event stream says now and then that it lives."""
        headers = {"authorization": f"Bearer {feed.bearer}"}
        async with open_events(feed.http, feed.path, headers, feed.query(live_sse="true")) as events:
            while not events.comments:
                event = await events.next(seconds=30) if b"\n\n" in events._buffer else None
                if event is None:
                    await events.until_comment(seconds=30)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def idle(world: World) -> AsyncIterator[Idle]:
    idle = Idle(world)
    await idle.begin()
    yield idle
    tasks = [*idle.polls.values(), *idle.many, *idle.streams.values(), idle.timed_out, idle.events]
    for task in tasks:
        assert task is not None
        task.cancel()


@pytest.mark.parametrize("name", FEEDS)
async def test_t03_t07_e16_a_poll_without_change_is_held_and_answers_only_up_to_date(idle: Idle, name: str) -> None:
    """15 to 25 seconds, at the same place and with another cursor; of a run that has ended, too, and then not again."""
    client = idle.clients[name]

    poll = await idle.polls[name]

    check_poll(poll)
    assert HOLD[0] < poll.seconds < HOLD[1]
    assert poll.messages == [UP_TO_DATE]
    assert poll.headers["electric-handle"] == client.handle
    assert poll.headers["electric-offset"] == client.offset
    assert poll.headers["electric-cursor"] not in ("", client.cursor)


async def test_e16_e31_holds_end_at_different_times(idle: Idle) -> None:
    """Whoever came together is not answered together ever after; nobody asks more than once in a hold."""
    polls = await asyncio.gather(*idle.many)

    assert all(HOLD[0] < poll.seconds < HOLD[1] for poll in polls)
    assert max(poll.seconds for poll in polls) - min(poll.seconds for poll in polls) > 1


async def test_t42_a_timeout_ends_a_silent_stream_cleanly(idle: Idle) -> None:
    """Five seconds of silence were asked for."""
    assert idle.timed_out is not None

    assert 4.5 < await idle.timed_out < 8


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_t42_t47_silence_does_not_end_a_stream_and_keepalives_are_no_chunks(idle: Idle, version: str) -> None:
    """A comment comes in time for every proxy; the first chunk is the first that was written."""
    await idle.streams[version]


async def test_e34_a_silent_event_stream_says_that_it_lives(idle: Idle) -> None:
    """By comments."""
    assert idle.events is not None
    await idle.events
