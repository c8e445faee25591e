"""Spans of time as people write them."""

from __future__ import annotations

import pytest

from gateway.durations import parse_duration
from gateway.errors import BadInput


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0.5", 0.5),
        ("90s", 90),
        ("30m", 1800),
        ("24h", 86400),
        ("1hr", 3600),
        ("2d12h", 216000),
        ("1w", 604800),
        ("1h30m15s", 5415),
        (" 1h ", 3600),
    ],
)
def test_spans_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "h", "1x", "-1h", "1 h", "1.5h", "0", "0s", "1e3", "inf", "nan", "²h", "9" * 13, "999w999999d"]
)
def test_what_is_no_span_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadInput, match="span of time"):
        parse_duration(text)
