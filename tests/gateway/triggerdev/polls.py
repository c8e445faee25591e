"""Polls of the official clients, as tests make them and look at their answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.changes import Operation, Operator

if TYPE_CHECKING:
    from tests.gateway.triggerdev.shape.folding import Answer, FoldingClient
    from tests.gateway.triggerdev.shape.serving import Feeds

UP_TO_DATE = {"headers": {"control": "up-to-date"}}
IDLE = [UP_TO_DATE]


async def held(served: Feeds, client: FoldingClient) -> asyncio.Task[Answer]:
    """A live poll, once it waits."""
    before = served.services.counters.viewers["shape"]
    asking = asyncio.create_task(client.poll(live=True))
    async with asyncio.timeout(10):
        while served.services.counters.viewers["shape"] == before and not asking.done():
            await asyncio.sleep(0.001)
    await asyncio.sleep(0)
    return asking


def ticks(value: Any, key: str = "tick") -> dict[str, Any]:
    return {"operations": [Operation(Operator.SET, key, value)]}
