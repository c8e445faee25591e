"""
Celery: one line gives every task of an application its status, for whoever may see it.

    from gateway.integrations.celery import install

    app = Celery("shop", broker=...)
    install(app)

The run's id is the task's id. Call `install` where the application is made, so that it happens in every process that
imports it: those that publish tasks (web, beat) and those that run them. The pools `prefork`, `threads` and `solo` need
nothing more. `gevent` and `eventlet` need what they need for Celery anyway: their own patching of the standard library
before anything else is imported, which `celery worker --pool gevent` does.

Tags and batch come with the message, and the batch of a group's tasks is the group:

    task.apply_async(headers={"run_tags": ["customer:7"], "run_batch": "import-42"})

`task.update_state(state="PROGRESS", meta={"current": 3, "total": 10, "description": "…"})`, the format of
celery-progress, becomes the run's progress. In a task `gateway.current_run()` is its run, for everything else:
`current_run().raise_if_cancelled()` ends the task, as revoked, when somebody asked the run to stop.

Nothing here can hurt a task: what goes wrong is logged to `runcast.celery` and counted in `Integration.mistakes`.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from celery import current_task, signals, states
from celery.app.task import Task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded, WorkerLostError
from celery.utils.serialization import UnpickleableExceptionWrapper

from gateway.errors import BadChange, Cancelled, GatewayError, Misconfigured
from gateway.integrations.celery_execution import (
    Execution,
    TaskCancelled,
    execution_of,
    free_attempt,
    mark_as_revoked,
)
from gateway.integrations.celery_message import (
    ATTEMPTS_BEFORE,
    Message,
    claimed_error,
    context_of,
    is_replacement,
    moment_of,
    progress_of,
    ran_out_of_time,
)
from gateway.publisher import Publisher
from gateway.publisher.identity import lease_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.publisher import Run

log: Final = logging.getLogger("runcast.celery")

#: A worker that nothing was heard of for so long is gone. One whose task holds the interpreter's lock for longer, in a
#: C library say, is taken for gone meanwhile; its next word corrects that.
LEASE_SECONDS: Final = 60.0
_UID: Final = "runcast"
_lock = threading.Lock()
_installed: Integration | None = None


def install(
    app: Any,
    publisher: Publisher | None = None,
    *,
    payload: bool = True,
    output: bool = True,
    ignored_as: str | None = "COMPLETED",
    lease: str | float | None = None,
) -> Integration:
    """
    Show what happens to the tasks of *app*. Doing it again changes nothing and returns what is installed.

    Celery's signals belong to the process, so this covers every application in it.

    Args:
        publisher: Where to; by default one that finds its Redis as `Publisher()` does, when it is first needed.
            An application can be imported where there is none.
        payload: Whether a run shows the arguments of its task. They may be private.
        output: Whether a run shows what its task returned.
        ignored_as: The status of a task that raised `Ignore` without setting a state of its own, which Celery
            leaves open for ever; `None` leaves it open here too.
        lease: How long a worker may be silent before its task counts as CRASHED, `60s` or seconds; 0 for ever. By
            default that of the publisher (RUNCAST_LEASE), else a minute.
    """
    global _installed
    with _lock:
        if _installed is None:
            _installed = Integration(publisher, payload=payload, output=output, ignored_as=ignored_as, lease=lease)
            _installed.connect()
        return _installed


class Integration:
    """
    Celery's signals, each with what it means for a run.

    The signals come from three kinds of processes: who publishes, a worker's main process, and its children. In which
    order is written beside the table below, as observed with Celery 5.7; whatever arrives late or twice is answered as
    such by the store and does no harm.
    """

    def __init__(
        self,
        publisher: Publisher | None,
        *,
        payload: bool,
        output: bool,
        ignored_as: str | None,
        lease: str | float | None,
    ) -> None:
        #: What went wrong here, in this process, and was kept from hurting a task.
        self.mistakes = 0
        self._publisher = publisher
        self._told_misconfigured = False
        self._payload, self._output, self._ignored_as = payload, output, ignored_as
        self._lease = lease_seconds(lease)
        self._update_state = Task.update_state
        self._receivers = (
            (signals.before_task_publish, self._published),  # by whoever publishes; for a retry, by the child
            (signals.task_prerun, self._begins),  # child
            (signals.task_success, self._succeeded),  # child, before postrun
            (signals.task_retry, self._retries),  # child, before postrun; a free worker may have begun the next attempt
            (signals.task_failure, self._failed),  # child; main, when the child is gone (twice at a hard time limit)
            (signals.task_internal_error, self._broke),  # child: Celery itself failed, its result backend say
            (signals.task_postrun, self._ended),  # child; not when it was killed
            (signals.task_revoked, self._revoked),  # main; when it was running, after postrun without a state
            (signals.task_unknown, self._unknown),  # main
            (signals.worker_process_shutdown, self._leaves),  # child, which ends without running exit handlers
        )

    @property
    def publisher(self) -> Publisher:
        """
        What says it all.

        Raises:
            Misconfigured: While no Redis is known.
        """
        if self._publisher is None:
            self._publisher = Publisher()
        return self._publisher

    @property
    def lease_seconds(self) -> float:
        """How long a worker may be silent; 0 for ever."""
        known = (self._lease, self.publisher.lease_seconds, LEASE_SECONDS)
        return next(seconds for seconds in known if seconds is not None)

    def connect(self) -> None:
        """Begin to listen. Twice is harmless."""
        for signal, receive in self._receivers:
            signal.connect(self._safely(receive), weak=False, dispatch_uid=_UID)
        Task.update_state = self._telling_update_state()

    def uninstall(self) -> None:
        """Stop listening, and leave Celery as it was found. Twice is harmless."""
        global _installed
        with _lock:
            for signal, _ in self._receivers:
                signal.disconnect(dispatch_uid=_UID)
            Task.update_state = self._update_state
            if _installed is self:
                _installed = None

    # What the signals mean.

    def _published(self, *, headers: Mapping[str, Any], body: Any, **_: Any) -> None:
        if "id" not in headers:
            return  # the old message protocol; its run begins when the task does
        execution = execution_of(current_task)
        if execution is not None and execution.run.id == headers["id"]:
            self._hands_over(execution, headers)
        elif not headers.get("retries"):
            self._create(Message.of_headers(headers), *body[:2])

    def _hands_over(self, execution: Execution, headers: Any) -> None:
        """A task sends a message with its own id: it will be tried again, or goes on as another task."""
        retries = headers.get("retries") or 0
        goes_on = retries <= current_task.request.retries
        attempt = execution.attempt if goes_on else execution.attempt + 1
        headers[ATTEMPTS_BEFORE] = attempt - 1 - retries
        # Before the message is out: after that, another worker may begin, with a lease of its own.
        if goes_on:
            execution.run.hand_over()
        else:
            execution.run.retry(sys.exception())  # which Celery tells only afterwards

    def _begins(self, *, task: Any, args: Any, kwargs: Any, **_: Any) -> None:
        message = Message.of_request(task.request, task)
        if task.request.is_eager:
            self._create(message, args, kwargs)  # nobody published it
        run = self._run(message)
        execution = Execution(run, message.attempt, run.attach())
        task.request.runcast = execution
        if message.redelivered:
            execution.attempt = free_attempt(run, message.attempt)
        context = context_of(task, execution.attempt, message)
        run.start(attempt=execution.attempt, context=context, lease=self.lease_seconds)

    def _succeeded(self, *, sender: Any, result: Any, **_: Any) -> None:
        self._complete(self._run_of(sender), result if self._output else None)

    def _complete(self, run: Run, output: Any) -> None:
        try:
            run.status("COMPLETED", output=output)
        except BadChange as error:  # no JSON form, or over its limit
            run.set("output_left_out", error.detail)  # before the status, so that it is there when the run ends
            run.complete()

    def _retries(self, *, sender: Any, reason: Any, **_: Any) -> None:
        self._run_of(sender).retry(getattr(reason, "exc", None) or reason)

    def _failed(self, *, sender: Any, task_id: str, exception: Any, **_: Any) -> None:
        run = self._run_of(sender, task_id)
        match exception:
            case _ if ran_out_of_time(exception):
                run.status("TIMED_OUT", error=exception)  # with the place where it was stopped, when that is known
            case WorkerLostError():
                run.crash(str(exception))
            case Cancelled():
                run.cancel(exception.reason)
            case UnpickleableExceptionWrapper():
                run.fail(sys.exception() or exception)  # the child is still handling the one that was raised
            case _:
                run.fail(exception)

    def _broke(self, *, sender: Any, task_id: str, exception: Any, **_: Any) -> None:
        self._run_of(sender, task_id).status("SYSTEM_FAILURE", error=exception)

    def _ended(self, *, task: Any, retval: Any, state: str | None, **_: Any) -> None:
        execution = execution_of(task)
        if execution is None:
            return
        try:
            if state == states.IGNORED:
                self._was_ignored(execution, retval, task)
            elif state == states.REJECTED:
                self._was_rejected(execution, retval, task)
            # Without a state the task was stopped from outside. The main process knows why, and tells.
        finally:
            execution.ambient.detach()
            task.request.runcast = None

    def _was_ignored(self, execution: Execution, reason: Ignore, task: Any) -> None:
        if is_replacement(reason):
            return  # another task goes on under the same id
        if isinstance(reason, TaskCancelled):
            execution.run.cancel(reason.reason)
            mark_as_revoked(task, reason)
            return
        match execution.claimed:
            case (states.FAILURE, meta):
                execution.run.fail(claimed_error(meta))
            case (states.REVOKED, _):
                execution.run.cancel(str(reason) or "the task revoked itself")
            case (states.SUCCESS, meta):
                self._complete(execution.run, meta if self._output else None)
            case _ if self._ignored_as is not None:
                execution.run.set("ignored", str(reason) or "the task raised Ignore")
                execution.run.status(self._ignored_as)
            case _:
                execution.run.hand_over()  # to nobody: it is to stay open

    def _was_rejected(self, execution: Execution, reason: Reject, task: Any) -> None:
        # Only a message that was not acknowledged yet can come back. Then its next execution is a new attempt.
        if reason.requeue and task.acks_late:
            execution.run.retry(reason)
        else:
            execution.run.fail(reason)

    def _revoked(self, *, sender: Any, request: Any, terminated: bool, signum: Any, expired: bool, **_: Any) -> None:
        message = Message.of_request(request, sender)
        # A running attempt is named: should our word overtake the child's that it began, that one is late then.
        # One that never began has no number; the run ends in the attempt it was in.
        run = self._run(message, attempt=message.known_attempt if terminated else None)
        if expired:
            run.expire()
        else:
            run.cancel(f"terminated by signal {signum}" if terminated else "revoked before it began")

    def _unknown(self, *, message: Any, name: str, id: str, **_: Any) -> None:
        run = self._run(Message.of_headers({**message.headers, "id": id, "task": name}))
        run.status("SYSTEM_FAILURE", error=f"no worker of this queue knows a task named {name}")

    def _leaves(self, **_: Any) -> None:
        if self._publisher is not None:
            self._publisher.close()

    def _said(self, task: Any, task_id: str | None, state: str | None, meta: Any) -> None:
        """The task called `update_state`."""
        execution = execution_of(task) if task_id in (None, task.request.id) else None
        run = execution.run if execution else self.publisher.run(task_id or task.request.id)
        if state in states.READY_STATES and execution:
            execution.claimed = (state or "", meta)
        elif (progress := progress_of(meta)) is not None:
            run.progress(*progress)
        else:
            run.set("state", {"name": state, "meta": meta})

    # How runs are found and made.

    def _create(self, message: Message, args: Any, kwargs: Any) -> None:
        create = functools.partial(
            self.publisher.create,
            message.task,
            id=message.id,
            tags=message.tags,
            batch=message.batch,
            parent=message.parent,
            root=message.root,
            delay_until=moment_of(message.eta),
            ttl=message.ttl,
            status="DELAYED" if message.eta else "QUEUED",
        )
        try:
            create(payload={"args": args, "kwargs": kwargs} if self._payload else None)
        except BadChange:
            create(payload=None)  # arguments that have no JSON form, or a very long one

    def _run(self, message: Message, *, attempt: int | None = None) -> Run:
        return self.publisher.run(
            message.id,
            task=message.task,
            tags=message.tags,
            batch=message.batch,
            parent=message.parent,
            root=message.root,
            attempt=attempt,
            lease=self.lease_seconds,
            cancelled=TaskCancelled,
        )

    def _run_of(self, task: Any, task_id: str | None = None) -> Run:
        """The run that *task* is at; in a worker's main process, as well as it can be known there."""
        execution = execution_of(task)
        if execution is not None and task_id in (None, execution.run.id):
            return execution.run
        if task_id in (None, task.request.id):
            message = Message.of_request(task.request, task)
            return self._run(message, attempt=message.known_attempt)
        return self.publisher.run(task_id, task=task.name)

    # How a task is kept from harm.

    def _safely(self, receive: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(receive)
        def receiver(*args: Any, **said: Any) -> None:
            try:
                receive(*args, **said)
            except SoftTimeLimitExceeded:
                raise  # it is meant for the task, whoever was at work when it came
            except GatewayError as error:
                self.mistakes += 1
                if not (isinstance(error, Misconfigured) and self._told_misconfigured):
                    log.warning("%s: %s", receive.__name__.strip("_"), error)
                self._told_misconfigured |= isinstance(error, Misconfigured)
            except Exception:  # whatever is wrong with us, the job does not suffer
                self.mistakes += 1
                log.exception("%s failed; the task goes on", receive.__name__.strip("_"))

        return receiver

    def _telling_update_state(self) -> Callable[..., None]:
        tell, original = self._safely(self._said), self._update_state

        @functools.wraps(original)
        def update_state(
            task: Any, task_id: str | None = None, state: str | None = None, meta: Any = None, **options: Any
        ) -> None:
            tell(task, task_id, state, meta)
            original(task, task_id=task_id, state=state, meta=meta, **options)

        return update_state
