"""One task while it runs: which run, which attempt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from celery.exceptions import Ignore

from gateway.changes import Outcome
from gateway.errors import Cancelled

if TYPE_CHECKING:
    from gateway.publisher import Run
    from gateway.publisher.ambient import Attachment

#: How often a message may come back after its worker was lost, before we stop looking for a free number.
MAX_REDELIVERIES: Final = 20


class TaskCancelled(Cancelled, Ignore):  # type: ignore[misc]
    """What `current_run().raise_if_cancelled()` raises in a task: no failure to Celery, so it is not tried again."""


def mark_as_revoked(task: Any, error: TaskCancelled) -> None:
    """Tell whoever waits for the task's result, and the chord it may be part of, that it was revoked."""
    request = task.request
    if not request.is_eager:
        store = not (request.ignore_result or task.ignore_result)
        task.backend.mark_as_revoked(request.id, str(error), request=request, store_result=store)


@dataclass(slots=True)
class Execution:
    """One task while it runs. Lives on Celery's request, which is its own in every process, thread and greenlet."""

    run: Run
    attempt: int
    ambient: Attachment
    #: A final state that the task gave itself by `update_state`, and what it said with it.
    claimed: tuple[str, Any] | None = None


def execution_of(task: Any) -> Execution | None:
    """What *task* is at, in this thread or greenlet; None outside of one, and in a worker's main process."""
    return getattr(task.request, "runcast", None) if task else None


def free_attempt(run: Run, attempt: int) -> int:
    """
    The number of an execution whose message was delivered before.

    Celery counts retries, not deliveries: after a worker was lost the same message, with the same count, comes to
    another one. It was an attempt if somebody began it. A worker that stopped in an orderly way gave back what it had
    fetched and not begun; that is no attempt. The run knows: in an attempt that nobody began, it can begin.
    """
    for candidate in range(attempt, attempt + MAX_REDELIVERIES):
        # Without a lease: one would be the word of the worker that was taken for lost, and lives.
        if run.start(attempt=candidate, lease=0) not in (Outcome.UNCHANGED, Outcome.STALE):
            return candidate
    return attempt
