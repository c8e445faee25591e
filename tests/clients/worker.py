"""
A worker process: does what the tests in Node ask it to, through the publisher, as a job would.

Reads one JSON call a line, `{"id", "do", "with"}`, and writes one JSON answer a line, `{"id", "result" | "error"}`.
Calls are done at the same time, so that one may wait while others go on.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from gateway import Publisher
from gateway.changes import Operation, Operator, change

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.publisher import Run

PARALLEL_CALLS = 32


class Worker:
    """What can be asked for. Handles are kept, as a job keeps its own."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._runs: dict[str, Run] = {}

    def create(self, task: str = "hello", **options: Any) -> str:
        """A run, and its id."""
        run = self._publisher.create(task, **options)
        self._runs[run.id] = run
        return run.id

    def create_many(self, count: int, task: str = "hello", **options: Any) -> list[str]:
        """Runs, one after the other, and their ids."""
        return [self.create(task, **options) for _ in range(count)]

    def say(self, run: str, calls: list[list[Any]]) -> list[str]:
        """
        Call methods of the handle, `["set", "key", 1]` or `["parent.increment", "done"]`, and send it all.

        The last argument may be an object `{"by_name": {…}}`.
        """
        outcomes = []
        for name, *arguments in calls:
            method: Any = self._handle(run)
            for part in name.split("."):
                method = getattr(method, part)
            named = arguments.pop()["by_name"] if arguments and _is_by_name(arguments[-1]) else {}
            outcomes.append(str(method(*arguments, **named)))
        assert self._publisher.flush(5)
        return outcomes

    def current(self, run: str) -> dict[str, Any] | None:
        """Its metadata, as the job reads it."""
        return self._handle(run).current()

    def count_up(self, run: str, key: str, count: int) -> None:
        """Set *key* to 1, 2, … *count*, each by a change of its own, however fast that is."""
        for number in range(1, count + 1):
            self.set_at_once(run, key, number)
        assert self._publisher.flush(5)

    def set_everywhere(self, runs: list[str], key: str, value: Any) -> None:
        """Set *key* of every run."""
        for run in runs:
            self.set_at_once(run, key, value)
        assert self._publisher.flush(5)

    def set_at_once(self, run: str, key: str, value: Any) -> None:
        """A change that waits for no others; a machine that is too slow makes it wait all the same."""
        outcome = self._publisher.say(change(run, operations=(Operation(Operator.SET, key, value),)))
        assert outcome in ("applied", "deferred"), outcome

    def live(self, run: str, statuses: list[str], every: float = 0.0) -> None:
        """Statuses one after the other."""
        for status in statuses:
            self._handle(run).status(status)
            time.sleep(every)

    def write(self, run: str, key: str, values: list[Any]) -> None:
        """Chunks to a stream, and send them."""
        self._handle(run).stream(key).write_all(values)
        assert self._publisher.flush(5)

    def read(self, run: str, key: str, timeout: float) -> list[Any]:
        """All of a stream, until the run has ended."""
        return list(self._handle(run).stream(key).read(timeout=timeout))

    def hear(self, run: str, key: str, count: int, timeout: float) -> list[Any]:
        """The next *count* values that are sent to the run."""
        return [self._handle(run).input(key).wait(timeout) for _ in range(count)]

    def send(self, run: str, key: str, value: Any) -> str:
        """Send a value to the run."""
        return str(self._handle(run).input(key).send(value))

    def be_cancelled(self, run: str, timeout: float) -> str | None:
        """Wait until somebody asks the run to stop, and stop: CANCELED. Returns the reason."""
        handle = self._handle(run)
        assert handle.wait_for_cancel(timeout), "nobody asked"
        handle.cancel(handle.cancel_reason)
        return handle.cancel_reason

    def _handle(self, run: str) -> Run:
        if run not in self._runs:
            self._runs[run] = self._publisher.run(run)
        return self._runs[run]


def _is_by_name(argument: Any) -> bool:
    return isinstance(argument, dict) and argument.keys() == {"by_name"}


def main() -> None:
    lock = threading.Lock()

    def answer(said: dict[str, Any]) -> None:
        with lock:
            print(json.dumps(said), flush=True)

    with Publisher() as publisher, ThreadPoolExecutor(PARALLEL_CALLS) as pool:
        worker = Worker(publisher)

        def carry_out(call: dict[str, Any]) -> None:
            try:
                method: Callable[..., Any] = getattr(worker, call["do"])
                answer({"id": call["id"], "result": method(**call["with"])})
            except BaseException as error:
                answer({"id": call["id"], "error": f"{type(error).__name__}: {error}"})

        for line in sys.stdin:
            pool.submit(carry_out, json.loads(line))


if __name__ == "__main__":
    main()
