"""What `runcast watch` shows to a person: a list of runs that redraws itself, and below it how fresh that is."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gateway.cli import describe
from gateway.cli.output import Shown
from gateway.viewer.following import State, StateChanged
from gateway.viewer.mirror import CaughtUp, Freshness, RunChanged, RunsGone
from gateway.viewer.streams import ChunkCame

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from gateway.viewer.following import Event
    from gateway.viewer.viewed import ViewedRun

#: Nobody sees more, and every frame is work for the terminal, and for the network it may be behind.
REDRAW_SECONDS: Final = 0.1
#: Durations go on when nothing else does.
_IDLE_REDRAW_SECONDS: Final = 1.0
_BAR_CELLS: Final = 20
#: Wider than any terminal: what a table measures where nothing has to give way.
_ANY_WIDTH: Final = 10_000

#: By status: the sign, its stand-in where there is only ASCII, and its colour.
_SIGNS: Final = MappingProxyType(
    {
        "DELAYED": ("◷", ".", "dim"),
        "PENDING_VERSION": ("○", ".", "dim"),
        "QUEUED": ("○", ".", "dim"),
        "DEQUEUED": ("◔", ">", "cyan"),
        "EXECUTING": ("▶", ">", "cyan"),
        "WAITING": ("◌", "~", "yellow"),
        "COMPLETED": ("✓", "+", "green"),
        "CANCELED": ("⊘", "-", "yellow"),
        "FAILED": ("✗", "x", "red"),
        "SYSTEM_FAILURE": ("✗", "x", "red"),
        "CRASHED": ("✗", "x", "red"),
        "EXPIRED": ("✗", "x", "red"),
        "TIMED_OUT": ("✗", "x", "red"),
    }
)
_STATES: Final = MappingProxyType(
    {
        State.CONNECTING: ("○", ".", "dim"),
        State.LIVE: ("●", "*", "green"),
        State.STALE: ("◌", "~", "yellow"),
        State.RECONNECTING: ("○", ".", "yellow"),
        State.DENIED: ("✗", "x", "red"),
    }
)
_UNKNOWN: Final = ("·", "?", "")


def status_style(status: str | None) -> str:
    """The colour of a status, the same wherever one is shown."""
    return _SIGNS.get(status or "", _UNKNOWN)[2]


class LiveDisplay:
    """Draws at most ten times a second, and only when there is something to see. What was drawn last stays."""

    def __init__(self, console: Console, *, compact: bool = False) -> None:
        self._console = console
        #: Whether those that ended well are counted, instead of listed.
        self._compact = compact
        self._ascii = not console.encoding.lower().startswith("utf")
        self._shown = Shown()
        self._truncated = False
        self._state = StateChanged(state=State.CONNECTING)
        #: When the gateway last said anything.
        self._heard_at = datetime.now(UTC)
        self._as_of: str | None = None
        self._bar_cells = _BAR_CELLS
        self._changed = True
        self._drawn_at = 0.0
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._live.start()

    def show(self, event: Event) -> None:
        match event:
            case RunChanged():
                self._shown.news(event)
            case RunsGone():
                self._shown.forget(event)
            case CaughtUp(truncated=truncated):
                self._truncated = truncated
            case Freshness(as_of=as_of):
                self._as_of = as_of
            case ChunkCame(feed=feed, chunk=chunk):
                # Above the list, where it scrolls away. The list is drawn anew below it.
                self._console.print(Text(self._words(describe.chunk_line(feed, chunk))))
            case StateChanged():
                self._state = event
        if not isinstance(event, StateChanged):
            self._heard_at = datetime.now(UTC)
        self._changed = True

    def tick(self) -> None:
        now = time.monotonic()
        idle = now - self._drawn_at
        if idle >= REDRAW_SECONDS and (self._changed or idle >= _IDLE_REDRAW_SECONDS):
            self._draw()
            self._drawn_at = now

    def close(self) -> None:
        self._draw()
        self._live.stop()

    def _draw(self) -> None:
        self._changed = False
        self._live.update(self._picture(datetime.now(UTC)), refresh=True)

    def _picture(self, now: datetime) -> RenderableType:
        runs = self._in_order()
        known = len(runs)
        runs = [run for run in runs if not (self._compact and run.is_success)]
        done = known - len(runs)
        # The list must fit in the terminal, or its upper part could not be drawn again.
        room = max(1, self._console.height - 3)
        parts: list[RenderableType] = [self._table(runs[:room], now)] if runs else []
        if len(runs) > room or self._truncated or done:
            parts.append(self._rest(runs[room:], done))
        return Group(*parts, self._connection())

    def _in_order(self) -> list[ViewedRun]:
        """Those at work first, the oldest on top; then those that ended, the newest on top."""
        runs = list(self._shown.runs.values())
        at_work = sorted((run for run in runs if not run.is_final), key=lambda run: str(run.fields.get("createdAt")))
        ended = [run for run in runs if run.is_final]
        ended.sort(key=lambda run: str(run.fields.get("updatedAt")), reverse=True)
        return at_work + ended

    def _table(self, runs: list[ViewedRun], now: datetime) -> Table:
        table = self._rows(runs, now)
        options = self._console.options.update(max_width=_ANY_WIDTH)
        if self._bar_cells == _BAR_CELLS and self._console.measure(table, options=options).maximum > options.size.width:
            # The words say more than the bar. It stays short, so that it does not jump.
            self._bar_cells //= 2
            table = self._rows(runs, now)
        return table

    def _rows(self, runs: list[ViewedRun], now: datetime) -> Table:
        table = Table.grid(padding=(0, 2, 0, 0))
        for name in ("status", "run", "task", "progress", "duration"):
            # Rich takes what is missing in width from those columns that may be wrapped, the widest first.
            firm = name in ("status", "duration")
            table.add_column(name, no_wrap=firm, overflow="ellipsis" if not self._ascii else "crop")
        for run in runs:
            row = self._row(run, now)
            for cell in row:
                cell.no_wrap = True
            table.add_row(*row)
        return table

    def _row(self, run: ViewedRun, now: datetime) -> list[Text]:
        status = run.status or "?"
        sign, style = self._sign(_SIGNS.get(status, _UNKNOWN))
        taken = describe.seconds_taken(run, now)
        return [
            Text(f"{sign} {describe.clean(status)}", style),
            Text(self._words(run.id), "bold"),
            Text(self._words(run.fields.get("taskIdentifier", ""))),
            self._progress(run),
            Text("" if taken is None else describe.duration(taken), "dim"),
        ]

    def _progress(self, run: ViewedRun) -> Text:
        error = describe.error(run) if run.is_final else ""
        if error:
            return Text(self._words(error), "red")
        progress = describe.Progress.of(run)
        words = Text(self._words(progress))
        if progress.percent is None:
            return words
        full, empty = ("#", "-") if self._ascii else ("█", "░")
        cells = round(self._bar_cells * progress.percent / 100)
        return Text(full * cells + empty * (self._bar_cells - cells), "cyan") + Text(" ") + words

    def _rest(self, hidden: list[ViewedRun], done: int) -> Text:
        at_work = sum(not run.is_final for run in hidden)
        more = f"{len(hidden)} more, {at_work} of them at work" if hidden else ""
        older = "the gateway has older ones that are not listed" if self._truncated else ""
        well = f"{done} completed" if done else ""
        return Text("; ".join(part for part in (well, more, older) if part), "dim")

    def _connection(self) -> Text:
        state = self._state
        sign, style = self._sign(_STATES[state.state])
        parts = [f"{sign} {state.state}"]
        if state.state in (State.CONNECTING, State.RECONNECTING) and state.reason:
            parts.append(self._words(state.reason))
        if state.state is not State.CONNECTING:
            # While it is live, whatever comes says how things are now; otherwise the gateway knows better since when.
            told = None if state.state is State.LIVE else self._as_of
            parts.append(f"as of {describe.clock(told, self._heard_at)}")
        return Text(", ".join(parts), style)

    def _sign(self, signs: tuple[str, str, str]) -> tuple[str, str]:
        return signs[1] if self._ascii else signs[0], signs[2]

    def _words(self, said: object) -> str:
        text = describe.clean(said)
        return text.encode("ascii", "replace").decode() if self._ascii else text
