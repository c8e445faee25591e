"""More than a slow viewer takes: large progress of one run, and the life of another in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.journeys.jobs import LIFE
from tests.journeys.reluctant import WIRES, ReluctantViewer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.journeys.jobs import Jobs
    from tests.journeys.model import Model

BLOB = "x" * 100_000
#: Of the run that moves through its life meanwhile.
STATUSES = LIFE[1:]


def create(jobs: Jobs) -> None:
    """`run_1`, which makes progress, and `run_2`, which lives."""
    jobs.create("run_1")
    jobs.create("run_2")


async def tell(jobs: Jobs, fast: Iterable[Model], *, ticks: int) -> None:
    """Tell all of it, 100 KB a tick, no faster than *fast* viewers take it."""
    statuses = dict(zip(range(ticks // 4, ticks, ticks // 4), STATUSES, strict=True))
    for tick in range(ticks):
        tell_tick(jobs, tick)
        if tick in statuses:
            jobs.say("run_2", statuses[tick])
        if tick % 2 or tick == ticks - 1:
            for model in fast:
                await model.until_metadata("run_1", "tick", tick)


def tell_tick(jobs: Jobs, tick: int) -> None:
    jobs.say("run_1", set={"tick": tick, "blob": f"{tick}{BLOB}"})


def reluctant(transport: str, port: int, token: str) -> ReluctantViewer:
    """A viewer of all runs that reads when it is told to."""
    everything = {"websocket": True, "events": "true"}[transport]
    return ReluctantViewer(WIRES[transport](f"http://127.0.0.1:{port}", token, {"all": everything}), port)
