"""
The goals of the issue, beside what was reached.

Some are numbers that a work holds its own result against. The others are ratios to the ceiling or to a peer in the same
run; those are found here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.goals import Goal
from benchmarks.page.outcomes import CEILING, CEILINGS, RUNCAST
from benchmarks.work import Better

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.page.outcomes import Case, Outcome, Run

#: Of the ceiling's deliveries a second, at every rate.
SHARES: Final = {"dense": 0.7, "sparse": 0.6}
#: Of each of these, in how many deliveries a second it can sustain.
TIMES: Final = {"nchan": 1.5, "plain": 10.0}


def goals(run: Run) -> Iterator[tuple[Goal, Outcome]]:
    """All that there are numbers for, in the order of the works, with what became of ours."""
    for case in run.cases:
        ours = case.of(RUNCAST)
        if ours is not None:
            yield from ((goal, ours) for goal in _of_case(run, case, ours))


def _of_case(run: Run, case: Case, ours: Outcome) -> Iterator[Goal]:
    yield from ours.goals
    if case.work in SHARES:
        yield from _share_of_ceiling(case)
    if case.work == "dense" and case.rate is None:
        yield from _above_peers(run, case)


def _share_of_ceiling(case: Case) -> Iterator[Goal]:
    share = share_of_ceiling(case, RUNCAST)
    if share is not None:
        at = "the highest rate of each" if case.rate is None else f"{case.rate:,.0f} changes per second"
        what = f"{case.work}: share of the ceiling, {at}"
        yield Goal(what, SHARES[case.work], share, Better.HIGHER)


def _above_peers(run: Run, case: Case) -> Iterator[Goal]:
    ours = delivered(case, RUNCAST) or 0.0
    for target in (outcome.target for outcome in case.outcomes):
        theirs = delivered(case, target)
        if target not in (RUNCAST, *CEILINGS) and theirs:
            what = f"{case.work}: times {run.title(target)}, the highest rate of each"
            yield Goal(what, TIMES.get(target, 1.0), ours / theirs, Better.HIGHER)


def delivered(case: Case, target: str) -> float | None:
    """Deliveries a second of a target, or the most that it sustained."""
    highest = case.number(target, "highest_per_second")
    return case.number(target, "per_second") if highest is None else highest


def share_of_ceiling(case: Case, target: str) -> float | None:
    part, whole = delivered(case, target), delivered(case, CEILING)
    return part / whole if part is not None and whole else None
