"""What is sent into a run, and the job that reads it: each value once, and waiting ends when it should."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.changes import Limits, Outcome
from gateway.errors import BadChange, BadCursor, BadFeed, Cancelled, NoMoreInput, TooLarge
from gateway.publisher import Publisher
from gateway.publisher.readers import PEEK_SECONDS
from gateway.store.redis_keys import stream_key
from tests.gateway.publisher.listening import AT_ONCE, Waiting, heard
from tests.gateway.publisher.waiting import until

if TYPE_CHECKING:
    from gateway.feeds import EnvironmentId
    from gateway.publisher import Run
    from tests.gateway.store.changing import Changing
    from tests.redis_server import RedisServer


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
