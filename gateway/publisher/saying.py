"""
What can be said of a run, each as the change that says it. Nothing is sent here.

`Sayings` is the part that the synchronous `Run` and the asynchronous `AsyncRun` share: every method exists once. It
is generic in what saying gives: an outcome, or something to await for one.
"""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Generic, TypedDict, TypeVar

from gateway.changes import Change, Limits, Operation, Operator, change
from gateway.errors import BadChange, TooLarge
from gateway.metadata import checked, is_number
from gateway.publisher.context import check_context
from gateway.publisher.failures import error_column
from gateway.publisher.outbox import PROGRESS
from gateway.runs import RETRYING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.publisher.context import Context

Said = TypeVar("Said", covariant=True)

_ID_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_ID_LENGTH: Final = 24
JSON_TYPE: Final = "application/json"


def new_run_id() -> str:
    """An id that nobody guesses and no other run has."""
    return "run_" + "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))


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
    origin: Origin = field(default_factory=Origin)
    #: The attempt that it speaks for, when it was told; the run's present one otherwise.
    attempt: int | None = None
    context: dict[str, Any] | None = None
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
    ttl: str | float | None  # `10m`, or seconds
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
) -> Identity:
    """What a handle knows of its run, checked: a mistake is told at once, not by the first status."""
    origin = Origin(task=task, tags=_texts(tags), batch=batch, parent=parent, root=root)
    change(run, attempt=attempt, initial=origin.columns, tags=origin.tags)
    return Identity(id=run, origin=origin, attempt=attempt, context=None if context is None else check_context(context))


def creation(
    task: str,
    limits: Limits,
    *,
    id: str | None = None,
    payload: Any = None,
    metadata: Mapping[str, Any] | None = None,
    delay_until: datetime | int | None = None,
    ttl: str | float | None = None,
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
        **identity.origin.columns,
        "payload": payload,
        "payloadType": None if payload is None else JSON_TYPE,
        "delayUntil": delay,
        "ttl": None if ttl is None else ttl if isinstance(ttl, str) else f"{ttl:g}s",
        "idempotencyKey": _text("idempotency_key", idempotency_key),
        "isTest": True if is_test else None,
        "number": number,
    }
    if delay is not None and status == "QUEUED" and delay > time.time_ns() // 1_000_000:
        status = "DELAYED"
    return identity, change(
        identity.id,
        create=True,
        status=status,
        initial={name: value for name, value in initial.items() if value is not None},
        metadata=metadata,
        tags=identity.origin.tags,
        limits=limits,
    )


def _milliseconds(moment: datetime | int | None) -> int | None:
    if not isinstance(moment, datetime):
        return moment
    return int(moment.timestamp() * 1000)  # without a zone it is local time, as everywhere in Python


def _text(name: str, value: str | None) -> str | None:
    if value is not None and not isinstance(value, str):
        raise BadChange(f"{name} is text, not {value!r}")
    return value


def progress_value(current: float, total: float | None, text: str | None) -> dict[str, Any]:
    """The metadata that shows progress; percent has two decimals and stays between 0 and 100."""
    if not is_number(current) or not -_MOST < current < _MOST:  # which NaN isn't
        raise BadChange(f"progress is a finite number, not {current!r}")
    value: dict[str, Any] = {"current": current}
    if total is not None:
        if not is_number(total) or not 0 <= total < _MOST:
            raise BadChange(f"the total of a progress is a number and not below 0, not {total!r}")
        value["total"] = total
        value["percent"] = round(min(max(100 * current / total, 0), 100), 2) if total else 100
    if text is not None:
        if not isinstance(text, str):
            raise BadChange(f"the text of a progress is text, not {text!r}")
        value["text"] = text if text.isascii() else text.encode(errors="replace").decode()
    return value


#: Larger whole numbers have no place in our JSON.
_MOST: Final = 2**63


class MetadataSayings(ABC, Generic[Said]):
    """
    Changing a run's metadata. Applied where it is kept, so two writers don't lose each other's.

    Keys are literal top-level keys; one that starts with `$.` is a path (`$.steps.0.done`, `$.items.*.seen`).
    About ten changes a second are sent per run; in between they are collected, and the last one is always sent.
    Values are taken as they are at the time of the call.
    """

    __slots__ = ()

    @abstractmethod
    def _operate(self, operation: Operation) -> Said: ...

    def set(self, key: str, value: Any) -> Said:
        """Set *key* to any JSON value."""
        return self._operate(checked(Operation(Operator.SET, key, value)))

    def delete(self, key: str) -> Said:
        """Remove a top-level key."""
        return self._operate(checked(Operation(Operator.DELETE, key)))

    def append(self, key: str, value: Any) -> Said:
        """Put *value* at the end of a list; what is no list becomes the first element of one."""
        return self._operate(checked(Operation(Operator.APPEND, key, value)))

    def remove(self, key: str, value: Any) -> Said:
        """Remove every element that equals *value* from a list."""
        return self._operate(checked(Operation(Operator.REMOVE, key, value)))

    def increment(self, key: str, by: float = 1) -> Said:
        """Add to a number; what is no number counts as 0. Each call counts exactly once, whatever the network does."""
        return self._operate(checked(Operation(Operator.INCREMENT, key, by)))

    def decrement(self, key: str, by: float = 1) -> Said:
        """Subtract from a number."""
        if not is_number(by):
            raise BadChange(f"metadata can be decremented by a finite number, not {by!r}")
        return self.increment(key, -by)

    def update(self, document: Mapping[str, Any]) -> Said:
        """Replace the whole metadata by *document*."""
        return self._operate(checked(Operation(Operator.UPDATE, value=dict(document))))

    def progress(self, current: float, total: float | None = None, text: str | None = None) -> Said:
        """Say how far the run is: the metadata key `progress`, with `percent` when there is a total."""
        return self._operate(Operation(Operator.SET, PROGRESS, progress_value(current, total, text)))


class Sayings(MetadataSayings[Said], Generic[Said]):
    """Everything that can be said of one run. Saying the same again, or something late, does no harm."""

    __slots__ = ("_identity", "_limits")

    def __init__(self, identity: Identity, limits: Limits) -> None:
        self._identity = identity
        self._limits = limits

    @abstractmethod
    def _say(self, change: Change) -> Said: ...

    @abstractmethod
    def _lose_output(self, error: TooLarge) -> None: ...

    @property
    def id(self) -> str:
        return self._identity.id

    @property
    def context(self) -> Mapping[str, Any] | None:
        """What the job knows of itself, as it was given when the attempt started."""
        return self._identity.context

    def start(self, *, attempt: int | None = None, context: Context | Mapping[str, Any] | None = None) -> Said:
        """
        The job begins: EXECUTING. A higher *attempt* opens a run again that has ended.

        Without *attempt* it is the handle's; after `retry` the one that follows.
        """
        identity = self._identity
        if context is None:
            context = identity.context
        kept = None if context is None else check_context(context)
        if attempt is None and identity.retried:
            attempt = max(identity.attempt or 1, identity.last_attempt) + 1
        said = self._status(
            "EXECUTING", attempt=attempt or identity.attempt, columns={} if kept is None else {"context": kept}
        )
        # Only what was said without an error is what the handle goes on with.
        identity.attempt, identity.context, identity.retried = attempt or identity.attempt, kept, False
        return said

    def complete(self, output: Any = None) -> Said:
        """COMPLETED. An output over its limit is left out, counted and logged: the run completed all the same."""
        columns = {"error": None, **({} if output is None else {"output": output, "outputType": JSON_TYPE})}
        try:
            return self._status("COMPLETED", columns=columns)
        except TooLarge as error:
            self._lose_output(error)
            return self._status("COMPLETED", columns={"error": None})

    def fail(self, error: BaseException | str) -> Said:
        """FAILED, with an exception (name, message, stack, causes) or a text."""
        return self._status("FAILED", error=error)

    def cancel(self, reason: str | None = None) -> Said:
        """CANCELED."""
        return self._status("CANCELED", error=reason)

    def crash(self, reason: BaseException | str) -> Said:
        """CRASHED: what ran the job ended under it."""
        return self._status("CRASHED", error=reason)

    def time_out(self) -> Said:
        """TIMED_OUT."""
        return self._status("TIMED_OUT")

    def expire(self) -> Said:
        """EXPIRED: its time to live was over before it began."""
        return self._status("EXPIRED")

    def retry(self, error: BaseException | str | None = None) -> Said:
        """This attempt failed, and another one follows: still EXECUTING for viewers. `start` then begins it."""
        said = self._status(RETRYING, error=error)
        self._identity.retried = True
        return said

    def wait(self) -> Said:
        """WAITING: for another run, a person, a moment."""
        return self._status("WAITING")

    def resume(self) -> Said:
        """EXECUTING again after `wait`."""
        return self._status("EXECUTING")

    def status(
        self,
        name: str,
        *,
        attempt: int | None = None,
        output: Any = None,
        error: BaseException | str | None = None,
        tags: Sequence[str] = (),
    ) -> Said:
        """Any status, by its public or raw name."""
        columns = {} if output is None else {"output": output, "outputType": JSON_TYPE}
        return self._status(name, attempt=attempt, columns=columns, error=error, tags=tags)

    def add_tags(self, *tags: str) -> Said:
        """Put tags on the run, up to 10 in all. Whoever follows one of them sees the run from now on."""
        return self._say(change(self.id, tags=_texts(tags), limits=self._limits))

    def _status(
        self,
        name: str,
        *,
        attempt: int | None = None,
        columns: Mapping[str, Any] | None = None,
        error: BaseException | str | None = None,
        tags: Sequence[str] = (),
    ) -> Said:
        origin = self._identity.origin
        if error is not None:
            columns = {**(columns or {}), "error": error_column(error)}
        return self._say(
            change(
                self.id,
                # It would not be there if nobody created it, or if Redis lost it meanwhile.
                create=origin.task is not None,
                attempt=attempt or self._identity.attempt,
                status=name,
                columns=columns,
                initial=origin.columns,
                tags=tuple(dict.fromkeys(origin.tags + _texts(tags))),
                limits=self._limits,
            )
        )


def _texts(tags: Sequence[str]) -> tuple[str, ...]:
    if isinstance(tags, str):
        raise BadChange(f"tags are a list of texts, not one: {tags!r}")
    for tag in tags:
        if not isinstance(tag, str):
            raise BadChange(f"a tag is text, not {tag!r}")
    return tuple(tags)
