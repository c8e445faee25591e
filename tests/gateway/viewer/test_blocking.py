"""`BlockingViewer`: for scripts, from any thread."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from gateway import BlockingViewer
from gateway.errors import BadFeed, NotAllowed
from gateway.viewer.following import State
from gateway.viewer.refused import ViewerClosed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.gateway.serving import ServedGateway

T = TypeVar("T")

PATIENCE_SECONDS = 20.0


async def elsewhere(work: Callable[[], T]) -> T:
    """Run it as a script would, in a thread: the gateway of these tests lives in this loop."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await asyncio.to_thread(work)


@asynccontextmanager
async def blocking_viewer(*arguments: Any, **options: Any) -> AsyncIterator[BlockingViewer]:
    """One that is closed elsewhere."""
    viewer = BlockingViewer(*arguments, **options)
    yield viewer
    await elsewhere(viewer.close)


def viewer_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "runcast-viewer"]


async def test_a_script_follows_a_run_until_it_ended(gateway: ServedGateway) -> None:
    def script() -> list[str | None]:
        with BlockingViewer(gateway.url, gateway.secret) as viewer:
            seen = []
            for run in viewer.run("run_1"):
                seen.append(run.status)
                if run.status == "QUEUED":
                    gateway.publisher.run("run_1").complete()
            assert viewer.state is State.LIVE
            assert viewer.wait_for_completion("run_1").is_success
            return seen

    gateway.publisher.create("resize", id="run_1")
    assert await elsewhere(script) == ["QUEUED", "COMPLETED"]
    assert viewer_threads() == []


async def test_every_feed_can_be_followed_and_a_run_looked_at(gateway: ServedGateway) -> None:
    gateway.publisher.create("resize", id="run_1", tags=["a"], batch="batch_1")

    def script() -> list[Any]:
        with BlockingViewer(gateway.url, gateway.secret) as viewer:
            feeds = [viewer.tags("a"), viewer.batch("batch_1"), viewer.task("resize"), viewer.all(limit=5)]
            ids = [next(feed).id for feed in feeds]
            feeds[0].until_caught_up(timeout=PATIENCE_SECONDS)
            one, none = viewer.get("run_1"), viewer.get("run_2", timeout=PATIENCE_SECONDS)
            return [ids, list(feeds[0].runs), one and one.task, none]

    assert await elsewhere(script) == [["run_1"] * 4, ["run_1"], "resize", None]


async def test_many_threads_share_one_viewer_and_its_socket(gateway: ServedGateway) -> None:
    runs = [f"run_{number}" for number in range(20)]
    async with blocking_viewer(gateway.url, gateway.secret) as viewer:
        threads = ThreadPoolExecutor(20)
        waiting = [threads.submit(viewer.wait_for_completion, run, timeout=PATIENCE_SECONDS) for run in runs]
        for run in runs:
            await gateway.followed(f"run:{run}")
        assert sum(map(len, gateway._hub.connections())) == 1
        for run in runs:
            gateway.publisher.create("resize", id=run).complete({"run": run})
        ended = [await asyncio.wrap_future(future) for future in waiting]
        threads.shutdown()

    assert [run.output for run in ended] == [{"run": run} for run in runs]


async def test_a_wait_with_a_timeout_loses_nothing(gateway: ServedGateway) -> None:
    def script() -> list[str]:
        with BlockingViewer(gateway.url, gateway.secret) as viewer, viewer.run("run_1") as updates:
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    updates.next(timeout=0.05)
            with pytest.raises(TimeoutError):
                viewer.wait_for_completion("run_1", timeout=0.05)
            gateway.publisher.create("resize", id="run_1").complete()
            *_, last = updates
            assert updates.next() is None
            return [entry.status for entry in last.transitions]

    assert await elsewhere(script) == ["QUEUED", "COMPLETED"]


async def test_leaving_the_loop_leaves_the_feed(gateway: ServedGateway) -> None:
    gateway.publisher.create("resize", id="run_1")

    def script(viewer: BlockingViewer) -> None:
        for _ in viewer.run("run_1"):
            break
        gc.collect()

    async with blocking_viewer(gateway.url, gateway.secret) as viewer:
        await elsewhere(lambda: script(viewer))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while gateway._groups():
                await asyncio.sleep(0.01)


async def test_errors_come_out_as_they_are(gateway: ServedGateway) -> None:
    def script() -> None:
        with BlockingViewer(gateway.url, gateway.token({"read": {"runs": "run_1"}})) as viewer:
            with pytest.raises(BadFeed):
                viewer.run("run 1")
            with pytest.raises(NotAllowed):
                viewer.wait_for_completion("run_2")

    await elsewhere(script)


async def test_closing_tells_whoever_waits_in_another_thread(gateway: ServedGateway) -> None:
    viewer = BlockingViewer(gateway.url, gateway.secret)
    waiting = asyncio.create_task(asyncio.to_thread(viewer.wait_for_completion, "run_1"))
    await gateway.followed("run:run_1")
    await elsewhere(viewer.close)
    await elsewhere(viewer.close)

    with pytest.raises(ViewerClosed):
        await waiting
    with pytest.raises(ViewerClosed):
        viewer.run("run_1")
    assert viewer_threads() == []


async def test_its_own_callbacks_can_not_wait_for_it(gateway: ServedGateway) -> None:
    """That would be for ever."""
    refused: list[str] = []

    def token() -> str:
        return gateway.secret

    def told(_: object) -> None:
        try:
            viewer.get("run_1")
        except RuntimeError as error:
            refused.append(str(error))

    async with blocking_viewer(gateway.url, token, on_state=told) as viewer:
        assert await elsewhere(lambda: viewer.get("run_1")) is None

    assert "own callbacks" in refused[0]


async def test_a_child_of_a_fork_is_told_to_make_its_own(
    gateway: ServedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread with the connection is not there: it would wait for ever."""
    async with blocking_viewer(gateway.url, gateway.secret) as viewer:
        with monkeypatch.context() as child:
            child.setattr("os.getpid", lambda: -1)
            with pytest.raises(RuntimeError, match="fork"):
                viewer.get("run_1")
