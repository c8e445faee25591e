"""The tasks of tests/journeys/test_celery.py: an application that knows nothing of Runcast, but for `current_run`."""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import redis
from celery import Celery, states
from celery.exceptions import Ignore, Reject

from gateway import Cancelled, current_run

BROKER = os.environ.get("TEST_BROKER_URL", "memory://")

app = Celery("journeys", broker=BROKER, backend=BROKER if BROKER.startswith("redis") else "cache+memory://")
app.conf.update(
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
    worker_prefetch_multiplier=1,
    task_remote_tracebacks=False,
)


def wait_for_release(task_id: str) -> None:
    """Until the test calls `release`. Nobody waits longer than half a minute."""
    with redis.Redis.from_url(app.conf.broker_url, socket_timeout=60) as client:
        assert client.blpop([f"release:{task_id}"], timeout=30), "nobody released the task"


def release(task_id: str) -> None:
    with redis.Redis.from_url(app.conf.broker_url, socket_timeout=60) as client:
        client.rpush(f"release:{task_id}", "now")


@app.task(bind=True)
def add_up(self: Any, numbers: list[int]) -> int:
    """Sum, with progress in the format of celery-progress."""
    total = 0
    for done, number in enumerate(numbers, 1):
        total += number
        meta = {"pending": False, "current": done, "total": len(numbers), "percent": 0, "description": f"+{number}"}
        self.update_state(state="PROGRESS", meta=meta)
    return total


@app.task(bind=True)
def announce(self: Any) -> None:
    """A state that only this application knows."""
    self.update_state(state="UPLOADING", meta={"bucket": "b-7"})


@app.task
def say_where() -> str:
    """What the ambient run is, and something said through it."""
    run = current_run()
    assert run is not None
    run.set("said", "by the task")
    return run.id


@app.task(bind=True, max_retries=5)
def succeed_after(self: Any, failures: int) -> str:
    if self.request.retries < failures:
        raise self.retry(exc=ConnectionError(f"no answer {self.request.retries + 1}"), countdown=0)
    return "at last"


@app.task(autoretry_for=(ConnectionError,), max_retries=2, default_retry_delay=0)
def never_succeed() -> None:
    raise ConnectionError("no answer")


@app.task
def fail(message: str) -> None:
    raise ValueError(message)


class _UnpicklableError(Exception):
    def __init__(self) -> None:
        super().__init__("holds a lock")
        self.lock = threading.Lock()


@app.task
def fail_unpicklably() -> None:
    raise _UnpicklableError


@app.task(bind=True)
def wait(self: Any) -> str:
    """Until it is released, or stopped."""
    wait_for_release(self.request.id)
    return "released"


@app.task(autoretry_for=(Exception,), max_retries=5, default_retry_delay=0)
def work_until_asked_to_stop() -> None:
    """Asks in a loop, as a task does that can be cancelled."""
    run = current_run()
    assert run is not None
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        run.raise_if_cancelled()


@app.task(autoretry_for=(Exception,), max_retries=5, default_retry_delay=0)
def ask_a_person() -> Any:
    """Waits for what somebody sends."""
    run = current_run()
    assert run is not None
    return run.input("approval").wait(timeout=30)


@app.task
def cancel_itself() -> None:
    raise Cancelled("nobody's", "by itself")


@app.task(bind=True)
def report_for_ever(self: Any) -> None:
    """Does nothing but report: a time limit finds it in the middle of that."""
    run = current_run()
    assert run is not None
    for number in itertools.count(1):
        self.update_state(state="PROGRESS", meta={"current": number, "total": 10**9})
        run.set("number", number)


@app.task
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(acks_late=True, reject_on_worker_lost=True)
def die_once(marker: str) -> str:
    """Dies in its first execution; the broker delivers it again."""
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "risen"


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True, max_retries=5)
def die_then_retry(self: Any, marker: str) -> str:
    """Dies, comes back, asks for a retry, succeeds: three executions, of which Celery counts two."""
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if self.request.retries == 0:
        raise self.retry(exc=ConnectionError("once more"), countdown=0)
    return "risen"


@app.task
def ignore() -> None:
    raise Ignore("nothing to do")


@app.task(bind=True)
def fail_by_hand(self: Any) -> None:
    """The common way of failing with a meta of one's own."""
    self.update_state(state=states.FAILURE, meta={"exc_type": "QuotaExceeded", "exc_message": ["no space left"]})
    raise Ignore


@app.task
def reject() -> None:
    raise Reject("not for us", requeue=False)


@app.task(acks_late=True)
def reject_once(marker: str) -> str:
    if not Path(marker).exists():
        Path(marker).touch()
        raise Reject("not now", requeue=True)
    return "taken"


@app.task(bind=True)
def become(self: Any, numbers: list[int]) -> Any:
    """Another task goes on in its place, under the same id."""
    return self.replace(add_up.si(numbers))


@app.task(ignore_result=True)
def return_an_object() -> object:
    return object()


@app.task(ignore_result=True)
def return_too_much() -> str:
    return "x" * (10 * 1024 * 1024)


@app.task(bind=True)
def parent(self: Any, child_id: str) -> None:
    add_up.apply_async(([1, 2],), task_id=child_id)


@app.task
def call(inner: str) -> list[str]:
    """The ambient runs of a task that runs in this one, and of this one after it."""
    within = say_where.apply(task_id=inner).get(disable_sync_subtasks=False)
    return [within, say_where.run()]
