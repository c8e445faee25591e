"""The page of the benchmarks says what was measured, and nothing else."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.page import plots, tables, verdicts
from benchmarks.page.outcomes import Case, Outcome, Run
from benchmarks.page.writing import BEGIN, END, PAGE, PLOTS, filled

if TYPE_CHECKING:
    from pathlib import Path

RESULTS = PAGE.with_suffix("") / "results.json"
#: A plot is lines and words. If it is larger than this, something was drawn that nobody sees.
SMALL_BYTES = 100_000


def result(target: str, **fields: Any) -> dict[str, Any]:
    """As a run keeps it."""
    made = {"work": "dense", "title": "many viewers", "target": target, "transport": "WebSocket", "rate": 100}
    return {**made, "numbers": [], "goals": [], "notes": [], "problems": [], **fields}


def run(*results: dict[str, Any]) -> Run:
    cases: dict[str, list[Outcome]] = {}
    for each in results:
        cases.setdefault(each["title"], []).append(Outcome.of(each))
    facts: dict[str, Any] = dict.fromkeys(("date", "machine", "load", "placing", "command", "versions"), "known")
    facts["targets"] = {each["target"]: "1.0" for each in results}
    return Run(facts, tuple(Case(made[0].work, title, tuple(made)) for title, made in cases.items()), ())


def test_the_page_is_what_is_made_of_the_results() -> None:
    """Nobody edits a number, and nobody forgets to write the page anew."""
    page = PAGE.read_text(encoding="utf-8")

    assert filled(page, Run.read(RESULTS)) == page


def test_only_what_is_between_the_marks_is_made() -> None:
    """Words that people wrote stay, before and after, however often it is made."""
    page = f"before\n\n{BEGIN}\nold\n{END}\nafter\n"

    once = filled(page, run(result("runcast", per_second=10.0)))

    assert once.startswith("before\n")
    assert once.endswith(f"{END}\nafter\n")
    assert "old" not in once
    assert filled(once, run(result("runcast", per_second=10.0))) == once


@pytest.mark.parametrize("name", PLOTS)
def test_plots_are_there(name: str) -> None:
    """Each is an image that says whose numbers it shows, and no more than that."""
    text = (RESULTS.parent / f"{name}.svg").read_text(encoding="utf-8")

    ElementTree.fromstring(text)
    assert "Runcast" in text
    assert len(text) < SMALL_BYTES


def test_plots_are_the_same_each_time(tmp_path: Path) -> None:
    """A run that is drawn again changes no file."""
    for again in ("once", "twice"):
        plots.draw(Run.read(RESULTS), tmp_path / again)

    for name in PLOTS:
        assert (tmp_path / "once" / f"{name}.svg").read_bytes() == (tmp_path / "twice" / f"{name}.svg").read_bytes()


def test_goals_say_by_how_much_they_are_met_or_missed() -> None:
    """Those that a work holds itself against, and those that are ratios to others in the same run."""
    kept = {"what": "quiet: p50, ms", "wanted": 2.0, "reached": 4.0, "better": "lower"}
    measured = run(
        result("ceiling", per_second=1000.0),
        result("nchan", per_second=500.0),
        result("runcast", per_second=800.0, goals=[kept]),
    )

    lines = tables.verdicts(measured)

    assert "| quiet: p50, ms, WebSocket | at most 2.00 | 4.00 | **missed, 0.50** |" in lines
    assert any("share of the ceiling" in line and "at least 0.70 | 0.80 | met, 1.14 |" in line for line in lines)


def test_what_was_noticed_stands_beside_a_goal_that_is_missed() -> None:
    """And nothing beside those that are met."""
    missed = {"what": "p50, ms", "wanted": 2.0, "reached": 4.0, "better": "lower"}
    results = (
        result("runcast", title="slow", goals=[missed], notes=["the other core was full"]),
        result("runcast", title="fast", goals=[{**missed, "reached": 1.0}], notes=["others used the core"]),
    )

    lines = tables.verdicts(run(*results))

    assert lines[-1] == "- slow: the other core was full"
    assert not any("fast" in line for line in lines)


def test_peers_are_compared_where_each_does_what_it_can() -> None:
    """At a rate that everybody keeps nobody can be above anybody."""
    fixed = [result(name, per_second=100.0) for name in ("nchan", "runcast")]
    search = {"title": "as many as can be told", "rate": None}
    highest = [
        result("nchan", highest_per_second=100.0, **search),
        result("runcast", highest_per_second=120.0, **search),
    ]

    goals = list(verdicts.goals(run(*fixed, *highest)))

    assert [(goal.wanted, goal.reached, goal.met) for goal, _ in goals] == [(1.5, 1.2, False)]


def test_who_was_left_out_is_named() -> None:
    """A server that is missing in a table did not fail silently: a lower rate was too much."""
    lower = [result("nchan", per_second=90.0), result("runcast", per_second=100.0)]
    higher = result("runcast", title="more changes", rate=1000, per_second=1000.0)
    measured = run(*lower, higher)

    assert "- not tried, since a lower rate was too much: Nchan" in tables.case(measured, measured.cases[1])


def test_doubts_and_problems_stand_under_the_table() -> None:
    """A number that something else may have made is not shown without it."""
    measured = run(
        result("runcast", per_second=1.0, notes=["the other core was full"], problems=["it failed\nTraceback"])
    )

    lines = tables.case(measured, measured.cases[0])

    assert "- Runcast: the other core was full" in lines
    assert "- Runcast: it failed" in lines


def test_works_without_deliveries_have_a_column_for_each_server() -> None:
    """What their numbers are is theirs to say."""
    numbers = [
        {"what": "bytes", "value": 1234.0, "better": "lower"},
        {"what": "none", "value": None, "better": "neither"},
    ]
    measured = run(result("ceiling", work="idle", numbers=numbers), result("runcast", work="idle", numbers=numbers))

    lines = tables.case(measured, measured.cases[0])

    assert "|  | ceiling | Runcast |" in lines
    assert "| bytes | 1,234 | 1,234 |" in lines
    assert "| none |  |  |" in lines
