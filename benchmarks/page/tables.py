"""Results as tables in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.page.outcomes import RUNCAST
from benchmarks.page.verdicts import delivered, goals, share_of_ceiling
from benchmarks.work import Better

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from benchmarks.page.outcomes import Case, Outcome, Run


#: Works that are told by deliveries a second and their latency.
DELIVERING: Final = ("dense", "sparse", "mixed", "quiet")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The first column is words, the others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def machine(run: Run) -> list[str]:
    """What a reader must know to compare these numbers with others."""
    facts = [(name, str(run.facts[name])) for name in ("date", "machine", "load", "placing", "command", "versions")]
    return ["| | |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in facts)]


def targets(run: Run) -> list[str]:
    """What was measured, and in which versions."""
    rows = [(run.title(target), run.facts["targets"][target]) for target in run.targets]
    if "missing" in run.facts:
        rows.append(("not installed, so not measured", run.facts["missing"]))
    return ["| | versions |", "| --- | --- |", *(f"| {title} | {versions} |" for title, versions in rows)]


def verdicts(run: Run) -> list[str]:
    """Each goal, and by how much it is met or missed; then what a run noticed itself where one is missed."""
    rows, missed = [], {}
    for goal, ours in goals(run):
        bound = "at least" if goal.better is Better.HIGHER else "at most"
        verdict = f"met, {goal.ratio:.2f}" if goal.met else f"**missed, {goal.ratio:.2f}**"
        what = f"{goal.what}, {ours.transport}" if ours.transport else goal.what
        rows.append((what, f"{bound} {number(goal.wanted)}", number(goal.reached), verdict))
        if not goal.met and ours.notes:
            missed[ours.title] = ours.notes
    found = table(("", "goal", "reached", "by how much"), rows)
    if missed:
        noticed = [f"- {title}: {'; '.join(notes)}" for title, notes in missed.items()]
        found += ["", "Where one is missed, this was noticed while it was measured:", "", *noticed]
    return found


def case(run: Run, case: Case) -> list[str]:
    """One case: where everybody takes part a line for each target, elsewhere a column for each."""
    lines = _deliveries(run, case) if case.work in DELIVERING else _columns(run, case)
    return ["", f"#### {case.title}", "", *lines, *_notes(run, case)]


def _deliveries(run: Run, case: Case) -> list[str]:
    head = ("", "deliveries/s", "of the ceiling", "Runcast is", "p50, ms", "p99, ms", "arrived")
    return table((*head, "server CPU", "generator CPU"), [_delivery_row(run, case, each) for each in case.outcomes])


def _delivery_row(run: Run, case: Case, outcome: Outcome) -> tuple[str, ...]:
    ours, theirs = delivered(case, RUNCAST), delivered(case, outcome.target)
    is_ours = outcome.target == RUNCAST
    times = "" if is_ours or not ours or not theirs else f"{ours / theirs:.2f} times"
    title = run.title(outcome.target)
    return (
        f"**{title}**" if is_ours else title,
        number(theirs),
        number(share_of_ceiling(case, outcome.target)),
        times,
        number(outcome.number("p50_ms")),
        number(outcome.number("p99_ms")),
        percent(outcome.number("arrived")),
        percent(outcome.number("server_cpu")),
        percent(outcome.number("generator_cpu")),
    )


def _columns(run: Run, case: Case) -> list[str]:
    """The lines of the first outcome, which those of all others are."""
    head = ("", *(run.title(outcome.target) for outcome in case.outcomes))
    lines = zip(*(outcome.numbers for outcome in case.outcomes), strict=True)
    return table(head, [(line[0].what, *(number(each.value) for each in line)) for line in lines])


def _notes(run: Run, case: Case) -> Iterator[str]:
    """What else may have made a number, under the table."""
    notes = [f"- {run.title(outcome.target)}: {note}" for outcome in case.outcomes for note in outcome.notes]
    if left_out := run.left_out(case):
        titles = ", ".join(map(run.title, left_out))
        notes.append(f"- not tried, since a lower rate was too much: {titles}")
    if notes:
        yield from ("", *notes)


def number(value: float | None) -> str:
    """Three digits, which is more than is true; nothing for what there is not."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"
