"""Many who wait for inputs: they share one connection, and nothing is lost while Redis is away."""

from __future__ import annotations

import os
import random
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.publisher import Publisher
from gateway.publisher import ears as ears_module
from gateway.publisher.ears import GUARD_SECONDS
from tests.gateway.publisher.listening import AT_ONCE, Waiting, heard, subscriptions
from tests.gateway.publisher.waiting import LosingProxy, until

if TYPE_CHECKING:
    from gateway.feeds import EnvironmentId
    from gateway.publisher import Run
    from tests.redis_server import RedisServer


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
        assert time.monotonic() - began < AT_ONCE
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
