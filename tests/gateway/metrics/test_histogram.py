"""Counting without a library: where a value falls, and what it adds up to."""

from __future__ import annotations

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.metrics.histogram import (
    DELIVERY_SECONDS,
    LAG_SECONDS,
    LATENESS_SECONDS,
    REQUEST_SECONDS,
    ROUND_TRIP_SECONDS,
    Histogram,
)


@pytest.mark.parametrize(
    "bounds", [DELIVERY_SECONDS, LAG_SECONDS, LATENESS_SECONDS, REQUEST_SECONDS, ROUND_TRIP_SECONDS]
)
def test_bounds_rise(bounds: tuple[float, ...]) -> None:
    """Else the search would not find anything."""
    assert list(bounds) == sorted(set(bounds))


@given(st.lists(st.floats(0, 20)))
def test_a_value_counts_in_the_first_bucket_that_is_not_below_it(values: list[float]) -> None:
    """Prometheus's `le` is at most, not less than."""
    histogram = Histogram(DELIVERY_SECONDS)
    together = Histogram(DELIVERY_SECONDS)
    for value in values:
        histogram.observe(value)
    for value in values:
        together.observe(value, 3)

    assert together.counts == [3 * count for count in histogram.counts]
    assert together.total == pytest.approx(3 * histogram.total)
    assert histogram.count == len(values)
    assert histogram.total == pytest.approx(sum(values))
    for place, bound in enumerate(DELIVERY_SECONDS):
        assert sum(histogram.counts[: place + 1]) == sum(value <= bound for value in values)


def test_a_value_on_a_bound_belongs_to_it() -> None:
    """The borders are where such code is wrong."""
    histogram = Histogram((1.0, 2.0))
    for value in (1.0, 2.0, 2.0001):
        histogram.observe(value)

    assert histogram.counts == [1, 1, 1]
    assert bisect_left((1.0, 2.0), 1.0) == 0
