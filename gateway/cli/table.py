"""A list of runs for a person at a terminal: columns under a header, as wide as what is in them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from gateway.cli.live import status_style
from gateway.cli.rows import COLUMNS, cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.viewer.viewed import ViewedRun

_GAP: Final = "  "
#: A task's name or what a job says of its progress may be long; this much of it is shown.
_WIDEST: Final = 40
_STATUS: Final = COLUMNS.index("status")


class Table:
    """Columns keep their places: later rows stand under those of the first, which decided how wide they are."""

    def __init__(self, *, no_color: bool) -> None:
        # NO_COLOR and FORCE_COLOR are known to the console.
        self._console = Console(no_color=True if no_color else None, highlight=False, soft_wrap=True)
        self._ascii = not self._console.encoding.lower().startswith("utf")
        self._widths: list[int] = []

    def show_all(self, runs: Sequence[ViewedRun]) -> None:
        now = datetime.now(UTC)
        rows = [self._cells(run, now) for run in runs]
        self._widths = [min(_WIDEST, max(map(cell_len, column))) for column in zip(COLUMNS, *rows, strict=True)]
        # Ids are copied from here, and a status may become a longer one.
        self._widths[0] = max(map(cell_len, [COLUMNS[0], *(row[0] for row in rows)]))
        self._widths[_STATUS] = max(self._widths[_STATUS], len("EXECUTING"))
        self._print([name.upper() for name in COLUMNS], ["dim"] * len(COLUMNS))
        for run, row in zip(runs, rows, strict=True):
            self._print(row, _styles(run))

    def show(self, run: ViewedRun) -> None:
        self._print(self._cells(run, datetime.now(UTC)), _styles(run))

    def _cells(self, run: ViewedRun, now: datetime) -> list[str]:
        shown = cells(run, now)
        return [text.encode("ascii", "replace").decode() for text in shown] if self._ascii else shown

    def _print(self, row: Sequence[str], styles: Sequence[str]) -> None:
        line = Text()
        for number, (text, width, style) in enumerate(zip(row, self._widths, styles, strict=True)):
            # The id is never cut, and the last column may be as long as it likes.
            fits = cell_len(text) > width and number in (0, len(row) - 1)
            line.append(text if fits else set_cell_size(text, width), style)
            line.append(_GAP)
        line.rstrip()
        self._console.print(line, crop=False, no_wrap=True)


def _styles(run: ViewedRun) -> list[str]:
    styles = [""] * len(COLUMNS)
    styles[0], styles[_STATUS] = "bold", status_style(run.status)
    return styles
