"""A time that is soon, and not sooner than a test needs."""

from __future__ import annotations

import asyncio
import math
import time


def soon(seconds: float = 1) -> float:
    """
    When a token ends (s since 1970) that lives for *seconds* at least, and for less than a second more.

    What is minted for "1s" late in a second ends at once: `exp` knows whole seconds only.
    """
    return math.ceil(time.time()) + seconds


async def until_past(moment: float) -> None:
    """Return when *moment* (s since 1970) is over, by the clock that tokens are judged by."""
    while (left := moment - time.time()) >= 0:
        await asyncio.sleep(left + 0.01)
