"""Results as people read them in a terminal: one table for each case, one column for each target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks.work import Better

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.run import Table

OURS: Final = "runcast"
PLAIN: Final = "plain"
_FIRST, _OTHERS = 46, 13


def render(
    tables: Iterable[Table],
    facts: Mapping[str, str],
    goals: Sequence[Mapping[str, Any]],
    problems: Sequence[str],
) -> str:
    """Everything as text."""
    lines = [f"{name:>9}: {text}" for name, text in facts.items()]
    for table in tables:
        lines += ["", *_table(table)]
    if goals:
        lines += ["", "Goals", *map(_goal, goals)]
    lines += [f"PROBLEM: {problem}" for problem in problems]
    return "\n".join(lines)


def _table(table: Table) -> list[str]:
    results = {name: result.numbers() for name, result in table.results.items()}
    both = OURS in results and PLAIN in results
    lines = [table.title, _row("", [*results, *(["ratio"] if both else [])])]
    for place, first in enumerate(next(iter(results.values()), ())):
        values = {name: numbers[place].value for name, numbers in results.items()}
        ratio = [_ratio(values[PLAIN], values[OURS], first.better)] if both else []
        lines.append(_row(first.what, [*map(_number, values.values()), *ratio]))
    return [*lines, *(f"  ! {note}" for note in table.notes)]


def _row(first: str, others: Iterable[str]) -> str:
    return "".join([f"  {first:<{_FIRST}}", *(f"{cell:>{_OTHERS}}" for cell in others)])


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def _ratio(theirs: float | None, ours: float | None, better: Better) -> str:
    """How many times better ours is."""
    if better is Better.NEITHER or not theirs or not ours or min(theirs, ours) < 0:
        return ""
    return f"{ours / theirs if better is Better.HIGHER else theirs / ours:.2f}x"


def _goal(goal: Mapping[str, Any]) -> str:
    verdict = "met" if goal["met"] else "MISSED"
    return _row(goal["what"][:_FIRST], [_number(goal["reached"]), f"of {_number(goal['wanted'])}", verdict])
