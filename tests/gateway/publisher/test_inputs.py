"""What is sent into a run, and the job that reads it: each value once, whatever becomes of threads and connections."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.changes import Limits, Outcome
from gateway.errors import BadChange, BadCursor, BadFeed, Cancelled, NoMoreInput, TooLarge
from gateway.publisher import AsyncPublisher, Publisher
from gateway.publisher import ears as ears_module
from gateway.publisher.ears import GUARD_SECONDS, NAME
from gateway.publisher.readers import PEEK_SECONDS
from gateway.store.redis_keys import stream_key
from tests.gateway.publisher.waiting import LosingProxy, until
from tests.redis_server import RedisServer, binaries, running_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.feeds import EnvironmentId
    from gateway.publisher import Run
    from tests.gateway.store.changing import Changing

#: Far less than the time after which somebody who waits looks by itself; far more than a message takes.
AT_ONCE = 5.0


class Waiting:
    """Something that waits in a thread of its own."""

    def __init__(self, wait: Callable[[], Any]) -> None:
        self._wait = wait
        self._result: Any = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._wait()
        except BaseException as error:
            self._result = error

    def result(self, seconds: float = 10) -> Any:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "it still waits"
        return self._result


def subscriptions(server: RedisServer) -> int:
    """Connections on which publishers hear."""
    with server.client() as client:
        return [entry["name"] for entry in client.client_list()].count(NAME)


def heard(server: RedisServer, environment: str, run: str) -> bool:
    """Whether somebody hears what happens to the streams of a run."""
    channel = f"runcast:{{{environment}}}:changes:streams:{run}"
    with server.client() as client:
        return bool(client.execute_command("PUBSUB", "NUMSUB", channel)[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """One whose connections are counted, and that may be stopped."""
    with running_server(tmp_path, binaries()["valkey"]) as server:
        yield server


@pytest.fixture
def run(publisher: Publisher) -> Run:
    run = publisher.create("approve", id="r")
    run.start()
    return run


# Sending and taking


def test_values_are_taken_once_and_in_order(publisher: Publisher, run: Run) -> None:
    """Those that were sent before anybody asked, too; whichever handle to the reader asks."""
    outside = publisher.run("r").input("approval")
    values = [{"approved": True}, None, 0, "x", [1, {"y": None}], ""]
    for value in values:
        assert outside.send(value) in (Outcome.APPLIED, Outcome.DEFERRED)
    assert [run.input("approval").wait(5) for _ in values] == values
    with pytest.raises(TimeoutError, match="nothing is lost"):
        run.input("approval").wait(0)


def test_a_job_that_waits_is_woken_at_once(publisher: Publisher, run: Run, redis_server: RedisServer) -> None:
    waiting = Waiting(lambda: run.input("approval").wait(30))
    until(lambda: heard(redis_server, publisher.environment, "r"))
    began = time.monotonic()
    publisher.run("r").input("approval").send("yes")
    assert waiting.result() == "yes"
    assert time.monotonic() - began < AT_ONCE


def test_text_that_only_javascript_has_is_read(run: Run) -> None:
    """Half of a surrogate pair has no UTF-8, and no place in Python's text."""
    run._append("$trigger.input:approval", [rb'"a\ud83d"'])
    assert run.input("approval").wait(5) == "a\ufffd"


def test_inputs_of_other_keys_and_runs_are_others(publisher: Publisher, run: Run) -> None:
    publisher.create("approve", id="other").start()
    publisher.run("other").input("approval").send("other run")
    run.input("comment").send("other key")
    run.stream("approval").write("what the job writes itself")
    publisher.flush()
    with pytest.raises(TimeoutError):
        run.input("approval").wait(0.05)
    assert run.input("comment").wait(5) == "other key"


def test_an_input_is_kept_with_its_run_and_shown_to_nobody(publisher: Publisher, run: Run, stored: Changing) -> None:
    run.stream("tokens").write(1)
    sequence = stored.row("r")["updatedAt"], stored.stored("r")["_sequence"]
    run.input("approval").send({"approved": True})
    publisher.flush()
    assert (stored.row("r")["updatedAt"], stored.stored("r")["_sequence"]) == sequence  # nobody was told
    run.stream("more").write(2)
    publisher.flush()
    assert stored.row("r")["realtimeStreams"] == ["tokens", "more"]
    assert stored.stored("r")["_streams"] == "tokens,$trigger.input:approval,more"
    client: Any = stored.client
    (_, fields) = client.xrange(stream_key(stored.environment, "r", "$trigger.input:approval"))[0]
    assert fields["0"] == '{"approved":true}'


def test_what_is_sent_to_nobody_is_told(publisher: Publisher, run: Run) -> None:
    assert publisher.run("none").input("approval").send(1) is Outcome.MISSING
    run.complete()
    assert publisher.run("r").input("approval").send(1) is Outcome.STALE


def test_wrong_arguments_are_told_at_once(redis_server: RedisServer, environment: EnvironmentId) -> None:
    with Publisher(redis_server.url, environment=environment, limits=Limits(chunk_bytes=10)) as publisher:
        run = publisher.create("t")
        with pytest.raises(BadFeed):
            run.input("a,b")
        with pytest.raises(BadFeed):
            run.input("x" * 250)
        with pytest.raises(BadCursor):
            run.input("a", after="there")
        with pytest.raises(BadChange):
            run.input("a").send(object())
        with pytest.raises(TooLarge):
            run.input("a").send("x" * 20)


# Waiting, and its end


def test_peeking_takes_nothing_and_does_not_wait(publisher: Publisher, run: Run) -> None:
    approval = run.input("approval")
    assert approval.peek() is None
    assert approval.peek("nothing") == "nothing"
    publisher.run("r").input("approval").send(None)
    until(lambda: approval.peek("nothing") is None)
    assert approval.peek("nothing") is None
    assert approval.wait(0) is None
    assert approval.peek("nothing") == "nothing"


def test_peeking_in_a_tight_loop_costs_little(run: Run, stored: Changing) -> None:
    def scripts() -> int:
        statistics: Any = stored.client.info("commandstats")
        return int(statistics.get("cmdstat_evalsha", {}).get("calls", 0))

    before, began = scripts(), time.monotonic()
    for _ in range(5_000):
        run.input("approval").peek()
    looks = (time.monotonic() - began) / PEEK_SECONDS
    assert scripts() - before < 20 + looks  # others may use this server, too


@pytest.mark.parametrize("timeout", [0, 0.2])
def test_waiting_ends_with_the_time(run: Run, timeout: float) -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        run.input("approval").wait(timeout)
    assert timeout <= time.monotonic() - began < timeout + AT_ONCE


def test_a_job_that_is_asked_to_stop_waits_no_longer(
    publisher: Publisher, redis_server: RedisServer, stored: Changing
) -> None:
    """What was sent before is given out; then Cancelled is raised, as everywhere, and the run is CANCELED."""
    taken: list[Any] = []

    def job() -> None:
        with publisher.running("approve", id="c") as run:
            run.raise_if_cancelled()
            taken.extend(run.input("approval"))

    waiting = Waiting(job)
    until(lambda: heard(redis_server, publisher.environment, "c"))
    publisher.run("c").input("approval").send("first")
    until(lambda: taken)
    began = time.monotonic()
    publisher.request_cancel("c", "no longer needed")
    assert isinstance(waiting.result(), Cancelled)
    assert time.monotonic() - began < AT_ONCE
    assert taken == ["first"]
    assert stored.row("c")["status"] == "CANCELED"


def test_the_kind_of_error_is_that_of_the_handle(publisher: Publisher, run: Run) -> None:
    """A job queue may know one of its own."""

    class Revoked(Cancelled):
        pass

    publisher.request_cancel("r")
    with pytest.raises(Revoked):
        publisher.run("r", cancelled=Revoked).input("approval").wait(5)


def test_nothing_comes_for_a_run_that_has_ended(publisher: Publisher, run: Run, redis_server: RedisServer) -> None:
    """Iterating ends, and waiting says why; what was sent before is still there."""
    values, waiting = publisher.run("r").input("approval"), publisher.run("r").input("approval")
    values.send("late")
    publisher.flush()
    told = Waiting(lambda: list(values))
    until(lambda: heard(redis_server, publisher.environment, "r"))
    run.complete()
    assert told.result() == ["late"]
    assert waiting.wait() == "late"
    with pytest.raises(NoMoreInput, match="run r has ended"):
        waiting.wait()


@pytest.mark.parametrize("timeout", [0, None])
def test_what_came_just_before_the_end_is_given_out(
    publisher: Publisher, run: Run, monkeypatch: pytest.MonkeyPatch, timeout: float | None
) -> None:
    """After the job looked, and before it asked whether the run goes on."""
    sender = publisher._opened()
    wish = sender.wish

    def late(*arguments: Any, **words: Any) -> Any:
        publisher.run("r").input("go").send("late")
        run.complete()
        return wish(*arguments, **words)

    monkeypatch.setattr(sender, "wish", late)
    assert run.input("go").wait(timeout) == "late"
    with pytest.raises(NoMoreInput):
        run.input("go").wait(timeout)


def test_another_attempt_goes_on_where_it_is_told_to(publisher: Publisher, run: Run) -> None:
    """A reader of its own begins at the start; with the cursor of another one, behind that."""
    for number in range(5):
        run.input("rows").send(number)
    publisher.flush()
    first = run.input("rows")
    assert first.cursor is None
    assert [first.wait(5), first.wait(5)] == [0, 1]
    again = publisher.run("r")
    assert again.input("rows").wait(5) == 0
    assert [again.input("rows", after=first.cursor).wait(5), again.input("rows").wait(5)] == [2, 3]


# Many who wait


def test_threads_share_what_comes(publisher: Publisher, run: Run) -> None:
    """Each value goes to one of them."""
    taken: list[list[int]] = [[] for _ in range(8)]

    def take(mine: list[int]) -> None:
        while (value := run.input("work").wait(30)) is not None:
            mine.append(value)

    threads = [Waiting(lambda mine=mine: take(mine)) for mine in taken]  # type: ignore[misc]
    outside = publisher.run("r").input("work")
    for number in range(300):
        outside.send(number)
    for _ in threads:
        outside.send(None)
    for thread in threads:
        assert thread.result() is None
    assert sorted(number for mine in taken for number in mine) == list(range(300))
    assert all(mine == sorted(mine) for mine in taken)


def test_who_only_looks_needs_no_further_connection(server: RedisServer) -> None:
    with Publisher(server.url) as publisher:
        run = publisher.create("t", id="r")
        run.input("go").send(1)
        assert (run.input("go").peek(), run.input("go").wait(0)) == (1, 1)
        with pytest.raises(TimeoutError):
            run.input("go").wait(0)
        assert subscriptions(server) == 0
        assert not [thread for thread in threading.enumerate() if "subscription" in thread.name]


def test_all_who_wait_share_one_connection(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are; and none is left soon after nobody waits any more."""
    for module in (ears_module, __import__("gateway.publisher.hearing", fromlist=["x"])):
        monkeypatch.setattr(module, "LINGER_SECONDS", 0.2)
    with Publisher(server.url) as publisher:
        runs = [publisher.create("t", id=f"r{number}") for number in range(20)]
        assert subscriptions(server) == 0
        waiting = [Waiting(lambda run=run: run.input("go").wait(30)) for run in runs]  # type: ignore[misc]
        until(lambda: all(heard(server, "default", run.id) for run in runs))
        assert subscriptions(server) == 1
        for run in runs:
            run.input("go").send(run.id)
        assert [one.result() for one in waiting] == [run.id for run in runs]
        until(lambda: subscriptions(server) == 0)
        assert not [thread for thread in threading.enumerate() if "subscription" in thread.name]
        assert Waiting(lambda: runs[0].input("go").wait(0.3)).result().__class__ is TimeoutError


def test_closing_the_publisher_ends_its_connection_and_nobody_s_waiting(server: RedisServer) -> None:
    """Who still waits opens it again, as everything that is said does."""
    with Publisher(server.url) as publisher:
        run = publisher.create("t", id="r")
        waiting = Waiting(lambda: run.input("go").wait(30))
        until(lambda: heard(server, "default", "r"))
        publisher.close()
        with Publisher(server.url) as other:
            other.run("r").input("go").send("on")
        assert waiting.result() == "on"
    until(lambda: subscriptions(server) == 0)


def test_each_process_after_a_fork_hears_for_itself(server: RedisServer) -> None:
    """A child goes on from where its parent was, and disturbs neither its connection nor its thread."""
    with Publisher(server.url) as publisher:
        run = publisher.create("t", id="r")
        run.input("go").send("before")
        assert run.input("go").wait(5) == "before"
        waiting = Waiting(lambda: run.input("go").wait(30))
        until(lambda: heard(server, "default", "r"))
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if run.input("go").wait(20) == "after" else 2
            finally:
                os._exit(code)
        until(lambda: subscriptions(server) == 2)
        publisher.run("r").input("go").send("after")
        assert waiting.result() == "after"
        assert os.waitpid(child, 0)[1] == 0


# Redis is away


def test_waiting_survives_a_restart(server: RedisServer) -> None:
    """What is sent afterwards comes, once, and so does what was sent before and not taken."""
    with Publisher(server.url) as publisher:
        run = publisher.create("t", id="r")
        for number in range(3):
            run.input("go").send(number)
        publisher.flush()
        assert run.input("go").wait(5) == 0
        taken = Waiting(lambda: [run.input("go").wait(30) for _ in range(4)])
        until(lambda: heard(server, "default", "r"))
        server.stop()
        server.start()
        outside = Publisher(server.url)
        with outside:
            outside.run("r").input("go").send(3)
            outside.run("r").input("go").send(4)
        assert taken.result(20) == [1, 2, 3, 4]


def test_whatever_answers_are_lost_each_value_is_taken_once(
    redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """And connections with them, those on which is heard among them."""
    dice = random.Random(7)
    with (
        Publisher(redis_server.url, environment=environment) as outside,
        LosingProxy(redis_server.port, lambda: dice.random() < 0.1) as proxy,
        Publisher(proxy.url, environment=environment) as publisher,
    ):
        outside.create("t", id="r")
        values = publisher.run("r").input("go")
        taken = Waiting(lambda: [values.wait(30) for _ in range(300)])
        for number in range(300):
            outside.run("r").input("go").send(number)
            if number % 30 == 0:
                outside.flush()
        assert taken.result(30) == list(range(300))
        assert proxy.lost


def test_every_server_will_do(each_redis_server: RedisServer, environment: EnvironmentId) -> None:
    with Publisher(each_redis_server.url, environment=environment) as publisher:
        run = publisher.create("t", id="r")
        waiting = Waiting(lambda: list(run.input("go")))
        until(lambda: heard(each_redis_server, environment, "r"))
        publisher.run("r").input("go").send([1])
        publisher.flush()
        run.complete()
        assert waiting.result() == [[1]]
        assert list(run.stream("none").read()) == []


def test_while_redis_is_away_waiting_ends_in_time_and_hurts_nobody(server: RedisServer) -> None:
    with Publisher(server.url) as publisher:
        run = publisher.create("t", id="r")
        server.stop()
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            run.input("go").wait(0.3)
        assert run.input("go").peek("nothing") == "nothing"
        assert time.monotonic() - began < 3
        waiting = Waiting(lambda: run.input("go").wait(30))
        server.start()
        with Publisher(server.url) as other:
            other.run("r").input("go").send("back")
        assert waiting.result(20) == "back"


def test_what_nobody_heard_is_found(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that died without a word costs some seconds; then there is another one."""
    for name in ("hearing", "readers"):
        module = __import__(f"gateway.publisher.{name}", fromlist=["x"])
        monkeypatch.setattr(module, "GUARD_SECONDS", 0.5)
    assert GUARD_SECONDS > 5
    with Publisher(server.url) as publisher:
        run = publisher.create("t", id="r")
        waiting = Waiting(lambda: run.input("go").wait(30))
        until(lambda: heard(server, "default", "r"))
        ears: Any = publisher._opened().hearing()._ears
        monkeypatch.setattr(ears, "heard", lambda *_: None)
        run.input("go").send(1)
        assert waiting.result() == 1
        monkeypatch.undo()
        again = Waiting(lambda: run.input("go").wait(30))
        run.input("go").send(2)
        assert again.result() == 2


# With await


async def test_the_asynchronous_twin(redis_server: RedisServer, environment: EnvironmentId) -> None:
    async with AsyncPublisher(redis_server.url, environment=environment) as publisher:
        run = await publisher.create("approve", id="r")
        approval = run.input("approval")
        assert await approval.peek("nothing") == "nothing"
        waiting = asyncio.create_task(run.input("approval").wait(30))
        await asyncio.to_thread(until, lambda: heard(redis_server, environment, "r"))
        began = time.monotonic()
        assert await publisher.run("r").input("approval").send({"approved": True}) is Outcome.APPLIED
        assert await waiting == {"approved": True}
        assert time.monotonic() - began < AT_ONCE
        with pytest.raises(TimeoutError):
            await approval.wait(0.05)
        waiting = asyncio.create_task(approval.wait())
        await asyncio.sleep(0)
        waiting.cancel()  # takes nothing with it
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await publisher.run("r").input("approval").send(2)
        assert await approval.wait(5) == 2
        assert approval.cursor
        with pytest.raises(TooLarge):
            await run.input("approval").send("x" * 2_000_000)
        values = asyncio.create_task(_all(run.input("approval")))
        await publisher.run("r").input("approval").send(3)
        await publisher.flush()
        await run.complete()
        assert await values == [3]
        with pytest.raises(NoMoreInput):
            await approval.wait()
        assert await publisher.run("r").input("approval").send(4) is Outcome.STALE


async def _all(values: Any) -> list[Any]:
    return [value async for value in values]


async def test_tasks_share_one_connection_and_are_cancelled_as_elsewhere(server: RedisServer) -> None:
    async with AsyncPublisher(server.url) as publisher:
        runs = [await publisher.create("t", id=f"r{number}") for number in range(20)]
        waiting = [asyncio.create_task(run.input("go").wait(30)) for run in runs]
        await asyncio.to_thread(until, lambda: all(heard(server, "default", run.id) for run in runs))
        assert subscriptions(server) == 1
        for run in runs[1:]:
            await run.input("go").send(run.id)
        assert await asyncio.gather(*waiting[1:]) == [run.id for run in runs[1:]]
        await publisher.request_cancel("r0")
        with pytest.raises(Cancelled):
            await waiting[0]
    await asyncio.to_thread(until, lambda: subscriptions(server) == 0)


async def test_closing_an_asynchronous_publisher_ends_nobody_s_waiting(server: RedisServer) -> None:
    async with AsyncPublisher(server.url) as publisher:
        run = await publisher.create("t", id="r")
        waiting = asyncio.create_task(run.input("go").wait(30))
        await asyncio.to_thread(until, lambda: heard(server, "default", "r"))
        await publisher.close()
        with Publisher(server.url) as other:
            await asyncio.to_thread(other.run("r").input("go").send, "on")
        assert await waiting == "on"
    await asyncio.to_thread(until, lambda: subscriptions(server) == 0)


async def test_waiting_tasks_survive_a_restart(server: RedisServer) -> None:
    async with AsyncPublisher(server.url) as publisher:
        run = await publisher.create("t", id="r")
        waiting = asyncio.create_task(run.input("go").wait(30))
        await asyncio.to_thread(until, lambda: heard(server, "default", "r"))
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        with Publisher(server.url) as other:
            await asyncio.to_thread(other.run("r").input("go").send, "back")
        assert await waiting == "back"
