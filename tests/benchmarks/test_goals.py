"""Goals: what we want beside what there is."""

from __future__ import annotations

import pytest

from benchmarks.goals import Goal
from benchmarks.work import Better


@pytest.mark.parametrize(
    ("goal", "met", "ratio"),
    [
        (Goal("seconds", 10.0, 5.0), True, 2.0),
        (Goal("seconds", 10.0, 20.0), False, 0.5),
        (Goal("changes a second", 100.0, 250.0, Better.HIGHER), True, 2.5),
        (Goal("changes a second", 100.0, 50.0, Better.HIGHER), False, 0.5),
        (Goal("refused", 0, 0), True, 1.0),
        (Goal("refused", 0, 2), False, 0.0),
    ],
)
def test_a_goal_says_how_much_of_it_is_reached(goal: Goal, met: bool, ratio: float) -> None:
    """One or more when it is met, whichever way the number is good."""
    assert (goal.met, goal.ratio) == (met, ratio)
