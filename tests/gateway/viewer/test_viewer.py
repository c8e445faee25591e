"""`Viewer`, against a real gateway: what its iterators promise."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

from gateway import Viewer
from gateway.viewer.following import State
from tests.gateway.viewer.reading_runs import PATIENCE_SECONDS, eventually, feeds_of, next_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.viewer.following import StateChanged
    from gateway.viewer.updates import RunUpdates
    from gateway.viewer.viewed import ViewedRun
    from tests.gateway.serving import ServedGateway


async def test_a_run_is_told_from_what_it_is_now_until_it_ended(gateway: ServedGateway) -> None:
    """The loop ends by itself, and the last thing it saw is the end."""
    job = gateway.publisher.create("resize", id="run_1")
    seen: list[ViewedRun] = []
    async with Viewer(gateway.url, gateway.secret) as viewer:
        async for run in viewer.run("run_1"):
            seen.append(run)
            if run.status == "QUEUED":
                job.start()
            elif run.status == "EXECUTING":
                job.complete({"rows": 3})
        assert viewer.state is State.LIVE

    assert [run.status for run in seen] == ["QUEUED", "EXECUTING", "COMPLETED"]
    last = seen[-1]
    assert (last.is_success, last.output, last.task, last.error) == (True, {"rows": 3}, "resize", None)
    assert [entry.status for entry in last.transitions] == ["QUEUED", "EXECUTING", "COMPLETED"]


async def test_a_run_that_does_not_exist_yet_is_waited_for(gateway: ServedGateway) -> None:
    async with Viewer(gateway.url, gateway.secret) as viewer:
        waiting = asyncio.create_task(viewer.wait_for_completion("run_1", timeout=PATIENCE_SECONDS))
        await gateway.followed("run:run_1")
        gateway.publisher.create("resize", id="run_1").fail("no room")
        run = await waiting

    assert run.status == "FAILED"
    assert not run.is_success
    assert run.error is not None
    assert run.error["message"] == "no room"


async def test_waiting_for_a_run_that_does_not_end_in_time_says_so(gateway: ServedGateway) -> None:
    async with Viewer(gateway.url, gateway.secret) as viewer:
        with pytest.raises(TimeoutError, match=r"run 'run_1' has not ended within 0\.2 s; it goes on"):
            await viewer.wait_for_completion("run_1", timeout=0.2)


async def test_a_run_can_be_looked_at_once(gateway: ServedGateway) -> None:
    gateway.publisher.create("resize", id="run_1", tags=["a"])
    async with Viewer(gateway.url, gateway.secret) as viewer:
        run, none = await viewer.get("run_1", skip_columns=["tags"]), await viewer.get("run_2")

    assert run is not None
    assert (run.id, run.status, run.tags) == ("run_1", "QUEUED", ())
    assert none is None


@pytest.mark.parametrize(
    "follow",
    [
        lambda viewer: viewer.tags("a", "b"),
        lambda viewer: viewer.batch("batch_1"),
        lambda viewer: viewer.task("resize"),
        lambda viewer: viewer.all(),
        lambda viewer: viewer.tags("a", since="1h", limit=10, skip_columns=["payload"]),
    ],
    ids=["tags", "batch", "task", "all", "options"],
)
async def test_other_feeds_tell_the_runs_there_are_and_those_that_come(
    gateway: ServedGateway, follow: Callable[[Viewer], RunUpdates]
) -> None:
    """They don't end when a run does."""

    def create(run: str) -> Any:
        return gateway.publisher.create("resize", id=run, tags=["a", "b"], batch="batch_1")

    create("run_1")
    async with Viewer(gateway.url, gateway.secret) as viewer:
        updates = follow(viewer)
        first = await next_of(updates)
        create("run_2").complete()
        ended = await next_of(updates, lambda run: run.is_final)
        gateway.publisher.run("run_1").complete()
        again = await next_of(updates, lambda run: run.is_final)

        assert [first.id, ended.id, again.id] == ["run_1", "run_2", "run_1"]
        assert {run.id: run.status for run in updates.runs.values()} == {"run_2": "COMPLETED", "run_1": "COMPLETED"}


async def test_any_number_of_iterators_share_one_socket(gateway: ServedGateway) -> None:
    """Also those that read the same."""
    async with Viewer(gateway.url, gateway.secret) as viewer:
        all_of_them = [viewer.run(f"run_{number}") for number in range(20)]
        all_of_them += [viewer.tags("a"), viewer.tags("a"), viewer.all()]
        gateway.publisher.create("resize", id="run_7", tags=["a"])
        for updates in (all_of_them[7], *all_of_them[20:]):
            assert (await next_of(updates)).id == "run_7"

        assert viewer._lines.sockets == 1
        assert sum(map(len, gateway._hub.connections())) == 1


async def test_who_comes_later_to_a_feed_begins_with_what_there_is(gateway: ServedGateway) -> None:
    gateway.publisher.create("resize", id="run_1", tags=["a"])
    async with Viewer(gateway.url, gateway.secret) as viewer:
        early = viewer.tags("a")
        await next_of(early)
        late = viewer.tags("a")
        assert (await next_of(late)).id == "run_1"
        await late.until_caught_up()

        assert late.runs == early.runs


async def test_the_same_feed_in_two_ways_needs_two_sockets(gateway: ServedGateway) -> None:
    gateway.publisher.create("resize", id="run_1", tags=["a"], payload=1)
    async with Viewer(gateway.url, gateway.secret) as viewer:
        async with viewer.tags("a") as whole, viewer.tags("a", skip_columns=["payload"]) as part:
            assert "payload" in (await next_of(whole)).fields
            assert "payload" not in (await next_of(part)).fields
            assert viewer._lines.sockets == 2
        assert viewer._lines.sockets == 1


async def test_leaving_the_loop_leaves_the_feed_and_keeps_the_socket(gateway: ServedGateway) -> None:
    gateway.publisher.create("resize", id="run_1")
    async with Viewer(gateway.url, gateway.secret) as viewer:
        async for _ in viewer.run("run_1"):
            break
        gc.collect()
        await eventually(lambda: feeds_of(gateway) == set())

        assert (await next_of(viewer.run("run_1"))).id == "run_1"
        assert sum(map(len, gateway._hub.connections())) == 1


async def test_a_task_that_is_cancelled_leaves_its_feed(gateway: ServedGateway) -> None:
    async with Viewer(gateway.url, gateway.secret) as viewer, viewer.run("run_2"):
        waiting = asyncio.create_task(viewer.wait_for_completion("run_1"))
        await gateway.followed("run:run_1")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await eventually(lambda: feeds_of(gateway) == {"run:run_2"})


async def test_a_wait_that_is_cancelled_loses_nothing(gateway: ServedGateway) -> None:
    """As with a queue: `anext` may have a timeout, again and again."""
    async with Viewer(gateway.url, gateway.secret) as viewer, viewer.run("run_1") as updates:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(updates), 0.05)
        gateway.publisher.create("resize", id="run_1")

        assert (await next_of(updates)).status == "QUEUED"


async def test_comings_and_goings_of_one_feed_in_one_moment_are_told_apart(gateway: ServedGateway) -> None:
    """What is on its way for a reader that left is not taken for the next one's."""
    gateway.publisher.create("resize", id="run_1")
    async with Viewer(gateway.url, gateway.secret) as viewer, viewer.run("other"):
        await gateway.followed("run:other")
        for _ in range(30):
            updates = viewer.run("run_1")
            await asyncio.sleep(0)
            await updates.aclose()
        async with viewer.run("run_1") as last:
            assert (await next_of(last)).status == "QUEUED"
            gateway.publisher.run("run_1").complete()
            assert (await next_of(last, lambda run: run.is_final)).status == "COMPLETED"


async def test_a_run_that_ended_before_anybody_came_is_told_once(gateway: ServedGateway) -> None:
    gateway.publisher.create("resize", id="run_1").complete()
    async with Viewer(gateway.url, gateway.secret) as viewer:
        updates = viewer.run("run_1")
        assert [run.status async for run in updates] == ["COMPLETED"]
        assert [run async for run in updates] == []


async def test_a_restarted_gateway_is_awaited_and_every_status_is_in_the_transitions(gateway: ServedGateway) -> None:
    told: list[StateChanged] = []
    async with Viewer(gateway.url, gateway.secret, on_state=told.append) as viewer:
        updates = viewer.run("run_1")
        job = gateway.publisher.create("resize", id="run_1")
        await next_of(updates)
        await gateway.stop()
        job.start()
        job.wait()
        await eventually(lambda: viewer.state is State.RECONNECTING)
        await gateway.start()
        waiting = await next_of(updates)
        await eventually(lambda: viewer.state is State.LIVE)
        job.complete()
        ended = [run async for run in updates][-1]
        assert viewer.as_of is not None

    assert [entry.status for entry in waiting.transitions] == ["QUEUED", "EXECUTING", "WAITING"]
    assert [entry.status for entry in ended.transitions] == ["QUEUED", "EXECUTING", "WAITING", "COMPLETED"]
    states = [event.state for event in told if not event.reason]
    assert states == [State.CONNECTING, State.LIVE, State.LIVE]
    assert [event for event in told if event.state is State.RECONNECTING and event.reason]
