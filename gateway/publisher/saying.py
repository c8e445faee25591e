"""
What can be said of a run, each as the change that says it. Nothing is sent here.

`Sayings` is the part that the synchronous `Run` and the asynchronous `AsyncRun` share: every method exists once. It
is generic in what saying gives: an outcome, or something to await for one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from gateway.changes import Change, Limits, Operation, Operator, change, status_change
from gateway.errors import BadChange, TooLarge
from gateway.metadata import checked, is_number, progress_value
from gateway.publisher.context import check_context
from gateway.publisher.failures import error_column
from gateway.publisher.identity import JSON_TYPE, Identity, lease_seconds, texts
from gateway.publisher.leases import AT_WORK
from gateway.publisher.outbox import PROGRESS
from gateway.publisher.streams import StreamSayings
from gateway.runs import RETRYING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.publisher.context import Context

Said = TypeVar("Said", covariant=True)


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


class Sayings(MetadataSayings[Said], StreamSayings[Said]):
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

    def start(
        self,
        *,
        attempt: int | None = None,
        context: Context | Mapping[str, Any] | None = None,
        lease: str | float | None = None,
    ) -> Said:
        """
        The job begins: EXECUTING. A higher *attempt* opens a run again that has ended.

        Without *attempt* it is the handle's; after `retry` the one that follows. With a *lease* (`30s`, or seconds; by
        default the handle's) the publisher says that this process lives, for as long as it does and the handle is
        kept, until it says how the run ended; when nothing is heard for so long, the run is CRASHED.
        """
        identity = self._identity
        if lease is not None:
            identity.lease_seconds = lease_seconds(lease)
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

    def hand_over(self) -> Said:
        """The run goes on in another process: this one's lease is given up. Shows nobody anything."""
        return self._say(Change(run=self.id, attempt=self._identity.attempt, lease_ms=0))

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
        return self._say(change(self.id, tags=texts(tags), limits=self._limits))

    def _status(
        self,
        name: str,
        *,
        attempt: int | None = None,
        columns: Mapping[str, Any] | None = None,
        error: BaseException | str | None = None,
        tags: Sequence[str] = (),
    ) -> Said:
        identity = self._identity
        if error is not None:
            columns = {**(columns or {}), "error": error_column(error)}
        return self._say(
            status_change(
                identity.origin_change,
                name,
                attempt=attempt or identity.attempt,
                columns=columns,
                tags=texts(tags) if tags else (),
                lease_seconds=(identity.lease_seconds or None) if name == AT_WORK else None,
                limits=self._limits,
            )
        )
