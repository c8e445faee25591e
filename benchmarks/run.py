"""Going through the cases: each on one target after the other; one that fails does not stop the rest."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from benchmarks.processes import BenchmarkFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.bench import Bench
    from benchmarks.targets import Target
    from benchmarks.work import Case, Result

#: Whose goals these are.
OURS: Final = "runcast"
#: Who is asked for every rate, also when a lower one was too much: others are held against what they do then.
ALWAYS: Final = (OURS, "ceiling")


@dataclass(slots=True)
class Table:
    """What one case gave: by target, in their order."""

    title: str
    results: dict[str, Result] = field(default_factory=dict)
    #: What is said under the numbers.
    notes: list[str] = field(default_factory=list)


class Run:
    """Measures, and keeps what comes of it."""

    def __init__(self, bench: Bench, targets: Sequence[Target]) -> None:
        self.tables: list[Table] = []
        #: Each result as it is kept in JSON.
        self.records: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self._bench = bench
        self._targets = targets
        #: Who could not sustain which rate of which work, on which transport: higher ones are not tried.
        self._too_much: dict[tuple[str, str, str], float] = {}

    def go(self, cases: Iterable[Case]) -> None:
        for case in cases:
            fitting = [target for target in self._targets if case.fits(target)]
            if not fitting:
                continue
            table = Table(case.title)
            self.tables.append(table)
            for target in fitting:
                self._measure(case, target, table)

    def _measure(self, case: Case, target: Target, table: Table) -> None:
        key = target.name, case.work, str(case.transport)
        if (
            target.name not in ALWAYS
            and case.rate is not None
            and case.rate > (limit := self._too_much.get(key, case.rate))
        ):
            table.notes.append(f"{target.name}: not tried, {limit:,.0f} changes per second were too much")
            return
        print(f"{case.title}: {target.name} …", file=sys.stderr, flush=True)
        try:
            result = case.measure(self._bench, target)
        except BenchmarkFailed as error:
            self._bench.complaints.clear()
            self.problems.append(f"{case.title}: {target.name}: {error}")
            return
        if case.rate is not None and not getattr(result, "sustained", True):
            self._too_much[key] = case.rate
        problems = [*result.problems(), *self._bench.complaints]
        self._bench.complaints.clear()
        self.problems += [f"{case.title}: {target.name}: {problem}" for problem in problems]
        table.results[target.name] = result
        table.notes += [f"{target.name}: {doubt}" for doubt in result.doubts()]
        self.records.append(_record(case, target, result, problems))


def _record(case: Case, target: Target, result: Result, problems: Sequence[str]) -> dict[str, Any]:
    goals = [{**dataclasses.asdict(goal), "met": goal.met} for goal in (result.goals() if target.name == OURS else ())]
    fields: dict[str, Any] = dataclasses.asdict(result)  # type: ignore[call-overload]
    derived = {name: getattr(result, name) for name in ("arrived", "sustained") if hasattr(result, name)}
    return {
        "work": case.work,
        "target": target.name,
        "title": case.title,
        "transport": case.transport,
        "rate": case.rate,
        **fields,
        **derived,
        "goals": goals,
        "numbers": [dataclasses.asdict(number) for number in result.numbers()],
        "notes": list(result.doubts()),
        "problems": list(problems),
    }
