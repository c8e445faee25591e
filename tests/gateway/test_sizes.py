"""Sizes as people write them."""

from __future__ import annotations

import pytest

from gateway.errors import BadInput
from gateway.sizes import parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1", 1), (" 4096 ", 4096), ("64KiB", 65536), ("300MiB", 314572800), ("2 gib", 2**31), ("5B", 5)],
)
def test_a_size_is_a_number_with_a_unit_or_without(text: str, size: int) -> None:
    """In any case of letters, as one may forget it."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "x", "1KB", "3M", "1.5MiB", "-1", "+1", "1_000", "1e3", "\u0661", "9" * 20, "KiB"]
)
def test_what_is_none_is_refused_with_an_example(text: str) -> None:
    """KB and M too: they mean 1000 to some and 1024 to others."""
    with pytest.raises(BadInput, match="300MiB"):
        parse_size(text)
