"""
What nobody says: that a worker is gone, that a run was never begun, that it takes too long.

Each second every gateway asks which deadlines have passed, and says what that means, as a change like any other: the
scripts see to it that each is told once, however many ask, and that a run whose worker only could not reach Redis is
not called dead (scripts/overdue.lua).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from gateway.changes import Change
from gateway.codec import encode_json
from gateway.errors import GatewayError
from gateway.runs import RawStatus, Status
from gateway.store.writing import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.feeds import EnvironmentId, RunId
    from gateway.store.writing import Applied

log: Final = logging.getLogger("runcast.deadlines")

LOOK_SECONDS: Final = 1.0

#: What a run is told to have failed by, for each status that only a deadline can give.
REASONS: Final = {
    Status.CRASHED: "its worker was not heard of any more: nobody renewed its lease",
    Status.TIMED_OUT: "it took longer than its maxDuration",
    Status.EXPIRED: "nobody began it within its ttl",
}


@dataclass(frozen=True, slots=True)
class Overdue:
    """A run past its deadline, and the status that it has by that."""

    run: RunId
    status: RawStatus
    attempt: int


class OverdueFinder(Protocol):
    """What is needed of the store."""

    async def overdue(self, environment: EnvironmentId) -> list[Overdue]: ...


class Writer(Protocol):
    """What is needed of whoever writes."""

    async def apply(self, environment: EnvironmentId, change: Change) -> Applied: ...


class Deadlines:
    """Ends the runs whose time is over, of some environments, while `run` runs."""

    def __init__(self, store: OverdueFinder, writer: Writer, environments: Iterable[EnvironmentId]) -> None:
        #: May be replaced at any time.
        self.environments = tuple(environments)
        #: Runs that ended here, by their status: those that another gateway was faster to end are not among them.
        self.ended: Counter[str] = Counter()
        self._store, self._writer = store, writer

    async def run(self) -> None:
        """Work until cancelled. A Redis that is away is somebody else's to tell."""
        while True:
            await asyncio.gather(*map(self._look, self.environments))
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self, environment: EnvironmentId) -> None:
        try:
            while found := await self._store.overdue(environment):
                told = await asyncio.gather(*(self._end(environment, overdue) for overdue in found))
                ended = Counter(str(overdue.status) for overdue, news in zip(found, told, strict=True) if news)
                if not ended:
                    break  # other gateways are at the same ones
                self.ended += ended
                log.info("runs of %s ended because a time was over: %s", environment, _listed(ended))
        except GatewayError as error:
            log.debug("deadlines of %s: %s", environment, error)

    async def _end(self, environment: EnvironmentId, overdue: Overdue) -> bool:
        """Say it, and return whether that was news."""
        reason = REASONS[Status(overdue.status)]
        change = Change(
            run=overdue.run,
            overdue=True,
            status=overdue.status,
            attempt=overdue.attempt,
            columns={"error": encode_json({"type": "STRING_ERROR", "raw": reason}, what="error")},
        )
        try:
            applied = await self._writer.apply(environment, change)
        except GatewayError as error:
            log.debug("run %s of %s can't be ended now: %s", overdue.run, environment, error)
            return False  # it is found again
        return applied.outcome is Answer.APPLIED


def _listed(ended: Counter[str]) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(ended.items()))
