"""What a Celery application gets from `install(app)`, on a real broker, in a real worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import redis
from celery import chain, group
from celery.exceptions import TaskRevokedError

from gateway import Publisher
from gateway.feeds import EnvironmentId, FeedId
from gateway.integrations.celery import Integration, install
from gateway.store.redis_keys import index_key, prefix
from tests.gateway.store.watching import Watching
from tests.journeys import celery_app as tasks
from tests.journeys.celery_runs import Data
from tests.journeys.model import LATE_SECONDS
from tests.redis_server import RedisServer, binaries, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENVIRONMENT = EnvironmentId("celery_journeys")


@contextmanager
def running_worker(broker: str, data: str, log: Path, *options: str, **settings: str) -> Iterator[int]:
    """A worker that is ready for work; ended by its own process id."""
    environ = (
        os.environ | {"TEST_BROKER_URL": broker, "TEST_DATA_URL": data, "TEST_ENVIRONMENT": ENVIRONMENT} | settings
    )
    command = [sys.executable, "-m", "celery", "-A", "tests.journeys.celery_worker", "worker", "--loglevel", "INFO"]
    with log.open("wb") as output, redis.Redis.from_url(broker, socket_timeout=60) as client:
        worker = subprocess.Popen([*command, *options], env=environ, stdout=output, stderr=subprocess.STDOUT)
        try:
            assert client.blpop(["worker_ready"], timeout=50), log.read_text()
            yield worker.pid
        finally:
            worker.terminate()
            try:
                worker.wait(15)
            except subprocess.TimeoutExpired:
                worker.terminate()  # the second time it does not wait for its tasks
                worker.wait(15)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_server(tmp_path_factory.mktemp("broker"), binaries()["valkey"], "--appendonly", "no") as server:
        yield server


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Data]:
    """A server of its own for our data, which keeps them when it is restarted. Every key must have a lifetime."""
    with running_server(tmp_path_factory.mktemp("data"), binaries()["valkey"]) as server:
        yield Data(server, ENVIRONMENT)
        with server.client() as client:
            immortal = [key for key in client.scan_iter(match=f"{prefix(ENVIRONMENT)}*") if client.pttl(key) < 0]
        assert not immortal


@pytest.fixture(scope="module")
def installed(broker: RedisServer, data: Data) -> Iterator[Integration]:
    """The side that publishes: this process."""
    tasks.app.conf.update(broker_url=broker.url, result_backend=broker.url)
    publisher = Publisher(data.server.url, environment=ENVIRONMENT)
    integration = install(tasks.app, publisher)
    yield integration
    integration.uninstall()
    publisher.close()
    tasks.app.close()


@pytest.fixture(scope="module")
def worker(
    broker: RedisServer, data: Data, installed: Integration, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    log = tmp_path_factory.mktemp("worker") / "log"
    with running_worker(broker.url, data.server.url, log, "--pool", "prefork", "--concurrency", "2") as pid:
        yield pid
    lines = log.read_text().splitlines()
    assert not [line for line in lines if line.startswith("runcast.celery") or "Signal handler" in line]


@pytest.fixture
def run() -> str:
    """The id of a task, which is the id of its run."""
    return str(uuid.uuid4())


@pytest.fixture
def marker(tmp_path: Path) -> str:
    return str(tmp_path / "was here")


@pytest.mark.usefixtures("worker")
class TestWhatBecomesOfATask:
    """Each way in which a task can end has its status, and every status on the way there."""

    def test_success_with_progress(self, data: Data, run: str) -> None:
        """Queued, executing, completed; the last step of its progress, its arguments and its result."""
        tasks.add_up.apply_async(([1, 2, 3],), task_id=run)

        row = data.until(run, "COMPLETED_SUCCESSFULLY")

        assert row.statuses == [("PENDING", 1), ("EXECUTING", 1), ("COMPLETED_SUCCESSFULLY", 1)]
        assert row.columns["taskIdentifier"] == "tests.journeys.celery_app.add_up"
        assert row.columns["payload"] == {"args": [[1, 2, 3]], "kwargs": {}}
        assert row.columns["output"] == 6
        assert row.metadata["progress"] == {"current": 3, "total": 3, "percent": 100, "text": "+3"}

    def test_an_attempt_knows_where_it_runs(self, data: Data, run: str) -> None:
        """The context has the task, the attempt, the run, the queue and the machine, and no path of this machine."""
        tasks.add_up.apply_async(([1],), task_id=run, headers={"run_tags": ["a"]}, time_limit=60)

        context = data.until(run, "COMPLETED_SUCCESSFULLY").columns["context"]

        path = "tests/journeys/celery_app.py"
        assert context["task"] == {"id": tasks.add_up.name, "exportName": "add_up", "filePath": path}
        assert context["attempt"]["number"] == 1
        assert context["attempt"]["backgroundWorkerId"].startswith("celery@")
        assert context["run"] == {"id": run, "tags": ["a"], "maxAttempts": 4, "maxDuration": 60}
        assert context["queue"] == {"name": "celery"}
        assert context["machine"]["cpu"] >= 1

    def test_a_state_of_its_own_is_shown_as_it_is(self, data: Data, run: str) -> None:
        """`update_state` with anything else than progress."""
        tasks.announce.apply_async(task_id=run)

        row = data.until(run, "COMPLETED_SUCCESSFULLY")

        assert row.metadata["state"] == {"name": "UPLOADING", "meta": {"bucket": "b-7"}}

    def test_a_task_finds_its_run_around_it(self, data: Data, run: str) -> None:
        """`current_run()` is the run of the task, for what Celery has no words for."""
        tasks.say_where.apply_async(task_id=run)

        row = data.until(run, "COMPLETED_SUCCESSFULLY")

        assert row.columns["output"] == run
        assert row.metadata["said"] == "by the task"

    def test_retries_then_success_are_one_run(self, data: Data, run: str) -> None:
        """Each attempt is counted, and between two of them the run is retrying."""
        tasks.succeed_after.apply_async((2,), task_id=run)

        row = data.until(run, "COMPLETED_SUCCESSFULLY")

        assert row.statuses == [
            ("PENDING", 1),
            ("EXECUTING", 1),
            ("RETRYING_AFTER_FAILURE", 1),
            ("EXECUTING", 2),
            ("RETRYING_AFTER_FAILURE", 2),
            ("EXECUTING", 3),
            ("COMPLETED_SUCCESSFULLY", 3),
        ]
        assert row.columns["attempt"] == 3
        assert "error" not in row.columns

    def test_retries_that_are_used_up_fail(self, data: Data, run: str) -> None:
        """The last attempt's error is the run's."""
        tasks.never_succeed.apply_async(task_id=run)

        row = data.until(run, "COMPLETED_WITH_ERRORS")

        assert [attempt for status, attempt in row.statuses if status == "EXECUTING"] == [1, 2, 3]
        assert row.columns["error"]["message"] == "no answer"

    def test_failure_has_its_error(self, data: Data, run: str) -> None:
        """Name, message and traceback of the exception."""
        tasks.fail.apply_async(("no such customer",), task_id=run)

        error = data.until(run, "COMPLETED_WITH_ERRORS").columns["error"]

        assert (error["name"], error["message"]) == ("ValueError", "no such customer")
        assert "raise ValueError(message)" in error["stackTrace"]

    def test_an_error_that_cannot_be_pickled_keeps_its_name(self, data: Data, run: str) -> None:
        """Celery wraps such an exception to hand it over; the run shows what was raised."""
        tasks.fail_unpicklably.apply_async(task_id=run)

        error = data.until(run, "COMPLETED_WITH_ERRORS").columns["error"]

        assert error["name"] == "_UnpicklableError"
        assert "holds a lock" in error["message"]

    def test_a_soft_time_limit(self, data: Data, run: str) -> None:
        """Stopped by an exception in the task: timed out."""
        tasks.wait.apply_async(task_id=run, soft_time_limit=0.5)

        assert data.until(run, "TIMED_OUT").statuses[-2:] == [("EXECUTING", 1), ("TIMED_OUT", 1)]

    def test_a_soft_time_limit_reaches_a_task_that_is_reporting(self, data: Data, run: str) -> None:
        """The exception that comes while we are at work belongs to the task, not to us."""
        tasks.report_for_ever.apply_async(task_id=run, soft_time_limit=0.5, time_limit=20)

        row = data.until(run, "TIMED_OUT")

        assert row.metadata["number"] > 1

    def test_a_hard_time_limit(self, data: Data, run: str) -> None:
        """The child is killed, the main process says so (twice): timed out, once."""
        tasks.wait.apply_async(task_id=run, time_limit=0.5)

        assert data.until(run, "TIMED_OUT").statuses[-2:] == [("EXECUTING", 1), ("TIMED_OUT", 1)]

    def test_a_killed_child_is_a_crash(self, data: Data, run: str) -> None:
        """Out of memory, say: nobody in that process can tell, but the main process does."""
        tasks.die.apply_async(task_id=run)

        row = data.until(run, "CRASHED")

        assert row.statuses[-2:] == [("EXECUTING", 1), ("CRASHED", 1)]
        assert "signal 9" in json.dumps(row.columns["error"])

    def test_a_message_that_is_delivered_again_is_a_new_attempt(self, data: Data, run: str, marker: str) -> None:
        """Celery does not count it; we do, for the first one began."""
        tasks.die_once.apply_async((marker,), task_id=run)

        row = data.until(run, "COMPLETED_SUCCESSFULLY")

        assert row.statuses == [("PENDING", 1), ("EXECUTING", 1), ("EXECUTING", 2), ("COMPLETED_SUCCESSFULLY", 2)]

    def test_a_retry_counts_what_was_delivered_again(self, data: Data, run: str, marker: str) -> None:
        """Numbers rise over both kinds of coming back, so that the later attempt is never taken for a late one."""
        tasks.die_then_retry.apply_async((marker,), task_id=run)

        row = data.until(run, "COMPLETED_SUCCESSFULLY")

        assert [attempt for status, attempt in row.statuses if status == "EXECUTING"] == [1, 2, 3]

    def test_revoked_before_it_began(self, data: Data, run: str) -> None:
        """It goes from queued to canceled."""
        tasks.app.control.revoke(run, reply=True, timeout=10, limit=1)
        tasks.add_up.apply_async(([1],), task_id=run)

        assert data.until(run, "CANCELED").statuses == [("PENDING", 1), ("CANCELED", 1)]

    def test_revoked_while_it_runs(self, data: Data, run: str) -> None:
        """The child is terminated; what it was doing is canceled, not crashed."""
        result = tasks.wait.apply_async(task_id=run)
        data.until(run, "EXECUTING")

        result.revoke(terminate=True)

        assert data.until(run, "CANCELED").statuses[-2:] == [("EXECUTING", 1), ("CANCELED", 1)]

    def test_expired_before_it_began(self, data: Data, run: str) -> None:
        """Nobody wants the result any more when a worker comes to it."""
        tasks.add_up.apply_async(([1],), task_id=run, expires=-1)

        assert data.until(run, "EXPIRED").statuses == [("PENDING", 1), ("EXPIRED", 1)]

    def test_a_message_that_expires_gives_its_run_so_much_time(self, data: Data, run: str) -> None:
        """From its ETA, when it has one; where nobody takes the message, the run expires all the same."""
        tasks.add_up.apply_async(([1],), task_id=run, expires=60)
        later = str(uuid.uuid4())
        tasks.add_up.apply_async(([1],), task_id=later, expires=7_200, countdown=3_600)
        row = data.row(later)
        tasks.app.control.revoke(later)

        assert row is not None
        assert row.columns["ttl"] == "3600s"
        assert data.until(run, "COMPLETED_SUCCESSFULLY").columns["ttl"] == "60s"

    def test_a_task_that_is_asked_to_stop(self, data: Data, installed: Integration, run: str) -> None:
        """Canceled, as revoked to whoever waits for its result; it failed in no way, and is not tried again."""
        result = tasks.work_until_asked_to_stop.apply_async(task_id=run)
        data.until(run, "EXECUTING")
        installed.publisher.request_cancel(run, "no longer needed")

        row = data.until(run, "CANCELED")

        assert row.statuses == [("PENDING", 1), ("EXECUTING", 1), ("CANCELED", 1)]
        assert row.columns["error"]["raw"] == "no longer needed"
        with pytest.raises(TaskRevokedError, match="no longer needed"):
            result.get(timeout=10)

    def test_a_task_that_was_asked_to_stop_before_it_began(self, data: Data, installed: Integration, run: str) -> None:
        """It finds out when it first asks."""
        tasks.work_until_asked_to_stop.apply_async(task_id=run, countdown=0.5)
        installed.publisher.request_cancel(run)

        assert data.until(run, "CANCELED").statuses[-2:] == [("EXECUTING", 1), ("CANCELED", 1)]

    def test_a_task_that_waits_for_what_somebody_sends(self, data: Data, installed: Integration, run: str) -> None:
        """Its child of the worker is woken, and goes on with it."""
        result = tasks.ask_a_person.apply_async(task_id=run)
        data.until(run, "EXECUTING")
        installed.publisher.run(run).input("approval").send({"approved": True})

        assert result.get(timeout=20) == {"approved": True}

    def test_a_task_that_is_asked_to_stop_while_it_waits(self, data: Data, installed: Integration, run: str) -> None:
        """As one that asks in a loop, and at once."""
        result = tasks.ask_a_person.apply_async(task_id=run)
        data.until(run, "EXECUTING")
        installed.publisher.request_cancel(run, "no longer needed")

        assert data.until(run, "CANCELED").columns["error"]["raw"] == "no longer needed"
        with pytest.raises(TaskRevokedError, match="no longer needed"):
            result.get(timeout=10)

    def test_a_task_for_later_is_delayed_first(self, data: Data, run: str) -> None:
        """With the moment that it waits for."""
        tasks.add_up.apply_async(([1],), task_id=run, countdown=1)

        row = data.until(run, "COMPLETED_SUCCESSFULLY")

        assert [status for status, _ in row.statuses] == ["DELAYED", "EXECUTING", "COMPLETED_SUCCESSFULLY"]
        assert row.columns["delayUntil"] - row.columns["createdAt"] == pytest.approx(1000, abs=300)

    def test_a_task_that_no_worker_knows(self, data: Data, run: str) -> None:
        """A failure of the system, which says what is missing."""
        tasks.app.send_task("nobody.knows", task_id=run)

        row = data.until(run, "SYSTEM_FAILURE")

        assert "nobody.knows" in row.columns["error"]["raw"]

    def test_an_ignored_task_ends_with_a_note(self, data: Data, run: str) -> None:
        """Celery leaves it open for ever; a viewer is not left with a spinner."""
        tasks.ignore.apply_async(task_id=run)

        assert data.until(run, "COMPLETED_SUCCESSFULLY").metadata["ignored"] == "nothing to do"

    def test_a_task_that_set_its_own_failure_failed(self, data: Data, run: str) -> None:
        """The common way: `update_state("FAILURE", meta)`, then `raise Ignore`."""
        tasks.fail_by_hand.apply_async(task_id=run)

        error = data.until(run, "COMPLETED_WITH_ERRORS").columns["error"]

        assert (error["name"], error["message"]) == ("QuotaExceeded", "no space left")

    def test_a_rejected_task_failed(self, data: Data, run: str) -> None:
        """Its message is thrown away, so nothing will come of it."""
        tasks.reject.apply_async(task_id=run)

        row = data.until(run, "COMPLETED_WITH_ERRORS")

        assert "not for us" in row.columns["error"]["message"]

    def test_a_task_that_was_put_back_comes_again(self, data: Data, run: str, marker: str) -> None:
        """Rejected to the queue: retrying, then a new attempt."""
        tasks.reject_once.apply_async((marker,), task_id=run)

        row = data.until(run, "COMPLETED_SUCCESSFULLY")

        assert row.statuses[1:] == [
            ("EXECUTING", 1),
            ("RETRYING_AFTER_FAILURE", 1),
            ("EXECUTING", 2),
            ("COMPLETED_SUCCESSFULLY", 2),
        ]

    def test_a_replaced_task_goes_on_in_the_other(self, data: Data, run: str) -> None:
        """`Task.replace` keeps the id: one run, that ends when the other task does."""
        tasks.become.apply_async(([4, 5],), task_id=run)

        row = data.until(run, "COMPLETED_SUCCESSFULLY")

        assert row.columns["output"] == 9
        assert row.statuses == [("PENDING", 1), ("EXECUTING", 1), ("COMPLETED_SUCCESSFULLY", 1)]

    @pytest.mark.parametrize("task", [tasks.return_an_object, tasks.return_too_much], ids=lambda task: task.__name__)
    def test_an_output_that_cannot_be_shown_is_left_out(self, data: Data, run: str, task: Any) -> None:
        """It completed all the same, and says what is missing."""
        task.apply_async(task_id=run)

        row = data.until(run, "COMPLETED_SUCCESSFULLY")

        assert "output" not in row.columns
        assert "output" in row.metadata["output_left_out"]


@pytest.mark.usefixtures("worker")
class TestWhereARunBelongs:
    """Tags, batch, parent and root come with the message."""

    def test_tags_and_batch_from_headers(self, data: Data, run: str) -> None:
        """As the code that publishes wrote them; one that can't be a tag is left out and hurts nobody."""
        headers = {"run_tags": ["customer:7", "a,b", "export"], "run_batch": "import-42"}
        tasks.add_up.apply_async(([1],), task_id=run, headers=headers)

        row = data.until(run, "COMPLETED_SUCCESSFULLY")

        assert row.columns["runTags"] == ["customer:7", "export"]
        assert row.columns["batchId"] == "import-42"

    def test_headers_are_kept_over_retries(self, data: Data, run: str) -> None:
        """Nothing of a run's origin depends on the attempt."""
        tasks.succeed_after.apply_async((1,), task_id=run, headers={"run_tags": ["customer:7"]})

        assert data.until(run, "COMPLETED_SUCCESSFULLY").columns["runTags"] == ["customer:7"]

    def test_a_group_is_a_batch(self, data: Data) -> None:
        """Who follows the batch sees every task of the group."""
        result = group(tasks.add_up.s([number]) for number in range(3)).apply_async()

        for child in result.children:
            assert data.until(child.id, "COMPLETED_SUCCESSFULLY").columns["batchId"] == result.id
        with data.server.client() as client:
            assert client.zcard(index_key(ENVIRONMENT, FeedId.batch(result.id))) == 3

    def test_a_task_that_a_task_started_has_a_parent(self, data: Data, run: str) -> None:
        """And the root of both is where it began."""
        child = str(uuid.uuid4())
        tasks.parent.apply_async((child,), task_id=run)

        row = data.until(child, "COMPLETED_SUCCESSFULLY")

        assert (row.columns["parentRunId"], row.columns["rootRunId"]) == (run, run)
        assert "rootRunId" not in data.until(run, "COMPLETED_SUCCESSFULLY").columns

    def test_the_links_of_a_chain_have_one_root(self, data: Data) -> None:
        """Each is the child of the one before."""
        second = chain(tasks.add_up.si([1]), tasks.add_up.si([2])).apply_async()

        row = data.until(second.id, "COMPLETED_SUCCESSFULLY")

        assert row.columns["parentRunId"] == row.columns["rootRunId"] == second.parent.id


class TestNeverHurtingATask:
    """What we do can't be the reason that a task fails, or takes long."""

    @pytest.mark.usefixtures("worker")
    def test_our_redis_is_away(self, data: Data, run: str) -> None:
        """The task finishes without waiting for us; its final status arrives when our Redis is back."""
        result = tasks.wait.apply_async(task_id=run)
        data.until(run, "EXECUTING")
        data.server.stop()
        try:
            began = time.monotonic()
            tasks.release(run)
            assert result.get(timeout=10) == "released"
            assert time.monotonic() - began < 3 + LATE_SECONDS
        finally:
            data.server.start()

        assert data.until(run, "COMPLETED_SUCCESSFULLY").columns["output"] == "released"

    @pytest.mark.usefixtures("worker")
    def test_our_redis_is_away_while_a_task_reports(self, data: Data, run: str) -> None:
        """Thousands of reports to nowhere cost one timeout now and then, not one each."""
        data.server.stop()
        try:
            began = time.monotonic()
            result = tasks.add_up.apply_async((list(range(2000)),), task_id=run)
            assert result.get(timeout=20) == sum(range(2000))
            assert time.monotonic() - began < 10 + LATE_SECONDS
        finally:
            data.server.start()

        assert data.until(run, "COMPLETED_SUCCESSFULLY").columns["output"] == sum(range(2000))


class TestLostWorkers:
    """A machine that is gone takes the main process with it, so nobody is left who could say so."""

    @pytest.mark.usefixtures("installed")
    def test_its_task_is_crashed_when_its_lease_is_over(
        self, broker: RedisServer, data: Data, tmp_path: Path, run: str
    ) -> None:
        """The lease lasts while the child lives, whatever the task is at."""
        options = ("--pool", "prefork", "--concurrency", "1", "-Q", "lost", "-n", "lost")
        with (
            running_worker(broker.url, data.server.url, tmp_path / "log", *options, TEST_LEASE="0.5") as pid,
            data.server.client() as client,
        ):
            gateway = Watching(client, ENVIRONMENT)
            gateway.watched_for_long()
            tasks.wait.apply_async(task_id=run, queue="lost")
            data.until(run, "EXECUTING")
            time.sleep(1)
            assert gateway.overdue() == {}
            for process in (worker := psutil.Process(pid), *worker.children(recursive=True)):
                process.kill()
            gateway.end(run)

        assert data.until(run, "CRASHED").statuses == [("PENDING", 1), ("EXECUTING", 1), ("CRASHED", 1)]


class TestPools:
    """Where there are no child processes, the same happens in threads or in the worker itself."""

    @pytest.mark.parametrize("pool", ["threads", "solo"])
    def test_a_task_in_it(
        self, broker: RedisServer, data: Data, installed: Integration, tmp_path: Path, run: str, pool: str
    ) -> None:
        """Status, progress and the ambient run."""
        second = str(uuid.uuid4())
        log = tmp_path / "log"
        with running_worker(
            broker.url, data.server.url, log, "--pool", pool, "--concurrency", "2", "-Q", pool, "-n", pool
        ):
            tasks.add_up.apply_async(([1, 2],), task_id=run, queue=pool)
            tasks.say_where.apply_async(task_id=second, queue=pool)
            row, other = data.until(run, "COMPLETED_SUCCESSFULLY"), data.until(second, "COMPLETED_SUCCESSFULLY")

        assert row.statuses == [("PENDING", 1), ("EXECUTING", 1), ("COMPLETED_SUCCESSFULLY", 1)]
        assert row.metadata["progress"]["current"] == 2
        assert other.columns["output"] == second
