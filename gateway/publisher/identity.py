"""
Where a run comes from, and what a handle knows of it; checked when it is said, not when it is sent.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypedDict

from gateway.changes import Change, Limits, change, check_attempt, check_run, status_change
from gateway.durations import parse_duration
from gateway.errors import BadChange, BadInput, Cancelled
from gateway.metadata import is_number
from gateway.publisher.context import check_context

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.publisher.context import Context

_ID_LENGTH: Final = 24
#: Each byte as one of 32 letters and digits, all of them equally often: 120 bits in all.
_ID_LETTERS: Final = b"0123456789abcdefghjkmnpqrstvwxyz" * 8
JSON_TYPE: Final = "application/json"


def new_run_id() -> str:
    """An id that nobody guesses and no other run has."""
    return "run_" + secrets.token_bytes(_ID_LENGTH).translate(_ID_LETTERS).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a run comes from: what its first change creates it with."""

    task: str | None = None
    tags: tuple[str, ...] = ()
    batch: str | None = None
    parent: str | None = None
    root: str | None = None

    @property
    def columns(self) -> dict[str, str]:
        named = {
            "taskIdentifier": self.task,
            "batchId": self.batch,
            "parentRunId": self.parent,
            "rootRunId": self.root,
        }
        return {name: value for name, value in named.items() if value is not None}


@dataclass(slots=True, kw_only=True)
class Identity:
    """What a handle knows of its run."""

    id: str
    origin: Origin
    #: The same as a change: what each status says besides.
    origin_change: Change
    #: The attempt that it speaks for, when it was told; the run's present one otherwise.
    attempt: int | None = None
    context: dict[str, Any] | None = None
    #: While it is at work: how long a silence means that its process is gone. None when nobody said, 0 for no lease.
    lease_seconds: float | None = None
    #: What `raise_if_cancelled` raises: a job queue may know a kind of its own that means more to it.
    cancelled: type[Cancelled] = Cancelled
    retried: bool = False  # said that the attempt failed and another follows
    last_attempt: int = 0  # as the store last answered


class CreateOptions(TypedDict, total=False):
    """What a run can be created with, besides its task."""

    id: str | None  # default: `run_` and 24 random letters and digits
    payload: Any
    tags: Sequence[str]
    batch: str | None
    parent: str | None
    root: str | None
    metadata: Mapping[str, Any] | None
    delay_until: datetime | int | None  # a moment, or milliseconds since 1970
    ttl: str | float | None  # `10m`, or seconds: EXPIRED when it is not begun by then
    max_duration: str | float | None  # `10m`, or seconds: TIMED_OUT when an attempt takes longer
    lease: str | float | None  # `30s`, or seconds; 0 for none; default that of the publisher
    idempotency_key: str | None
    is_test: bool
    number: int | None
    status: str  # default QUEUED, or DELAYED when `delay_until` is to come


class HandleOptions(TypedDict, total=False):
    """What is known of a run that somebody else may have created."""

    task: str | None  # when it is known, a status creates the run if it does not exist
    tags: Sequence[str]
    batch: str | None
    parent: str | None
    root: str | None
    attempt: int | None
    context: Context | Mapping[str, Any] | None
    lease: str | float | None  # `30s`, or seconds; 0 for none; default that of the publisher
    cancelled: type[Cancelled]  # what `raise_if_cancelled` raises


def identity_of(
    run: str,
    *,
    task: str | None = None,
    tags: Sequence[str] = (),
    batch: str | None = None,
    parent: str | None = None,
    root: str | None = None,
    attempt: int | None = None,
    context: Context | Mapping[str, Any] | None = None,
    lease: str | float | None = None,
    cancelled: type[Cancelled] = Cancelled,
) -> Identity:
    """What a handle knows of its run, checked: a mistake is told at once, not by the first status."""
    kind = (task, texts(tags), batch, parent, root)
    try:
        origin, known = _checked_origin(*kind)
    except TypeError:  # something in it can't be remembered, and will be refused
        origin, known = _checked_origin.__wrapped__(*kind)
    if attempt is not None:
        check_attempt(attempt)
    return Identity(
        id=run,
        origin=origin,
        origin_change=Change(
            run=check_run(run),
            # It would not be there if nobody created it, or if Redis lost it meanwhile.
            create=task is not None,
            initial=known.initial,
            tags=known.tags,
        ),
        attempt=attempt,
        context=None if context is None else check_context(context),
        lease_seconds=lease_seconds(lease),
        cancelled=cancelled,
    )


@lru_cache(maxsize=256)  # who creates many runs creates many of a kind
def _checked_origin(
    task: str | None, tags: tuple[str, ...], batch: str | None, parent: str | None, root: str | None
) -> tuple[Origin, Change]:
    """Where a run comes from, and the same as a change of some run."""
    origin = Origin(task=task, tags=tags, batch=batch, parent=parent, root=root)
    return origin, change("run", initial=origin.columns, tags=tags)


def creation(
    task: str,
    limits: Limits,
    *,
    id: str | None = None,
    payload: Any = None,
    metadata: Mapping[str, Any] | None = None,
    delay_until: datetime | int | None = None,
    ttl: str | float | None = None,
    max_duration: str | float | None = None,
    idempotency_key: str | None = None,
    is_test: bool = False,
    number: int | None = None,
    status: str = "QUEUED",
    **origin: Any,
) -> tuple[Identity, Change]:
    """
    A new run: what its handle knows, and the change that creates it.

    Should a worker have been faster, the change fills what is not known yet.
    """
    identity = identity_of(new_run_id() if id is None else id, task=task, **origin)
    delay = _milliseconds(delay_until)
    initial: dict[str, Any] = {
        "payload": payload,
        "payloadType": None if payload is None else JSON_TYPE,
        "delayUntil": delay,
        "ttl": _span(ttl),
        "maxDuration": _seconds("max_duration", max_duration),
        "idempotencyKey": _text("idempotency_key", idempotency_key),
        "isTest": True if is_test else None,
        "number": _whole("number", number),
    }
    if delay is not None and status == "QUEUED" and delay > time.time_ns() // 1_000_000:
        status = "DELAYED"
    return identity, status_change(
        identity.origin_change,
        status,
        initial={name: value for name, value in initial.items() if value is not None},
        metadata=metadata,
        limits=limits,
    )


def _milliseconds(moment: datetime | int | None) -> int | None:
    if isinstance(moment, datetime):
        return int(moment.timestamp() * 1000)  # without a zone it is local time, as everywhere in Python
    if moment is not None and (isinstance(moment, bool) or not isinstance(moment, int)):
        raise BadChange(f"delay_until is a datetime or milliseconds since 1970, not {moment!r}")
    return moment


def _span(ttl: str | float | None) -> str | None:
    if ttl is None or isinstance(ttl, str):
        return ttl
    if not is_number(ttl):
        raise BadChange(f"ttl is text such as 10m, or seconds, not {ttl!r}")
    return f"{ttl:.0f}s" if ttl == int(ttl) else f"{ttl:.9f}".rstrip("0")


def lease_seconds(lease: str | float | None) -> float | None:
    """
    How long a lease lasts; 0 is none.

    Raises:
        BadChange: When it can't be one.
    """
    seconds = _seconds("lease", lease)
    if seconds:
        change("run", lease_seconds=seconds)
    return seconds


def _seconds(name: str, span: str | float | None) -> float | None:
    if isinstance(span, str):
        try:
            seconds = parse_duration(span)
        except BadInput as error:
            raise BadChange(f"{name}: {error.detail}") from error
    elif span is None:
        return None
    elif is_number(span):
        seconds = span
    else:
        raise BadChange(f"{name} is text such as 10m, or seconds, not {span!r}")
    return int(seconds) if seconds == int(seconds) else seconds


def _whole(name: str, value: int | None) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise BadChange(f"{name} is a whole number, not {value!r}")
    return value


def _text(name: str, value: str | None) -> str | None:
    if value is not None and not isinstance(value, str):
        raise BadChange(f"{name} is text, not {value!r}")
    return value


def texts(tags: Sequence[str]) -> tuple[str, ...]:
    """*tags*, if they are texts. (What a tag can be, `change` checks.)"""
    if isinstance(tags, str):
        raise BadChange(f"tags are a list of texts, not one: {tags!r}")
    for tag in tags:
        if not isinstance(tag, str):
            raise BadChange(f"a tag is text, not {tag!r}")
    return tuple(tags)
