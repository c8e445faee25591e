"""Why a connection to a gateway ended, what that calls for, and how long to wait then. Does no I/O and never waits."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_PAUSE_SECONDS: Final = 0.25
LONGEST_PAUSE_SECONDS: Final = 30.0


class Verdict(Enum):
    """What the end of a connection calls for."""

    COME_BACK = auto()
    NEW_TOKEN = auto()
    STAY_AWAY = auto()


#: Close codes that don't simply mean to come back (docs/protocol.md, "Close codes").
CLOSE_CODES: Final = MappingProxyType(
    {
        1003: Verdict.STAY_AWAY,
        1007: Verdict.STAY_AWAY,
        1009: Verdict.STAY_AWAY,
        4400: Verdict.STAY_AWAY,
        4401: Verdict.NEW_TOKEN,
        4403: Verdict.STAY_AWAY,
        4410: Verdict.NEW_TOKEN,
        4411: Verdict.NEW_TOKEN,
    }
)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ended, or why there was none."""

    verdict: Verdict
    reason: str
    code: str = ""


def of_close(code: int, reason: str, error: str = "") -> Ending:
    """A socket that was closed with *code*; *error* is the code of the last error message, which says more."""
    verdict = CLOSE_CODES.get(code, Verdict.COME_BACK)
    return Ending(verdict, reason or "the connection was cut", error or f"close_{code}")


def of_status(status: int, *, known_good: bool) -> Ending:
    """
    A handshake that was answered with something else than a socket: by a proxy, or no gateway at all.

    Args:
        known_good: Whether a gateway has answered at this address before.
    """
    reason, code = f"HTTP {status} instead of a WebSocket", f"http_{status}"
    if status == 401:
        return Ending(Verdict.NEW_TOKEN, reason, code)
    if status == 403:
        return Ending(Verdict.STAY_AWAY, f"{reason}: we may not in, or there is no gateway at this path", code)
    # Where a gateway was before, this is a proxy that does not find it for a moment: a deployment.
    if 400 <= status < 500 and status not in (408, 425, 429) and not known_good:
        return Ending(Verdict.STAY_AWAY, f"{reason}; is this the address of a gateway?", code)
    return Ending(Verdict.COME_BACK, reason, code)


class Pauses:
    """How long to wait before the next attempt: full jitter, under a limit that doubles until data came."""

    def __init__(self, draw: Callable[[float, float], float] = random.uniform) -> None:
        self._draw = draw
        self._limit = FIRST_PAUSE_SECONDS

    def next(self) -> float:
        limit, self._limit = self._limit, min(self._limit * 2, LONGEST_PAUSE_SECONDS)
        return self._draw(0, limit)

    def reset(self) -> None:
        self._limit = FIRST_PAUSE_SECONDS
