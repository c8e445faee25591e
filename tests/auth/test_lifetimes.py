"""When a token ends."""

import math
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth import BadExpiry, expires_at
from auth.lifetimes import LATEST_SECONDS, span_seconds
from tests.auth.helpers import NOW

MINUTE, HOUR, DAY = 60, 3_600, 86_400
YEAR = 31_557_600

#: The units of the protocol's section 2.3.
UNITS = {
    1: "s sec secs second seconds",
    MINUTE: "m min mins minute minutes",
    HOUR: "h hr hrs hour hours",
    DAY: "d day days",
    7 * DAY: "w week weeks",
    YEAR: "y yr yrs year years",
}
UNIT_SECONDS = {name: seconds for seconds, names in UNITS.items() for name in names.split()}

# The expression of the library that the official SDK resolves spans with, word for word.
SDK_SPAN = re.compile(
    r"^(\+|\-)? ?(\d+|\d+\.\d+) ?(seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d|weeks?|w"
    r"|years?|yrs?|y)(?: (ago|from now))?$",
    re.IGNORECASE | re.ASCII,
)


def sdk_accepts(text: str) -> bool:
    found = SDK_SPAN.match(text)
    return bool(found) and not text.endswith("\n") and not (found and found[1] and found[4])


# Answers of the official SDK's library, version 4.8.3 of the SDK.
@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("15m", 900),
        ("1.5h", 5_400),
        ("0.4s", 0),
        ("0.5s", 1),
        ("1.5s", 2),
        ("2.5s", 3),
        ("+ 3 days", 259_200),
        ("-5m", -300),
        ("- 5m", -300),
        ("5m ago", -300),
        ("1 year", YEAR),
        ("1 YR", YEAR),
        ("2w from now", 1_209_600),
        ("1 Hrs", HOUR),
    ],
)
def test_spans_mean_what_they_mean_in_the_sdk(text: str, seconds: int) -> None:
    """Each span gives the number that the SDK gave for it."""
    assert span_seconds(text) == seconds
    assert expires_at(text, now=NOW) == NOW + seconds


@pytest.mark.parametrize(
    "text",
    ["", "15", "m", "1 month", "1  m", "1m  ago", "-5m ago", "+5m from now", "5mago", ".5h", "1.h", "1e3s",
     "1d\n", "  1d", "1d ", "tomorrow", "2026-01-31", "\u0663 days", "1 \u017f", "9" * 400 + "s"],
)  # fmt: skip
def test_other_text_is_refused_with_what_would_be_right(text: str) -> None:
    """The error says how to write it."""
    with pytest.raises(BadExpiry, match=r"write a span such as '15m'|keep one"):
        expires_at(text, now=NOW)


@given(
    st.sampled_from(["", "+", "-"]),
    st.sampled_from(["", " "]),
    st.integers(0, 50),
    st.sampled_from(["", ".5", ".25", ".0"]),
    st.sampled_from(["", " "]),
    st.sampled_from(sorted(UNIT_SECONDS)),
    st.sampled_from([str, str.upper, str.title]),
    st.sampled_from(["", " from now", " ago", " AGO"]),
)
def test_a_span_is_its_amount_times_its_unit(
    sign: str, gap: str, whole: int, part: str, space: str, unit: str, spell: Any, direction: str
) -> None:
    """Any sign, amount, unit, spelling and direction of the grammar gives the product, a half rounded up."""
    text = f"{sign}{gap}{whole}{part}{space}{spell(unit)}{direction}"
    if sign and direction:
        with pytest.raises(BadExpiry, match="keep one"):
            span_seconds(text)
        return
    backwards = sign == "-" or "ago" in direction.lower()

    seconds = math.floor(float(f"{whole}{part}") * UNIT_SECONDS[unit] + 0.5)

    assert span_seconds(text) == (-seconds if backwards else seconds)


@given(st.text("0123456789.+- smhdwyrainecoukfg\n", max_size=14) | st.from_regex(SDK_SPAN))
def test_a_span_is_accepted_exactly_when_the_sdk_accepts_it(text: str) -> None:
    """No text is a span here and not there, or there and not here."""
    if len(text) > 64:
        return
    try:
        span_seconds(text)
        accepted = True
    except BadExpiry:
        accepted = False

    assert accepted is sdk_accepts(text)


@given(st.integers(-LATEST_SECONDS, LATEST_SECONDS))
def test_a_number_is_a_moment(moment: int) -> None:
    """Numbers are unix seconds, whatever the time is now."""
    assert expires_at(moment, now=NOW) == moment


@given(st.datetimes(timezones=st.just(UTC) | st.just(timezone(timedelta(hours=-7)))))
def test_a_date_is_its_moment(moment: datetime) -> None:
    """A date with a zone is the unix second it falls into."""
    assert expires_at(moment, now=NOW) == math.floor((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())


def test_spans_count_from_the_whole_second() -> None:
    """The end is a whole number of seconds after `iat`, which is one too."""
    assert expires_at("15m", now=NOW + 0.9) == NOW + 900
    assert expires_at(timedelta(minutes=15), now=NOW + 0.9) == NOW + 900


def test_a_date_without_a_zone_is_refused() -> None:
    """It would mean another moment on each machine."""
    with pytest.raises(BadExpiry, match="time zone"):
        expires_at(datetime(2026, 1, 31), now=NOW)


@pytest.mark.parametrize(
    "number",
    [NOW * 1000, 10**400, 10**5000, -(10**400), math.inf, -math.inf, math.nan, timedelta.max, "9" * 12 + "y"],
    ids=lambda number: type(number).__name__,
)
def test_a_moment_beyond_reason_is_refused(number: Any) -> None:
    """Milliseconds, infinities and the like are mistakes, and the error can be printed."""
    with pytest.raises(BadExpiry, match="milliseconds") as refused:
        expires_at(number, now=NOW)

    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("wrong", [None, True, False, [], {}, b"15m", object()])
def test_other_values_are_refused(wrong: Any) -> None:
    """True is a number to Python, and none here."""
    with pytest.raises(BadExpiry, match="write a span"):
        expires_at(wrong, now=NOW)
