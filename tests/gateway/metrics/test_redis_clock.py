"""How far Redis's clock is from ours, from answers that took some time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.metrics.redis_clock import RedisClock


@given(
    st.floats(-100, 100),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=16),
)
def test_the_estimate_is_right_up_to_half_the_quickest_round_trip(
    offset: float, trips: list[tuple[float, float]]
) -> None:
    """However long the way there and the way back were."""
    clock = RedisClock()
    for there, back in trips:
        clock.learn(1000.0, 1000.0 + there + back, 1000.0 + there + offset)

    assert abs(clock.offset - offset) <= min(there + back for there, back in trips) / 2 + 1e-6


def test_a_clock_that_is_set_is_followed() -> None:
    """What was learned before is forgotten after some answers, however quick it was."""
    clock = RedisClock()
    clock.learn(0.0, 0.0, 5.0)
    for second in range(1, 17):
        clock.learn(second, second + 0.01, second + 0.005)

    assert clock.offset == pytest.approx(0)


def test_no_time_is_negative() -> None:
    """An estimate may be wrong by a little, and a change is never delivered before it was made."""
    clock = RedisClock()

    assert clock.since(1_000_500, now=1000.0) == 0
    clock.learn(1000.0, 1000.0, 1001.0)
    assert clock.since(1_000_500, now=1000.0) == pytest.approx(0.5)
