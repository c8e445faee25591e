"""Spans of time as people write them: `2d12h`, `90s`, or plain seconds."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

from gateway.errors import BadInput

_SECONDS: Final = MappingProxyType({"w": 604800.0, "d": 86400.0, "hr": 3600.0, "h": 3600.0, "m": 60.0, "s": 1.0})
_PART: Final = re.compile(r"(\d{1,12})(w|d|hr|h|m|s)", re.ASCII)
_SPAN: Final = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,12}(?:\.\d{1,9})?", re.ASCII)

#: A century. Whoever writes more has mistaken the unit, and sums with it would leave what numbers can hold.
MAX_SECONDS: Final = 100 * 365 * 86400.0


def parse_duration(text: str) -> float:
    """
    The seconds that *text* says: parts such as `2d12h` with the units w, d, hr, h, m, s, or a plain number of seconds.

    Raises:
        BadInput: When it says nothing of the kind, no time at all, or more than a century.
    """
    seconds = _seconds(text.strip())
    if seconds is None:
        raise BadInput(f"a span of time is like 30m, 24h, 2d12h or a number of seconds, not {text[:40]!r}")
    if not 0 < seconds <= MAX_SECONDS:
        raise BadInput(f"a span of time is more than nothing and at most a century, not {text[:40]!r}")
    return seconds


def _seconds(text: str) -> float | None:
    if _NUMBER.fullmatch(text):
        return float(text)
    if _SPAN.fullmatch(text):
        return sum(int(count) * _SECONDS[unit] for count, unit in _PART.findall(text))
    return None
