"""What we want to reach, beside what there is. A goal that is missed is no problem: the report says by how much."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.work import Better


@dataclass(frozen=True, slots=True)
class Goal:
    """One number of a result, and the least (`Better.HIGHER`) or the most (`Better.LOWER`) that it should be."""

    what: str
    wanted: float
    reached: float
    better: Better = Better.LOWER

    @property
    def met(self) -> bool:
        return self.reached <= self.wanted if self.better is Better.LOWER else self.reached >= self.wanted

    @property
    def ratio(self) -> float:
        """How much of it is reached: 1 or more when it is met."""
        part, whole = (self.wanted, self.reached) if self.better is Better.LOWER else (self.reached, self.wanted)
        return part / whole if whole else float(self.met)
