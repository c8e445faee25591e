"""
When a token ends: from what a person writes (`"15m"`, a date) to unix seconds.

The formats and their meaning are those of the official SDK, so that a backend can move between the two
without looking twice: see the Trigger.dev realtime protocol, section 2.3.
"""

import math
import re
from datetime import datetime, timedelta

from auth.errors import BadExpiry

#: A number is a moment in unix seconds, a timedelta or text a span from now, a datetime a moment.
Expires = int | float | datetime | timedelta | str

#: The end of the year 9999. Later moments are mistakes: mostly milliseconds, where seconds belong.
LATEST_SECONDS = 253_402_300_799

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_SECONDS_BY_UNIT = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 1.0 * _MINUTE),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 1.0 * _HOUR),
    **dict.fromkeys(("d", "day", "days"), 1.0 * _DAY),
    **dict.fromkeys(("w", "week", "weeks"), 7.0 * _DAY),
    **dict.fromkeys(("y", "yr", "yrs", "year", "years"), 365.25 * _DAY),
}

_SPAN = re.compile(
    r"(?P<sign>[+-])? ?(?P<amount>\d+(?:\.\d+)?) ?(?P<unit>[a-z]+?)(?: (?P<direction>ago|from now))?",
    re.IGNORECASE | re.ASCII,
)
_RIGHT = "write a span such as '15m', '1.5 hours' or '2 days from now', or give a date or unix seconds"
#: A good span is far shorter; a longer text is not worth searching.
_LONGEST_SPAN_CHARACTERS = 64


def expires_at(expires: Expires, *, now: float) -> int:
    """
    The unix second at which a token ends that is minted *now* (unix seconds) and *expires* as said.

    It may lie in the past; that is for the caller to judge.

    Raises:
        BadExpiry: When *expires* is none of the formats, a date without a time zone, or beyond the year 9999.
    """
    # Spans count from whole seconds, as the token's `iat` claim does: "15m" is then 900 exactly.
    match expires:
        case bool():
            raise BadExpiry(given=expires, reason=_RIGHT)
        case int() | float():
            return _whole_seconds(expires, given=expires)
        case datetime():
            return _moment(expires)
        case timedelta():
            return _whole_seconds(math.floor(now) + expires.total_seconds(), given=expires)
        case str():
            return _whole_seconds(math.floor(now) + span_seconds(expires), given=expires)
        case _:
            raise BadExpiry(given=expires, reason=_RIGHT)


def span_seconds(text: str) -> int:
    """
    How many seconds *text* spans, rounded as the SDK does; negative for "5m ago" and "-5m".

    Raises:
        BadExpiry: When *text* is not a span.
    """
    found = _SPAN.fullmatch(text) if len(text) <= _LONGEST_SPAN_CHARACTERS else None
    seconds = _SECONDS_BY_UNIT.get(found["unit"].lower()) if found else None
    if found is None or seconds is None:
        raise BadExpiry(given=text, reason=_RIGHT)
    if found["sign"] and found["direction"]:
        raise BadExpiry(given=text, reason="a sign and 'ago' or 'from now' say the same twice; keep one")
    # JavaScript's Math.round takes a half upwards; Python's round() would take it to the even number.
    rounded = math.floor(float(found["amount"]) * seconds + 0.5)
    backwards = found["sign"] == "-" or (found["direction"] or "").lower() == "ago"
    return -rounded if backwards else rounded


def _moment(expires: datetime) -> int:
    if expires.tzinfo is None or expires.utcoffset() is None:
        raise BadExpiry(given=expires, reason="the date has no time zone; give it one, such as timezone.utc")
    return _whole_seconds(expires.timestamp(), given=expires)


def _whole_seconds(seconds: float, *, given: object) -> int:
    # Compared before it is converted: infinities and NaN fail here, and cannot become integers.
    if not -LATEST_SECONDS <= seconds <= LATEST_SECONDS:
        raise BadExpiry(given=given, reason="that is beyond the year 9999; are these milliseconds?")
    return math.floor(seconds)
