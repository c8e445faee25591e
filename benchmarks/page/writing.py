"""The page: words that people wrote, and between two marks what was measured."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.page import tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.page.outcomes import Run

PAGE: Final = Path(__file__).parents[2] / "docs" / "benchmarks.md"
BEGIN: Final = "<!-- measured: made by python -m benchmarks.page, do not edit -->"
END: Final = "<!-- measured: end -->"
#: Plots, and what they show, for who can't see them.
PLOTS: Final = {
    "highest": "The most deliveries per second that each server sustains, WebSocket and SSE",
    "deliveries": "Deliveries per second by the rate of changes, all servers, WebSocket and SSE",
    "latency": "The 99th percentile of latency by the rate of changes, all servers, WebSocket and SSE",
    "memory": "Memory for each idle viewer, all servers, WebSocket and SSE",
}


def filled(page: str, run: Run) -> str:
    """*page* with what *run* measured between the marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join([before + BEGIN, "", *_measured(run), "", END + after])


def _measured(run: Run) -> Iterator[str]:
    yield from ("## Where and when", "", *tables.machine(run), "", *tables.targets(run), "")
    if "--short" in run.facts["command"]:
        yield from ("**The short form made these numbers. It shows that everything works, and they mean nothing.**", "")
    yield from ("## The goals", "", *tables.verdicts(run), "")
    yield "## At a glance"
    for name, about in PLOTS.items():
        yield from ("", f"![{about}](benchmarks/{name}.svg)")
    yield from ("", "## Everything")
    for work in run.works:
        yield from ("", f"### {work.capitalize()}", "", _about(work))
        for case in run.of_work(work):
            yield from tables.case(run, case)
    if run.problems:
        yield from ("", "## Problems", "", *(f"- {problem}" for problem in run.problems))


def _about(work: str) -> str:
    """What is done, in the words of its file."""
    return inspect.getdoc(importlib.import_module(f"benchmarks.works.{work}")) or ""
