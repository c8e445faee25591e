"""What jobs do: say what happens to runs, straight to Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis

from gateway.changes import Operation, Operator, change
from gateway.feeds import EnvironmentId
from gateway.metadata import native
from gateway.store.writing import Applied, ChangeWriter, read_answer, whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from gateway.store.writing import Command

#: How a run usually goes.
LIFE = ("QUEUED", "DEQUEUED", "EXECUTING", "COMPLETED")


class Jobs:
    """The jobs of one environment."""

    def __init__(self, url: str, environment: str = "default") -> None:
        self._client = redis.Redis.from_url(url, socket_timeout=60)
        self._writer = ChangeWriter(environment=EnvironmentId(environment))

    def __enter__(self) -> Jobs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def create(self, run: str, *, tags: Sequence[str] = (), batch: str | None = None, **options: Any) -> Applied:
        """A run of the task `hello`, QUEUED."""
        initial = {"taskIdentifier": "hello"} | ({"batchId": batch} if batch else {})
        return self.say(run, "QUEUED", create=True, initial=initial, tags=tags, **options)

    def say(self, run: str, status: str | None = None, *, set: dict[str, Any] | None = None, **options: Any) -> Applied:
        """One change: a status, metadata to *set*, or whatever `gateway.changes.change` takes."""
        operations = [Operation(Operator.SET, key, value) for key, value in (set or {}).items()]
        said = change(run, status=status, **options)
        triples = native(operations)
        assert triples is not None
        return read_answer(self._send(self._writer.by_digest(said, triples)))

    def live(self, run: str, statuses: Sequence[str] = LIFE) -> None:
        """A run from its creation through *statuses*."""
        self.create(run)
        for status in statuses[1:]:
            self.say(run, status)

    def _send(self, command: Command) -> Any:
        execute: Any = self._client.execute_command  # which has no types
        try:
            return execute(*command)
        except redis.exceptions.NoScriptError:
            return execute(*whole(command))
