"""One task while it runs: which run, which attempt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.changes import Outcome

if TYPE_CHECKING:
    from gateway.publisher import Run
    from gateway.publisher.ambient import Attachment

#: How often a message may come back after its worker was lost, before we stop looking for a free number.
MAX_REDELIVERIES: Final = 20


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
        if run.start(attempt=candidate) not in (Outcome.UNCHANGED, Outcome.STALE):
            return candidate
    return attempt
