"""The run that the code at hand belongs to, known without being passed along."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from contextvars import Token
    from types import TracebackType

    from gateway.publisher.asynchronous import AsyncRun
    from gateway.publisher.publisher import Run

_ambient: Final[ContextVar[Any]] = ContextVar("runcast_run", default=None)


def current_run() -> Run | None:
    """The run that this code belongs to, with its context; None outside of one, and in one that speaks with `await`."""
    from gateway.publisher.publisher import Run

    run = _ambient.get()
    return run if isinstance(run, Run) else None


def current_async_run() -> AsyncRun | None:
    """As `current_run`, for a job of an `AsyncPublisher`."""
    from gateway.publisher.asynchronous import AsyncRun

    run = _ambient.get()
    return run if isinstance(run, AsyncRun) else None


class Attachment:
    """A run is the ambient one from now until `detach`, or the end of a `with` block. Detaching twice is harmless."""

    __slots__ = ("_before", "_run", "_token")

    def __init__(self, run: object) -> None:
        self._run = run
        self._before = _ambient.get()
        self._token: Token[Any] | None = _ambient.set(run)

    def detach(self) -> None:
        token, self._token = self._token, None
        if token is None:
            return
        try:
            _ambient.reset(token)
        except ValueError:
            # Attached in another context: a task queue may call its hooks in different ones. Here it is set still
            # if this one is a copy of that.
            if _ambient.get() is self._run:
                _ambient.set(self._before)

    def __enter__(self) -> Attachment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()
