"""The plots of the page, as SVG. The same run gives the same files: no dates, no random ids, text as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl

from benchmarks.page.outcomes import CEILINGS, RUNCAST
from benchmarks.page.verdicts import delivered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.page.outcomes import Case, Run

mpl.use("svg")
from matplotlib import pyplot, ticker  # it looks for a screen unless it was told before

STYLE: Final[dict[Any, Any]] = {
    "svg.hashsalt": "runcast",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
OURS: Final = "#c2185b"
CEILING: Final = "#888888"
#: Colours that people who see few of them can tell apart (Okabe and Ito), for peers in their order.
THEIRS: Final = ("#0072b2", "#e69f00", "#009e73", "#56b4e9", "#d55e00", "#999933", "#332288")


@dataclass(frozen=True, slots=True)
class Bars:
    """What bars show: a field of outcomes, and in which unit."""

    field: str
    what: str
    #: How the number is written at the end of a bar.
    label: str
    scale: float = 1.0


HIGHEST: Final = Bars("highest_per_second", "deliveries per second, at most", "{:,.0f}")
MEMORY: Final = Bars("bytes_per_viewer", "KiB for each idle viewer", "{:.1f}", scale=1 / 1024)


def draw(run: Run, directory: Path) -> None:
    """Write the plots."""
    directory.mkdir(exist_ok=True)
    dense, idle = run.of_work("dense"), run.of_work("idle")
    rated = [case for case in dense if case.rate is not None]
    with pyplot.rc_context(STYLE):
        _bars(run, [case for case in dense if case.rate is None], HIGHEST, directory / "highest.svg")
        _by_rate(run, rated, "deliveries per second", delivered, directory / "deliveries.svg")
        _by_rate(run, rated, "p99, ms", lambda case, target: case.number(target, "p99_ms"), directory / "latency.svg")
        _bars(run, idle, MEMORY, directory / "memory.svg")


def _by_rate(
    run: Run, cases: Sequence[Case], what: str, value: Callable[[Case, str], float | None], file: Path
) -> None:
    """A line for each target, a panel for each transport, both axes logarithmic."""
    figure, panels = _panels(cases, height=4.0)
    for panel, transport in panels:
        of_transport = [case for case in cases if case.transport == transport]
        for target in _targets(run, of_transport):
            points = [(case.rate, value(case, target)) for case in of_transport]
            known = [(rate, number) for rate, number in points if number]
            if known:
                panel.loglog(*zip(*known, strict=True), marker=".", label=run.title(target), **_look(run, target))
        panel.set(title=transport, xlabel="changes per second")
        panel.set_xticks([case.rate for case in of_transport], minor=False)
        panel.xaxis.set_minor_locator(ticker.NullLocator())
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
    for panel, _ in panels[:1]:
        panel.set_ylabel(what)
        # Those who speak one transport only speak the first one, so its panel has them all.
        figure.legend(
            *panel.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8, frameon=False
        )
    _save(figure, file)


def _bars(run: Run, cases: Sequence[Case], of: Bars, file: Path) -> None:
    """A bar for each target, a panel for each transport."""
    figure, panels = _panels(cases, height=3.0, sharey=False)
    for (panel, transport), case in zip(panels, cases, strict=True):
        targets = _targets(run, [case])[::-1]
        values = [(case.number(target, of.field) or 0.0) * of.scale for target in targets]
        colours = [_look(run, target)["color"] for target in targets]
        bars = panel.barh([run.title(target) for target in targets], values, color=colours)
        panel.bar_label(bars, fmt=of.label, padding=3, fontsize=8)
        panel.set_xticks([])  # each bar has its number
        panel.margins(x=0.15)
        panel.set(title=transport, xlabel=of.what)
    _save(figure, file)


def _panels(cases: Sequence[Case], *, height: float, sharey: bool = True) -> tuple[Any, list[tuple[Any, str | None]]]:
    """A figure, and a panel in it for each transport that there is."""
    transports = list(dict.fromkeys(case.transport for case in cases))
    figure, panels = pyplot.subplots(
        1, max(1, len(transports)), figsize=(9.0, height), sharey=sharey, squeeze=False, layout="constrained"
    )
    return figure, list(zip(panels[0], transports, strict=False))


def _targets(run: Run, cases: Sequence[Case]) -> list[str]:
    """Those who took part, in the order of the tables."""
    return [target for target in run.targets if any(case.of(target) for case in cases)]


def _look(run: Run, target: str) -> dict[str, Any]:
    if target == RUNCAST:
        return {"color": OURS, "linewidth": 2.5, "zorder": 3}
    if target in CEILINGS:
        return {"color": CEILING, "linestyle": "--" if target == CEILINGS[0] else ":"}
    peers = [name for name in run.targets if name not in (RUNCAST, *CEILINGS)]
    return {"color": THEIRS[peers.index(target) % len(THEIRS)]}


def _save(figure: Any, file: Path) -> None:
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
