"""Whoever looks which deadlines have passed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.store.redis_keys import deadlines_key, history_key, prefix, script
from tests.gateway.publisher.waiting import until
from tests.gateway.store.changing import Changing

if TYPE_CHECKING:
    from gateway.store.writing import Applied

#: So short that a test can wait for its end.
LEASE = 0.04
SOON = 0.04


class Watching(Changing):
    """As `Changing`, and as a gateway that looks which deadlines have passed."""

    def overdue(self, most: int = 100) -> dict[str, str]:
        """Runs that are past a deadline now, with the status that it means."""
        keys = history_key(self.environment), deadlines_key(self.environment)
        arguments = prefix(self.environment), self.writer.retention.history_ms, most
        found: Any = self.client.eval(script("overdue").text, 2, *keys, *arguments)
        return {run: status for run, status, _ in found}

    def watched_for_long(self) -> None:
        """As if somebody had looked all the time."""
        self.overdue()
        self.client.hset(history_key(self.environment), mapping={"watched_since": 1, "watched_again": 1})

    def until_overdue(self, run: str = "run_1") -> str:
        until(lambda: run in self.overdue())
        return self.overdue()[run]

    def end(self, run: str = "run_1") -> Applied:
        """Say what a deadline that passed means, as a gateway does."""
        status = self.until_overdue(run)
        return self.apply(run, status=status, overdue=True, columns={"error": {"type": "STRING_ERROR", "raw": "late"}})

    def start(self, run: str = "run_1", *, lease: float | None = LEASE, **said: Any) -> Applied:
        self.create(run)
        return self.apply(run, status="EXECUTING", lease_seconds=lease, **said)

    @property
    def deadlines(self) -> list[str]:
        found: Any = self.client.zrange(deadlines_key(self.environment), 0, -1)
        return list(found)

    def statuses(self, run: str = "run_1") -> list[str]:
        return [status for _, status, _, _ in self.row(run)["transitions"]]
