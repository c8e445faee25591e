"""What the synchronous publisher promises to a job."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from gateway.changes import Outcome
from gateway.publisher import Publisher
from gateway.store.redis_keys import Retention, run_key

if TYPE_CHECKING:
    import pytest

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
