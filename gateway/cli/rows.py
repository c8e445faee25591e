"""Runs as rows: a table for people, columns between tabs for scripts, or JSON a line."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from gateway.cli import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.viewer.viewed import ViewedRun

VERSION: Final = 1
COLUMNS: Final = ("run", "status", "task", "created", "duration", "progress", "tags")


class Rows(Protocol):
    """Where a list of runs goes."""

    def show_all(self, runs: Sequence[ViewedRun]) -> None:
        """Those that there are."""

    def show(self, run: ViewedRun) -> None:
        """One more, or one of them that changed."""


def rows_for(*, json_lines: bool, no_color: bool) -> Rows:
    """What suits whoever reads: a program, a pipe, or a person at a terminal."""
    if json_lines:
        return JsonRows()
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI"):
        from gateway.cli.table import Table  # rich is for people

        return Table(no_color=no_color)
    return TabRows()


def cells(run: ViewedRun, now: datetime) -> list[str]:
    """What the columns say of a run."""
    taken = describe.seconds_taken(run, now)
    detail = describe.error(run) if run.is_final and run.error is not None else str(describe.Progress.of(run))
    return [
        describe.clean(run.id),
        describe.clean(run.status or "-"),
        describe.clean(run.task or "-"),
        describe.clean(run.fields.get("createdAt", "-")),
        "-" if taken is None else describe.duration(taken),
        detail or "-",
        describe.clean(",".join(run.tags)) or "-",
    ]


class JsonRows:
    """One JSON object a line: `{"v": 1, "type": "run", "run": …}`."""

    def show_all(self, runs: Sequence[ViewedRun]) -> None:
        for run in runs:
            self.show(run)

    def show(self, run: ViewedRun) -> None:
        print(json.dumps({"v": VERSION, "type": "run", "run": dict(run.fields)}), flush=True)


class TabRows:
    """Columns between tabs, without a header: for `cut` and `awk`."""

    def show_all(self, runs: Sequence[ViewedRun]) -> None:
        for run in runs:
            self.show(run)

    def show(self, run: ViewedRun) -> None:
        print("\t".join(cells(run, datetime.now(UTC))), flush=True)
