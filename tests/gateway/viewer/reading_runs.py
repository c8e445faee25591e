"""Reading what a viewer is told, and waiting for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.viewer.updates import RunUpdates
    from gateway.viewer.viewed import ViewedRun
    from tests.gateway.serving import ServedGateway

PATIENCE_SECONDS = 20.0


async def next_of(updates: RunUpdates, wanted: Callable[[ViewedRun], object] = bool) -> ViewedRun:
    """The next run that is wanted."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for run in updates:
            if wanted(run):
                return run
    raise AssertionError("it ended before that")


def is_ended(name: str) -> Callable[[ViewedRun], bool]:
    return lambda run: run.id == name and run.is_final


async def eventually(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():
            await asyncio.sleep(0.01)


def feeds_of(gateway: ServedGateway) -> set[str]:
    """What somebody follows at the gateway."""
    return {str(group.view.feed) for group in gateway._groups()}
