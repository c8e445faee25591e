"""A Python viewer through a bad day: cuts, silence, killed gateways, tokens of seconds. What it shows is the truth."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gateway import Publisher, Viewer
from gateway.viewer import inboxes
from gateway.viewer.endings import Pauses
from gateway.viewer.following import State
from tests.journeys.gateway_process import SECRET, GatewayProcess, running_gateway, token
from tests.journeys.in_process import serving, until
from tests.journeys.model import PATIENCE_SECONDS
from tests.journeys.proxy import Proxy
from tests.redis_server import binaries, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from gateway.viewer.following import StateChanged
    from gateway.viewer.updates import RunUpdates

LIFE = ("QUEUED", "EXECUTING", "WAITING", "EXECUTING", "COMPLETED")


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with running_server(tmp_path, binaries()["valkey"], "--appendonly", "no") as server:
        yield server.url


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coming back is tried here, not waiting for it."""
    monkeypatch.setattr(Pauses, "next", lambda self: random.uniform(0, 0.05))


async def read_all(updates: RunUpdates, seen: dict[str, list[str]], pause: float = 0) -> None:
    """Take whatever comes, and note every status of each run in the order in which it was first told."""
    async for run in updates:
        await asyncio.sleep(pause)
        told = [entry.status for entry in run.transitions]
        assert told[: len(seen.get(run.id, []))] == seen.get(run.id, []), "history does not change"
        seen[run.id] = told


@asynccontextmanager
async def reading(*iterators: RunUpdates) -> AsyncIterator[list[dict[str, list[str]]]]:
    seen: list[dict[str, list[str]]] = [{} for _ in iterators]
    async with asyncio.TaskGroup() as tasks:
        readers = [tasks.create_task(read_all(*pair)) for pair in zip(iterators, seen, strict=True)]
        yield seen
        for reader in readers:
            reader.cancel()


async def live_lives(publisher: Publisher, runs: list[str], meanwhile: Callable[[int], Any]) -> None:
    """Let each run live its life, with progress in between; *meanwhile* makes trouble."""
    for number, run in enumerate(runs):
        job = publisher.create("resize", id=run, tags=["all", f"part-{number % 3}"])
        job.start()
        job.progress(number, len(runs))
        await meanwhile(number)
        job.wait()
        job.resume()
        job.set("number", number)
        job.complete({"number": number})
    publisher.flush(5)


async def test_over_cuts_and_silence_it_shows_every_status_and_the_truth_in_the_end(redis_url: str) -> None:
    """The network between viewer and gateway is cut, refuses, and falls silent, in any order."""
    runs = [f"run_{number}" for number in range(45)]
    dice = random.Random(7)
    with Publisher(redis_url) as publisher:
        async with (
            serving(redis_url, heartbeat_seconds=0.1) as gateway,
            Proxy(gateway.port) as network,
            Viewer(f"http://127.0.0.1:{network.port}", token()) as viewer,
        ):

            async def trouble(number: int) -> None:
                match number % 9:
                    case 2:
                        for link in list(network._links):
                            link.cut()
                    case 5:
                        await network.refuse()
                        await until(lambda: viewer.state is State.RECONNECTING, "its noticing")
                        await network.accept()
                    case 8:
                        network.fall_silent()
                        await until(lambda: viewer.state is State.RECONNECTING, "its noticing")
                        network.speak()
                await asyncio.sleep(dice.uniform(0, 0.02))

            feeds = [viewer.all(), viewer.tags("all", "part-1"), viewer.task("resize"), viewer.run("run_44")]
            async with reading(*feeds[:3]) as seen:
                await live_lives(publisher, runs, trouble)
                ended = await viewer.wait_for_completion("run_44", timeout=PATIENCE_SECONDS)
                await until(lambda: len(seen[0]) == len(runs), "every run")
                await until(lambda: all(len(told) == len(LIFE) for told in seen[0].values()), "every status")
                await until(lambda: viewer.state is State.LIVE, "live")
                await until(lambda: len(seen[1]) == 15 and len(seen[2]) == 45, "the other feeds")
                await until(lambda: all(len(t) == len(LIFE) for told in seen for t in told.values()), "their statuses")
                shown = feeds[0].runs
                async with Viewer(gateway.url, token()) as fresh, fresh.all() as everything:
                    await everything.until_caught_up()
                    truth = everything.runs

    assert all(tuple(told) == LIFE for told in seen[0].values())
    assert ended.output == {"number": 44}
    assert {run: known.fields for run, known in shown.items()} == {run: known.fields for run, known in truth.items()}


async def test_a_slow_reader_misses_no_run_over_cuts(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its feed is left and taken up again all the time, and the network breaks meanwhile; who is fast feels nothing."""
    monkeypatch.setattr(inboxes, "MAX_RUNS_WAITING", 4)
    runs = [f"run_{number}" for number in range(60)]
    slow_seen: dict[str, list[str]] = {}
    with Publisher(redis_url) as publisher:
        async with (
            serving(redis_url, heartbeat_seconds=0.1) as gateway,
            Proxy(gateway.port) as network,
            Viewer(f"http://127.0.0.1:{network.port}", token()) as viewer,
        ):

            async def trouble(number: int) -> None:
                if number % 7 == 3:
                    for link in list(network._links):
                        link.cut()
                await asyncio.sleep(0.005)

            slow = asyncio.create_task(read_all(viewer.tags("all"), slow_seen, pause=0.01))
            async with reading(viewer.tags("all")) as (seen,):
                await live_lives(publisher, runs, trouble)
                everything = dict.fromkeys(runs, LIFE)
                await until(lambda: {run: tuple(told) for run, told in seen.items()} == everything, "every status")
                await until(lambda: {run: tuple(told) for run, told in slow_seen.items()} == everything, "all of it")
            slow.cancel()


async def test_over_cuts_each_chunk_of_a_stream_comes_once_and_in_order(redis_url: str) -> None:
    dice = random.Random(5)
    with Publisher(redis_url) as publisher:
        job = publisher.create("chat", id="run_1")
        stream = job.stream("llm")
        async with (
            serving(redis_url, heartbeat_seconds=0.1) as gateway,
            Proxy(gateway.port) as network,
            Viewer(f"http://127.0.0.1:{network.port}", token()) as viewer,
        ):

            async def read(pause: float) -> list[tuple[int, int]]:
                seen = []
                async for chunk in viewer.stream("run_1", "llm"):
                    seen.append((chunk.index, chunk.value["number"]))
                    await asyncio.sleep(pause)
                return seen

            readers = [asyncio.create_task(read(pause)) for pause in (0, 0, 0.001)]
            for number in range(300):
                stream.write({"number": number, "text": "x" * dice.randrange(2000)})
                if number % 40 == 7:
                    for link in list(network._links):
                        link.cut()
                await asyncio.sleep(0.003)
            job.complete()
            publisher.flush(5)
            told = await asyncio.wait_for(asyncio.gather(*readers), PATIENCE_SECONDS)

    assert told == [[(number, number) for number in range(300)]] * 3


async def test_over_killed_gateways_nothing_is_missed(tmp_path: Path, redis_url: str) -> None:
    runs = [f"run_{number}" for number in range(12)]
    told: list[StateChanged] = []
    with running_gateway(tmp_path / "log", redis_url) as gateway, Publisher(redis_url) as publisher:
        async with Viewer(gateway.url, SECRET, on_state=told.append) as viewer:

            async def trouble(number: int) -> None:
                if number == 5:
                    await until(lambda: viewer.state is State.LIVE, "live")
                    await asyncio.to_thread(kill_and_restart, gateway)

            async with reading(viewer.tags("all")) as (seen,):
                waiting = [asyncio.create_task(viewer.wait_for_completion(run)) for run in runs]
                await live_lives(publisher, runs, trouble)
                ended = await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE_SECONDS)
                await until(lambda: sum(map(len, seen.values())) == len(runs) * len(LIFE), "every status")
            assert viewer._lines.sockets == 1

    assert [tuple(entry.status for entry in run.transitions) for run in ended] == [LIFE] * len(runs)
    assert State.RECONNECTING in {event.state for event in told}


def kill_and_restart(gateway: GatewayProcess) -> None:
    gateway.kill()
    gateway.start()


async def test_tokens_that_end_soon_are_renewed_without_a_gap_or_another_connection(redis_url: str) -> None:
    """The callable is asked in time; the socket stays the same for several of their lives."""
    made: list[float] = []
    told: list[StateChanged] = []

    def fresh() -> str:
        made.append(time.monotonic())
        return token(expires="8s")  # gateway and viewer share a loop, which may stand still for a while

    async with serving(redis_url) as gateway, Viewer(gateway.url, fresh, on_state=told.append) as viewer:
        with Publisher(redis_url) as publisher:
            updates = viewer.run("run_1")
            job = publisher.create("resize", id="run_1")
            numbers: list[Any] = []
            while len(made) < 3:
                job.set("number", len(numbers))
                publisher.flush(1)
                run = await asyncio.wait_for(anext(updates), PATIENCE_SECONDS)
                numbers.append(run.metadata.get("number"))
                await asyncio.sleep(0.1)
            job.complete()
            assert [run.status async for run in updates][-1] == "COMPLETED"
        assert gateway.viewers == 1

    assert [event.state for event in told] == [State.CONNECTING, State.LIVE]
    pauses = [after - before for before, after in itertools.pairwise(made)]
    assert all(pause > 1 for pause in pauses), "it is not asked more often than it must be"


async def test_viewers_that_come_and_go_leave_nothing_at_the_gateway(redis_url: str) -> None:
    """Iterators begin and end in every way, by the hundred, on one socket."""
    dice = random.Random(3)
    with Publisher(redis_url) as publisher:
        for number in range(10):
            publisher.create("resize", id=f"run_{number}", tags=["all"])
        publisher.flush(5)
        async with serving(redis_url) as gateway:
            async with Viewer(gateway.url, SECRET) as viewer:

                async def visit() -> None:
                    for _ in range(25):
                        updates = viewer.run(f"run_{dice.randrange(10)}") if dice.random() < 0.7 else viewer.tags("all")
                        if dice.random() < 0.7:
                            assert (await asyncio.wait_for(anext(updates), PATIENCE_SECONDS)).status == "QUEUED"
                        await asyncio.sleep(0)
                        if dice.random() < 0.5:
                            await updates.aclose()

                await asyncio.gather(*(visit() for _ in range(20)))
                await until(lambda: not viewer._lines._feeds, "their leaving")
                await until(lambda: not gateway.leftovers()["groups"], "the feeds to be left")
                assert gateway.viewers == 1
            await until(lambda: not gateway.leftovers()["viewers"], "its leaving")
