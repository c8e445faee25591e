"""What the synchronous publisher promises to a job."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from gateway.changes import Limits, Outcome
from gateway.errors import BadChange, BadFeed, TooLarge
from gateway.publisher import Publisher, current_run
from gateway.publisher.outbox import INTERVAL_SECONDS
from gateway.store.redis_keys import Retention, run_key
from tests.gateway.publisher.waiting import until

if TYPE_CHECKING:
    from gateway.feeds import EnvironmentId
    from tests.gateway.store.changing import Changing
    from tests.redis_server import RedisServer


def statuses(stored: Changing, run: str) -> list[str]:
    return [transition[1] for transition in stored.row(run)["transitions"]]


# Creating and the life of a run


def test_a_created_run_has_all_it_was_given(publisher: Publisher, stored: Changing) -> None:
    run = publisher.create(
        "resize",
        payload={"size": []},
        tags=["customer:7"],
        batch="batch_1",
        parent="run_p",
        root="run_r",
        metadata={"k": {}},
        ttl="10m",
        idempotency_key="once",
        is_test=True,
        number=7,
    )
    row = stored.row(run.id)
    assert run.id.startswith("run_")
    assert len(run.id) == 28
    assert row["status"] == "PENDING"
    assert {name: row[name] for name in ("taskIdentifier", "payload", "payloadType", "runTags", "batchId")} == {
        "taskIdentifier": "resize",
        "payload": {"size": []},
        "payloadType": "application/json",
        "runTags": ["customer:7"],
        "batchId": "batch_1",
    }
    assert (row["parentRunId"], row["rootRunId"]) == ("run_p", "run_r")
    assert (row["ttl"], row["idempotencyKey"], row["isTest"], row["number"]) == ("10m", "once", True, 7)
    assert stored.metadata(run.id) == {"k": {}}


def test_a_run_that_is_to_begin_later_is_delayed(publisher: Publisher, stored: Changing) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    row = stored.row(publisher.create("t", delay_until=later).id)
    assert row["status"] == "DELAYED"
    assert row["delayUntil"] == int(later.timestamp() * 1000)


def test_creating_again_changes_nothing(publisher: Publisher, stored: Changing) -> None:
    publisher.create("t", id="r", metadata={"k": 1})
    before = stored.stored("r")
    publisher.create("t", id="r", metadata={"k": 2})
    assert stored.stored("r") == before


def test_every_ending_has_its_status(publisher: Publisher, stored: Changing) -> None:
    """Each method of a run says the status that its name means."""
    said: dict[str, Any] = {
        "COMPLETED_SUCCESSFULLY": lambda run: run.complete(1),
        "COMPLETED_WITH_ERRORS": lambda run: run.fail("x"),
        "CANCELED": lambda run: run.cancel("x"),
        "CRASHED": lambda run: run.crash("x"),
        "TIMED_OUT": lambda run: run.time_out(),
        "EXPIRED": lambda run: run.expire(),
        "SYSTEM_FAILURE": lambda run: run.status("SYSTEM_FAILURE", error="x"),
    }
    for status, say in said.items():
        run = publisher.create("t")
        assert run.start() is Outcome.APPLIED
        assert say(run) is Outcome.APPLIED
        assert say(run) is Outcome.UNCHANGED
        assert run.start() is Outcome.STALE
        row = stored.row(run.id)
        assert row["status"] == status
        assert row["completedAt"]
        if status not in ("COMPLETED_SUCCESSFULLY", "TIMED_OUT", "EXPIRED"):
            assert row["error"] == {"type": "STRING_ERROR", "raw": "x"}


def test_an_exception_is_told_with_its_causes(publisher: Publisher, stored: Changing) -> None:
    """Name, message and stack of what was raised, and of what led to it."""
    run = publisher.create("t")
    try:
        try:
            raise KeyError("deep")
        except KeyError as cause:
            raise ValueError("on top \udcff") from cause
    except ValueError as error:
        run.fail(error)
    told = stored.row(run.id)["error"]
    assert (told["type"], told["name"], told["message"]) == ("BUILT_IN_ERROR", "ValueError", "on top ?")
    assert "raise ValueError" in told["stackTrace"]
    assert "deep" not in told["stackTrace"]
    assert [(cause["name"], cause["message"]) for cause in told["causes"]] == [("KeyError", "'deep'")]


def test_a_retry_is_followed_by_the_next_attempt(publisher: Publisher, stored: Changing) -> None:
    run = publisher.create("t")
    run.start()
    run.retry(ValueError("first"))
    assert stored.row(run.id)["status"] == "RETRYING_AFTER_FAILURE"
    assert stored.row(run.id)["error"]["message"] == "first"
    run.start()
    row = stored.row(run.id)
    assert (row["status"], row["attempt"], "error" in row) == ("EXECUTING", 2, False)
    run.complete()
    assert stored.row(run.id)["status"] == "COMPLETED_SUCCESSFULLY"


def test_waiting_and_resuming(publisher: Publisher, stored: Changing) -> None:
    run = publisher.create("t")
    run.start()
    run.wait()
    run.resume()
    assert statuses(stored, run.id) == ["PENDING", "EXECUTING", "WAITING_TO_RESUME", "EXECUTING"]


def test_a_handle_whose_task_is_known_creates_the_run(publisher: Publisher, stored: Changing) -> None:
    """A worker may be faster than whoever created the run; what the creator knows fills the gaps."""
    publisher.run("r", task="resize", tags=["a"], batch="b").start()
    publisher.create("resize", id="r", payload=1, tags=["c"])
    row = stored.row("r")
    assert (row["status"], row["payload"], row["batchId"]) == ("EXECUTING", 1, "b")
    assert row["runTags"] == ["a", "c"]


def test_a_handle_without_a_task_creates_nothing(publisher: Publisher, stored: Changing) -> None:
    assert publisher.run("r").start() is Outcome.MISSING
    assert stored.stored("r") == {}
    assert publisher.statistics.dropped == {"missing": 1}


def test_the_context_is_kept_from_the_start(publisher: Publisher, stored: Changing) -> None:
    """What the job knows of itself, and only what it knows."""
    run = publisher.create("t")
    run.start(attempt=1, context={"machine": {"cpu": 2, "name": None}, "attempt": {"number": 1}})
    assert stored.row(run.id)["context"] == {"machine": {"cpu": 2}, "attempt": {"number": 1}}
    assert run.context == {"machine": {"cpu": 2}, "attempt": {"number": 1}}


def test_tags_are_added(publisher: Publisher, stored: Changing) -> None:
    run = publisher.create("t", tags=["a"])
    assert run.add_tags("b", "a") is Outcome.APPLIED
    assert run.add_tags("b") is Outcome.UNCHANGED
    assert stored.row(run.id)["runTags"] == ["a", "b"]


def test_too_many_tags_are_dropped_and_the_status_is_not(
    publisher: Publisher, stored: Changing, caplog: pytest.LogCaptureFixture
) -> None:
    run = publisher.create("t", tags=[f"t{number}" for number in range(10)])
    assert publisher.run(run.id).status("EXECUTING", tags=["more"]) is Outcome.APPLIED
    assert publisher.run(run.id).add_tags("more") is Outcome.DROPPED
    assert stored.row(run.id)["status"] == "EXECUTING"
    assert publisher.statistics.dropped == {"too_many_tags": 2}
    assert "10 tags" in caplog.text


# Metadata and progress


def test_progress_is_shown_with_its_percentage(publisher: Publisher, stored: Changing) -> None:
    run = publisher.create("t")
    run.progress(1, 3, "thumbnails")
    assert stored.metadata(run.id) == {"progress": {"current": 1, "total": 3, "percent": 33.33, "text": "thumbnails"}}
    run.progress(7)
    publisher.flush()
    assert stored.metadata(run.id)["progress"] == {"current": 7}
    run.progress(5, 0)
    publisher.flush()
    assert stored.metadata(run.id)["progress"]["percent"] == 100


def test_the_last_progress_always_arrives(publisher: Publisher, stored: Changing) -> None:
    """A thousand ticks cost a few changes, and the last one is there without anybody asking."""
    began, run = time.monotonic(), publisher.create("t")
    for tick in range(1000):
        run.progress(tick, 999)
    until(lambda: stored.metadata(run.id)["progress"]["current"] == 999)
    until(lambda: not publisher.statistics.unsent)
    statistics = publisher.statistics
    assert statistics.sent < 5 + (time.monotonic() - began) / INTERVAL_SECONDS
    assert statistics.sent + statistics.coalesced >= 1000


def test_what_waits_goes_with_the_status_as_one_change(publisher: Publisher, stored: Changing) -> None:
    run = publisher.create("t")
    run.progress(1, 2)
    with stored.listen() as listening:
        run.progress(2, 2)
        run.append("log", "done")
        run.complete()
        (event,) = [event for feed, event in listening.heard() if feed == f"run:{run.id}"]
    assert event.columns["status"] == "COMPLETED_SUCCESSFULLY"
    assert event.metadata == {"progress": {"current": 2, "total": 2, "percent": 100}, "log": ["done"]}


def test_every_operation_does_what_it_says(publisher: Publisher, stored: Changing) -> None:
    run = publisher.create("t", metadata={"gone": 1})
    run.set("set", {"deep": [1]})
    run.delete("gone")
    run.append("list", 1)
    run.append("list", 2)
    run.remove("list", 1)
    run.increment("n", 5)
    run.decrement("n", 2)
    run.set("$.set.deep.0", 9)
    publisher.flush()
    assert stored.metadata(run.id) == {"set": {"deep": [9]}, "list": [2], "n": 3}
    run.update({"only": []})
    publisher.flush()
    assert stored.metadata(run.id) == {"only": []}


def test_values_are_taken_as_they_are_when_said(publisher: Publisher, stored: Changing) -> None:
    run = publisher.create("t")
    items = [1]
    run.set("first", 1)
    run.set("items", items)
    items.append(2)
    publisher.flush()
    assert stored.metadata(run.id)["items"] == [1]


def test_parent_and_root_are_found(publisher: Publisher, stored: Changing) -> None:
    """By the handle, or by asking the row once; a run without is its own."""
    publisher.create("t", id="root")
    publisher.create("t", id="parent", parent="root", root="root")
    child = publisher.create("t", id="child", parent="parent", root="root")
    child.parent.increment("done")
    child.root.increment("done")
    publisher.run("child").parent.increment("done")
    publisher.run("child").root.increment("done")
    publisher.run("root").parent.increment("done")
    publisher.flush()
    assert stored.metadata("parent") == {"done": 2}
    assert stored.metadata("root") == {"done": 3}


def test_two_writers_do_not_lose_each_others(
    redis_server: RedisServer, environment: EnvironmentId, stored: Changing
) -> None:
    """Operations that take a value apart are computed again when somebody was faster."""
    publishers = [Publisher(redis_server.url, environment=environment) for _ in range(4)]
    publishers[0].create("t", id="r", metadata={"counts": {}, "list": list(range(200)), "n": 0})

    def write(index: int) -> None:
        run = publishers[index].run("r")
        for step in range(25):
            run.set(f"$.counts.{index}", step)
            run.remove("list", index * 25 + step)
            run.increment("n")
            publishers[index].flush()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    for publisher in publishers:
        assert publisher.statistics.dropped == {}
        publisher.close()
    assert stored.metadata("r") == {
        "counts": {str(index): 24 for index in range(4)},
        "list": list(range(100, 200)),
        "n": 100,
    }


def test_threads_share_a_publisher(publisher: Publisher, stored: Changing) -> None:
    """Nothing is lost, and each run's statuses are in order."""

    def live(index: int) -> None:
        with publisher.running("t", id=f"run_{index}") as run:
            for tick in range(50):
                run.progress(tick)
                run.increment("ticks")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(live, range(64)))
    for index in range(64):
        assert statuses(stored, f"run_{index}") == ["PENDING", "EXECUTING", "COMPLETED_SUCCESSFULLY"]
        assert stored.metadata(f"run_{index}") == {"progress": {"current": 49}, "ticks": 50}
    assert publisher.statistics.dropped == {}


def test_progress_costs_the_job_little(publisher: Publisher) -> None:
    """Amortised far below what anybody would notice; the bound is generous for slow machines."""
    run = publisher.create("t")
    run.progress(0)
    began = time.thread_time()
    for tick in range(20_000):
        run.progress(tick, 20_000)
    assert (time.thread_time() - began) / 20_000 < 100e-6


# What a run could not store is visible


def test_metadata_over_its_limit_is_dropped_and_the_status_is_sent(
    redis_server: RedisServer, environment: EnvironmentId, stored: Changing, caplog: pytest.LogCaptureFixture
) -> None:
    """Counted, logged once per run; what was there stays."""
    limits = Limits(metadata_bytes=1000)
    with Publisher(redis_server.url, environment=environment, limits=limits) as publisher:
        run = publisher.create("t", metadata={"small": 1})
        run.set("big", "x" * 2000)
        run.set("big", "x" * 2000)
        assert run.complete() is Outcome.APPLIED
        assert publisher.statistics.dropped == {"metadata_too_large": 2}
    assert stored.metadata(run.id) == {"small": 1}
    assert stored.row(run.id)["status"] == "COMPLETED_SUCCESSFULLY"
    assert len([record for record in caplog.records if run.id in record.getMessage()]) == 1
    assert "the limit is 1000" in caplog.text


def test_an_output_over_its_limit_is_left_out_and_the_run_completes(
    redis_server: RedisServer, environment: EnvironmentId, stored: Changing, caplog: pytest.LogCaptureFixture
) -> None:
    with Publisher(redis_server.url, environment=environment, limits=Limits(output_bytes=100)) as publisher:
        run = publisher.create("t")
        assert run.complete("x" * 200) is Outcome.APPLIED
        assert publisher.statistics.dropped == {"output_too_large": 1}
    assert "output" not in stored.row(run.id)
    assert "output is 202 bytes" in caplog.text


def test_a_refused_change_is_dropped_and_not_tried_for_ever(
    publisher: Publisher, stored: Changing, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody else's key where the run should be: counted, logged, and the next run goes well."""
    stored.client.set(run_key(stored.environment, "r"), "not a hash", ex=60)
    assert publisher.create("t", id="r").complete() is Outcome.DROPPED
    assert publisher.statistics.dropped == {"refused": 2}
    assert "WRONGTYPE" in caplog.text
    assert publisher.create("t").complete() is Outcome.APPLIED


# Wrong arguments are told at once


@pytest.mark.parametrize(
    "said",
    [
        lambda publisher: publisher.create(""),
        lambda publisher: publisher.create(7),
        lambda publisher: publisher.create(["t"]),
        lambda publisher: publisher.create("t", batch={"b": 1}),
        lambda publisher: publisher.create("t", tags=[["a"]]),
        lambda publisher: publisher.create("t", id=7),
        lambda publisher: publisher.create("t", number="7"),
        lambda publisher: publisher.create("t", ttl=[]),
        lambda publisher: publisher.create("t", id="a b"),
        lambda publisher: publisher.create("t", tags=["a,b"]),
        lambda publisher: publisher.create("t", tags="abc"),
        lambda publisher: publisher.create("t", tags=[str(number) for number in range(11)]),
        lambda publisher: publisher.create("t", payload=object()),
        lambda publisher: publisher.create("t", status="DONE"),
        lambda publisher: publisher.create("t", metadata={"k": object()}),
        lambda publisher: publisher.create("t", delay_until="tomorrow"),
        lambda publisher: publisher.run("r", attempt=0),
        lambda publisher: publisher.run("r", context={"nonsense": {}}),
        lambda publisher: publisher.run("r").start(context={"task": {"nonsense": 1}}),
        lambda publisher: publisher.run("r").start(context={"machine": {"cpu": "two"}}),
        lambda publisher: publisher.run("r").start(attempt="1"),
        lambda publisher: publisher.run("r").progress("half"),
        lambda publisher: publisher.run("r").progress(float("nan")),
        lambda publisher: publisher.run("r").progress(1, -1),
        lambda publisher: publisher.run("r").progress(1, 2, b"text"),
        lambda publisher: publisher.run("r").set("k", object()),
        lambda publisher: publisher.run("r").increment("k", "1"),
        lambda publisher: publisher.run("r").add_tags("a\nb"),
        lambda publisher: publisher.run("r").complete(object()),
        lambda publisher: publisher.run("r").status("DONE"),
    ],
)
def test_wrong_arguments_are_told_at_once(publisher: Publisher, said: Any) -> None:
    with pytest.raises((BadChange, BadFeed)) as caught:
        said(publisher)
    assert str(caught.value)
    assert publisher.statistics.sent == 0


def test_a_payload_over_its_limit_is_told_at_once(redis_server: RedisServer) -> None:
    with Publisher(redis_server.url, limits=Limits(payload_bytes=10)) as publisher, pytest.raises(TooLarge):
        publisher.create("t", payload="x" * 20)


# The ambient run and `running`


def test_running_is_the_whole_life_of_a_run(publisher: Publisher, stored: Changing) -> None:
    with publisher.running("t", tags=["a"]) as run:
        assert current_run() is run
        with publisher.running("t") as inner:
            assert current_run() is inner
        assert current_run() is run
    assert current_run() is None
    assert statuses(stored, run.id) == ["PENDING", "EXECUTING", "COMPLETED_SUCCESSFULLY"]


def test_running_fails_with_what_is_raised(publisher: Publisher, stored: Changing) -> None:
    with pytest.raises(ZeroDivisionError), publisher.running("t", id="r"):
        _ = 1 / 0
    assert stored.row("r")["error"]["name"] == "ZeroDivisionError"
    assert current_run() is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_running_is_canceled_from_outside(publisher: Publisher, stored: Changing, error: type[BaseException]) -> None:
    with pytest.raises(error), publisher.running("t", id="r"):
        raise error
    assert stored.row("r")["status"] == "CANCELED"


def test_another_end_can_be_said_inside(publisher: Publisher, stored: Changing) -> None:
    with publisher.running("t", id="a") as run:
        run.complete({"n": 1})
    with publisher.running("t", id="b") as run:
        run.cancel("not needed")
    assert stored.row("a")["output"] == {"n": 1}
    assert stored.row("b")["status"] == "CANCELED"


def test_attaching_and_detaching(publisher: Publisher) -> None:
    """As hooks of a task queue do it, and as a block; in another thread there is no ambient run."""
    run = publisher.run("r")
    attachment = run.attach()
    assert current_run() is run
    seen: list[object] = []
    thread = threading.Thread(target=lambda: seen.append(current_run()))
    thread.start()
    thread.join()
    assert seen == [None]
    attachment.detach()
    attachment.detach()
    assert current_run() is None
    with run as same:
        assert current_run() is same is run
    assert current_run() is None


# Settings of a publisher


def test_retention_and_environment_are_used(redis_server: RedisServer, stored: Changing) -> None:
    retention = Retention(finished_seconds=60, unfinished_seconds=120)
    with Publisher(redis_server.url, environment=stored.environment, retention=retention) as publisher:
        publisher.create("t", id="r").complete()
    assert 60_000 < stored.client.pttl(run_key(stored.environment, "r")) < 120_000


def test_after_closing_it_opens_again(publisher: Publisher, stored: Changing) -> None:
    """Closing twice is harmless, and so is going on."""
    run = publisher.create("t")
    publisher.close()
    publisher.close()
    assert run.complete() is Outcome.APPLIED
    assert stored.row(run.id)["status"] == "COMPLETED_SUCCESSFULLY"
