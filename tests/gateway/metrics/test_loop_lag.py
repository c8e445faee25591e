"""How late the loop is, as whoever waits for it sees it."""

from __future__ import annotations

import asyncio
import contextlib
import time

from gateway.metrics.loop_lag import RECENT_SECONDS, STEP_SECONDS, LoopLag


@contextlib.asynccontextmanager
async def running(lag: LoopLag):  # type: ignore[no-untyped-def]
    task = asyncio.create_task(lag.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_whoever_asks_right_after_a_delay_is_told() -> None:
    """The measure itself may not have been woken yet."""
    lag = LoopLag()
    async with running(lag):
        await asyncio.sleep(0)
        time.sleep(STEP_SECONDS + 0.3)

        assert lag.recent() >= 0.29
        assert lag.largest() >= 0.29


async def test_a_delay_is_recent_for_a_while_and_then_not() -> None:
    """Readiness comes back; the largest is kept until a scrape has had time to see it."""
    lag = LoopLag()
    lag._note(now=100.0, late=1.5)
    assert lag.recent() == 1.5
    for step in range(round(RECENT_SECONDS / STEP_SECONDS)):
        lag._note(now=100.0 + step * STEP_SECONDS, late=0.0)

    assert lag.recent() == 0.0
    assert lag.largest() == 1.5
    for second in (131.0, 162.0):
        lag._note(now=second, late=0.001)
    assert lag.largest() < 1.5


async def test_nothing_is_late_when_nothing_was_measured() -> None:
    """Before the first look, and after the last."""
    lag = LoopLag()

    assert (lag.recent(), lag.largest(), lag.histogram.count) == (0.0, 0.0, 0)
