"""Everybody ends when their token does: within a second, without holding up the others."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, cast

from gateway.transports.expirations import Expirations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Seen:
    """A viewer that remembers when it ended, and may do something then."""

    def __init__(self, then: Callable[[], None] | None = None) -> None:
        self.ended_at: float | None = None
        self._then = then

    def expired(self) -> None:
        assert self.ended_at is None, "it ended twice"
        self.ended_at = time.time()
        if self._then is not None:
            self._then()


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Expirations]:
    expirations = Expirations()
    task = asyncio.create_task(expirations.run())
    try:
        yield expirations
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def add(expirations: Expirations, viewer: Seen, when: float | None) -> Seen:
    expirations.add(cast("Any", viewer), when)
    return viewer


async def ended(viewer: Seen) -> float:
    async with asyncio.timeout(10):
        while viewer.ended_at is None:
            await asyncio.sleep(0.005)
    return viewer.ended_at


async def test_each_ends_at_its_time_and_not_before() -> None:
    """Those whose token goes on, or who have none, stay."""
    async with running() as expirations:
        now = time.time()
        soon, later = add(expirations, Seen(), now + 0.3), add(expirations, Seen(), now + 60)
        endless = add(expirations, Seen(), None)
        assert now + 0.3 <= await ended(soon) < now + 1.3
        assert (later.ended_at, endless.ended_at) == (None, None)
        assert set(map(id, expirations.viewers())) == {id(later), id(endless)}
        for viewer, when in ((later, now + 60), (endless, None)):
            expirations.remove(cast("Any", viewer), when)
        assert expirations.viewers() == []
        assert expirations._due == {}


async def test_thousands_that_end_together_leave_the_loop_its_turns() -> None:
    """In slices, and all within the second."""
    async with running() as expirations:
        now = time.time()
        everybody = [add(expirations, Seen(), now) for _ in range(5000)]
        while everybody[-1].ended_at is None and everybody[0].ended_at is None:
            await asyncio.sleep(0)
        assert sum(viewer.ended_at is not None for viewer in everybody) < 5000
        for viewer in everybody:
            assert await ended(viewer) < now + 1.5


async def test_who_is_renewed_while_others_end_stays() -> None:
    """Between two slices a viewer may be given another token, or go."""
    async with running() as expirations:
        now = time.time()
        renewed, gone = Seen(), Seen()

        def meanwhile() -> None:
            for viewer in (renewed, gone):
                expirations.remove(cast("Any", viewer), now)
            expirations.add(cast("Any", renewed), now + 60)

        for viewer in (renewed, gone, Seen(meanwhile)):
            add(expirations, viewer, now)
        last = add(expirations, Seen(), now + 0.3)
        await ended(last)
        assert (renewed.ended_at, gone.ended_at) == (None, None)
        assert list(map(id, expirations.viewers())) == [id(renewed)]
