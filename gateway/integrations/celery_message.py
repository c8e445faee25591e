"""What Celery's messages and requests say about a run: its place, its attempt, its surroundings, its errors."""

from __future__ import annotations

import math
import os
import socket
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from gateway.codec import rfc3339
from gateway.errors import BadFeed
from gateway.feeds import MAX_TAGS_PER_RUN, check_id, check_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TAGS: Final = "run_tags"
BATCH: Final = "run_batch"
#: Attempts that Celery's count of retries knows nothing of; a retry carries it on.
ATTEMPTS_BEFORE: Final = "run_attempts_before"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A task's message, as far as it concerns its run. A tag or id that can't be one is left out, not an error."""

    id: str
    task: str
    tags: tuple[str, ...]
    batch: str | None
    parent: str | None
    root: str | None
    eta: str | None
    expires: str | None
    attempt: int
    redelivered: bool

    @property
    def known_attempt(self) -> int | None:
        """The attempt, where it can be known from the message alone: not when it was delivered again."""
        return None if self.redelivered else self.attempt

    @property
    def ttl(self) -> float | None:
        """The seconds in which it is to be begun, from now or from its ETA: whole ones, when there are several."""
        expires, now = moment_of(self.expires), datetime.now(UTC)
        if expires is None:
            return None
        seconds = (expires - max(now, moment_of(self.eta) or now)).total_seconds()
        return float(math.ceil(seconds)) if seconds > 1 else max(0.001, seconds)

    @classmethod
    def of_headers(cls, headers: Mapping[str, Any]) -> Message:
        """A message that is being published, or could not be understood."""
        root = headers.get("root_id")
        return cls(
            id=headers["id"],
            task=headers["task"],
            tags=_tags(headers.get(TAGS)),
            batch=_id("batch", headers.get(BATCH) or headers.get("group")),
            parent=_id("run", headers.get("parent_id")),
            root=_id("run", root) if root != headers["id"] else None,
            eta=headers.get("eta"),
            expires=headers.get("expires"),
            attempt=1 + (headers.get("retries") or 0) + _whole(headers.get(ATTEMPTS_BEFORE)),
            redelivered=bool((headers.get("delivery_info") or {}).get("redelivered")),
        )

    @classmethod
    def of_request(cls, request: Any, task: Any) -> Message:
        """A message that a worker has taken. Our own headers are among its `headers`."""
        names = ("id", "group", "parent_id", "root_id", "eta", "expires", "retries", "delivery_info")
        return cls.of_headers(
            {**(request.headers or {}), "task": task.name} | {name: getattr(request, name) for name in names}
        )


def moment_of(text: str | None) -> datetime | None:
    """The moment that a header names. Celery writes them with their zone, or means UTC."""
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def is_replacement(reason: Exception) -> bool:
    """Whether an `Ignore` is how `Task.replace` ends a task whose id another one has taken over."""
    return reason.args == ("Replaced by new task",)


def claimed_error(meta: Any) -> Exception | str:
    """What a task said when it set its state to FAILURE itself, in the form that Celery keeps failures in, or any."""
    if not isinstance(meta, dict) or not isinstance(meta.get("exc_type"), str):
        return str(meta)
    message = meta.get("exc_message")
    text = " ".join(map(str, message)) if isinstance(message, list | tuple) else str(message)
    # As an exception it has a name; in this module's own name it was never raised.
    named: type[Exception] = type(meta["exc_type"], (Exception,), {"__module__": "builtins"})
    return named(text)


def progress_of(meta: Any) -> tuple[float, float | None, str | None] | None:
    """Current, total and text, when *meta* is of the form that celery-progress made common; else None."""
    if not isinstance(meta, dict):
        return None
    current, total, percent = (_number(meta.get(name)) for name in ("current", "total", "percent"))
    text = meta.get("description")
    text = str(text) if text else None
    if current is not None:
        return current, total, text
    return (percent, 100, text) if percent is not None else None


def context_of(task: Any, attempt: int, message: Message) -> dict[str, Any]:
    """What the job knows of itself when an attempt starts, in the form of Trigger.dev's run context."""
    request = task.request
    delivery = request.delivery_info or {}
    return {
        "task": {
            "id": task.name,
            "exportName": task.__name__,
            # Not the path on this machine, which is nobody's business: where it is in the code.
            "filePath": task.__module__.replace(".", "/") + ".py",
        },
        "attempt": {
            "id": f"{message.id}:{attempt}",
            "number": attempt,
            "startedAt": rfc3339(time.time_ns() // 1_000_000),
            "backgroundWorkerId": request.hostname,
        },
        "run": {
            "id": message.id,
            "tags": list(message.tags),
            "maxAttempts": None if task.max_retries is None else task.max_retries + 1,
            "maxDuration": (request.timelimit or [None])[0] or task.time_limit,
        },
        "queue": {"name": delivery.get("routing_key")},
        "machine": _machine(),
    }


@cache
def _machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"name": socket.gethostname(), "cpu": os.cpu_count(), "memory": round(memory / 2**30, 2)}


def _tags(value: Any) -> tuple[str, ...]:
    given = [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else []
    return tuple(tag for tag in dict.fromkeys(map(str, given)) if _passes(check_tag, tag))[:MAX_TAGS_PER_RUN]


def _id(kind: str, value: Any) -> str | None:
    return value if isinstance(value, str) and _passes(lambda text: check_id(kind, text), value) else None


def _passes(check: Callable[[str], str], text: str) -> bool:
    try:
        check(text)
    except BadFeed:
        return False
    return True


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _number(value: Any) -> float | None:
    # celery-progress sends percentages as Decimal; booleans are numbers only to Python
    if isinstance(value, bool):
        return None
    try:
        return float(value) if not isinstance(value, int) else value
    except (TypeError, ValueError):
        return None


def ran_out_of_time(exception: BaseException | None) -> bool:
    """
    Whether it was a time limit that ended a task.

    The soft one is raised wherever the task happens to be, so a library in between may have wrapped it, as kombu does
    with whatever comes while it writes JSON.
    """
    while exception is not None:
        if isinstance(exception, (SoftTimeLimitExceeded, TimeLimitExceeded)):
            return True
        exception = exception.__cause__ or exception.__context__
    return False
