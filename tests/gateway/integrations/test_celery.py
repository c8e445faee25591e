"""What `install(app)` promises, for tasks that run where they are called. With a real worker: tests/journeys."""

from __future__ import annotations

import pickle
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.util import module_from_spec, spec_from_file_location
from typing import TYPE_CHECKING, Any

import pytest
from celery import signals
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from gateway import Publisher, current_run
from gateway.changes import Limits
from gateway.integrations.celery import Integration, install
from gateway.integrations.celery_execution import TaskCancelled, free_attempt
from gateway.integrations.celery_message import Message, ran_out_of_time
from gateway.store.redis_keys import run_key
from tests.gateway.store.watching import Watching
from tests.journeys import celery_app
from tests.journeys.celery_runs import Data

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer


def _copy_of(module: ModuleType, name: str) -> Any:
    spec = spec_from_file_location(name, module.__file__)
    assert spec is not None
    assert spec.loader is not None
    copy = module_from_spec(spec)
    spec.loader.exec_module(copy)
    return copy


# An application of its own: what one has used once, its backend say, it keeps, and the journeys need theirs unused.
tasks = _copy_of(celery_app, "eager_app")


@pytest.fixture(autouse=True)
def _eager() -> Iterator[None]:
    tasks.app.conf.task_always_eager = True
    yield
    tasks.app.conf.task_always_eager = False


@pytest.fixture
def data(redis_server: RedisServer, environment: EnvironmentId) -> Data:
    return Data(redis_server, environment)


@pytest.fixture
def run() -> str:
    """The id of a task, which is the id of its run."""
    return str(uuid.uuid4())


@contextmanager
def installed(publisher: Any, **options: Any) -> Iterator[Integration]:
    integration = install(tasks.app, publisher, **options)
    try:
        yield integration
    finally:
        integration.uninstall()
        if publisher is not None:
            publisher.close()


def publisher_of(data: Data, **options: Any) -> Publisher:
    return Publisher(data.server.url, environment=data.environment, **options)


class TestTimeLimits:
    """A soft time limit is an exception that comes wherever the task happens to be."""

    def test_a_library_may_have_wrapped_it(self) -> None:
        """What was raised while the limit's exception was handled, or from it, is still out of time; others are not."""
        for limit in (SoftTimeLimitExceeded(), TimeLimitExceeded()):
            wrapped, chained = ValueError("can't be written"), ValueError("can't be written")
            wrapped.__context__, chained.__cause__ = limit, limit
            assert all(map(ran_out_of_time, (limit, wrapped, chained)))
        assert not ran_out_of_time(ValueError("of its own"))


class TestEagerTasks:
    """`task_always_eager` and `apply` run a task where it is called; it is a run like any other."""

    def test_success(self, data: Data, run: str) -> None:
        """Nobody published it, so it is created when it begins."""
        with installed(publisher_of(data)):
            tasks.add_up.apply_async(([1, 2],), task_id=run, headers={"run_tags": ["eager"]})

        row = data.until(run, "COMPLETED_SUCCESSFULLY")

        assert row.statuses == [("PENDING", 1), ("EXECUTING", 1), ("COMPLETED_SUCCESSFULLY", 1)]
        assert row.columns["runTags"] == ["eager"]
        assert row.columns["payload"] == {"args": [[1, 2]], "kwargs": {}}
        assert current_run() is None

    def test_retries(self, data: Data, run: str) -> None:
        """Attempts are counted as in a worker."""
        with installed(publisher_of(data)):
            tasks.succeed_after.apply_async((1,), task_id=run)

        assert data.until(run, "COMPLETED_SUCCESSFULLY").statuses[1:] == [
            ("EXECUTING", 1),
            ("RETRYING_AFTER_FAILURE", 1),
            ("EXECUTING", 2),
            ("COMPLETED_SUCCESSFULLY", 2),
        ]

    def test_a_task_in_a_task(self, data: Data, run: str) -> None:
        """Each has its own run around it, and the outer one has its own again when the inner one ended."""
        inner = str(uuid.uuid4())
        with installed(publisher_of(data)):
            assert tasks.call.apply((inner,), task_id=run).get() == [inner, run]

        assert data.until(inner, "COMPLETED_SUCCESSFULLY").columns["rootRunId"] == run


class TestWhatIsShown:
    """Arguments and results may be private, or impossible to show; the run is there all the same."""

    def test_arguments_and_output_can_be_kept_private(self, data: Data, run: str) -> None:
        """`install(app, payload=False, output=False)`."""
        with installed(publisher_of(data), payload=False, output=False):
            tasks.add_up.apply_async(([1, 2],), task_id=run)

        columns = data.until(run, "COMPLETED_SUCCESSFULLY").columns

        assert not {"payload", "output"} & columns.keys()

    def test_arguments_over_their_limit_are_left_out(self, data: Data, run: str) -> None:
        """As are those without a JSON form."""
        with installed(publisher_of(data, limits=Limits(payload_bytes=10))):
            tasks.add_up.apply_async(([1, 2, 3, 4],), task_id=run)

        assert "payload" not in data.until(run, "COMPLETED_SUCCESSFULLY").columns

    def test_ignored_tasks_can_stay_open(self, data: Data, run: str) -> None:
        """`install(app, ignored_as=None)`, for who ends such runs elsewhere."""
        with installed(publisher_of(data), ignored_as=None):
            tasks.ignore.apply_async(task_id=run)

        assert data.until(run, "EXECUTING").statuses[-1] == ("EXECUTING", 1)


class TestStopping:
    """A task that somebody asked to stop."""

    def test_it_ends_where_it_asks(self, data: Data, run: str) -> None:
        """Without a worker there is no result to be revoked, and the run is CANCELED all the same."""
        publisher = publisher_of(data)
        with installed(publisher) as integration:
            publisher.create("t", id=run)
            publisher.request_cancel(run, "enough")
            tasks.work_until_asked_to_stop.apply(task_id=run)

        assert data.until(run, "CANCELED").columns["error"]["raw"] == "enough"
        assert integration.mistakes == 0

    def test_it_may_say_so_itself(self, data: Data, run: str) -> None:
        """`Cancelled` is no failure of the run, whoever raised it."""
        with installed(publisher_of(data)):
            tasks.cancel_itself.apply(task_id=run)

        row = data.until(run, "CANCELED")
        assert row.columns["error"]["raw"] == "by itself"

    def test_its_error_travels(self) -> None:
        """From a child to the worker's main process."""
        error = pickle.loads(pickle.dumps(TaskCancelled("run_1", "enough")))
        assert (type(error), error.run, error.reason) == (TaskCancelled, "run_1", "enough")


class TestLeases:
    """How long a worker may be silent."""

    def test_it_is_a_minute_unless_somebody_says(self, data: Data) -> None:
        """The line that installs, the publisher, the default."""
        known: list[tuple[dict[str, Any], dict[str, Any], float]] = [
            ({}, {}, 60),
            ({"lease": 90}, {}, 90),
            ({"lease": 0}, {}, 0),
            ({"lease": 90}, {"lease": "2m"}, 120),
            ({"lease": 90}, {"lease": 0}, 0),
        ]
        for options, said, seconds in known:
            with installed(publisher_of(data, **options), **said) as integration:
                assert integration.lease_seconds == seconds

    def test_a_running_task_has_one_and_an_ended_one_has_none(self, data: Data, run: str) -> None:
        leases = []

        def look(**_: Any) -> None:
            with data.server.client() as client:
                leases.append(client.hget(run_key(data.environment, run), "_deadline"))

        with installed(publisher_of(data)):
            signals.task_prerun.connect(look, weak=False, dispatch_uid="look")  # after ours
            try:
                tasks.add_up.apply(([1],), task_id=run)
                look()
            finally:
                signals.task_prerun.disconnect(dispatch_uid="look")
        assert str(leases[0]).endswith(":CRASHED")
        assert leases[1] == ""

    def test_a_message_that_comes_again_after_that_is_a_new_attempt(self, data: Data) -> None:
        """Its worker was only presumed to be lost; another one has its message, so it was."""
        with data.server.client() as client, publisher_of(data) as publisher:
            watching = Watching(client, data.environment)
            watching.watched_for_long()
            watching.start("lost")
            watching.end("lost")
            watching.create("fetched")
            assert free_attempt(publisher.run("lost", lease=60), 1) == 2
            assert free_attempt(publisher.run("fetched", lease=60), 1) == 1

    def test_an_ignored_task_that_stays_open_is_missed_by_nobody(self, data: Data, run: str) -> None:
        """Whoever ends it elsewhere has as long as it takes."""
        with installed(publisher_of(data), ignored_as=None):
            tasks.ignore.apply_async(task_id=run)
        with data.server.client() as client:
            assert client.hget(run_key(data.environment, run), "_deadline") == ""

    @pytest.mark.parametrize(
        ("eta", "expires", "ttl"),
        [
            (None, None, None),
            (None, timedelta(seconds=60), 60),
            (None, timedelta(seconds=-60), 0.001),
            (timedelta(seconds=600), timedelta(seconds=660), 60),
            (timedelta(seconds=-600), timedelta(seconds=60), 60),
        ],
    )
    def test_a_message_that_expires_has_a_time_to_live(
        self, eta: timedelta | None, expires: timedelta | None, ttl: float | None
    ) -> None:
        now = datetime.now(UTC)
        headers = {
            "id": "r",
            "task": "t",
            "root_id": None,
            "eta": eta and (now + eta).isoformat(),
            "expires": expires and (now + expires).replace(tzinfo=None).isoformat(),
        }
        assert Message.of_headers(headers).ttl == ttl


class TestInstalling:
    """One line, once."""

    def test_twice_is_once(self, data: Data, run: str) -> None:
        """A second `install` returns what is installed, and connecting again changes nothing."""
        with installed(publisher_of(data)) as integration:
            assert install(tasks.app) is integration
            integration.connect()
            tasks.add_up.apply(([1],), task_id=run)

        assert data.until(run, "COMPLETED_SUCCESSFULLY").columns["output"] == 1

    def test_uninstalling_leaves_celery_as_it_was(self) -> None:
        """No receiver, no wrapper; twice is harmless."""
        before = tasks.add_up.update_state.__func__
        with installed(BrokenPublisher()) as integration:
            assert tasks.add_up.update_state.__func__ is not before
        integration.uninstall()

        tasks.add_up.apply(([1],))

        assert tasks.add_up.update_state.__func__ is before
        assert integration.mistakes == 0

    def test_where_no_redis_is_known_tasks_run_all_the_same(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An application is imported in many places; that nothing is shown there is said once."""
        for name in ("RUNCAST_REDIS_URL", "REDIS_URL"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("RUNCAST_STATE_DIR", str(tmp_path))
        with installed(None) as integration:
            assert tasks.add_up.apply(([1, 2],)).get() == 3

        assert integration.mistakes > 1
        assert [record.getMessage() for record in caplog.records if "no Redis" in record.getMessage()] != []
        assert len([record for record in caplog.records if record.name == "runcast.celery"]) == 1

    def test_a_broken_publisher_is_counted_and_nothing_more(self) -> None:
        """Whatever it raises, the task's result is the task's."""
        with installed(BrokenPublisher()) as integration:
            assert tasks.add_up.apply(([1, 2],)).get() == 3
            assert tasks.succeed_after.apply((1,)).get() == "at last"
            with pytest.raises(ValueError, match="no such"):
                tasks.fail.apply(("no such customer",)).get()

        assert integration.mistakes > 5


class BrokenPublisher:
    """Raises whatever it is asked for."""

    def create(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("broken")

    run = create

    def close(self) -> None:
        pass
