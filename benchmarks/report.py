"""Results as people read them: what was measured on both, side by side, and the ratio between the two."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

from benchmarks.polling import Polled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from benchmarks.measure import Deliveries, Memory, Restart
    from benchmarks.polling import Ticks
    from benchmarks.publishing import Published

#: When the core of the load generator is busier than this, it may be what limits a number.
BUSY: Final = 0.9
#: A publisher that comes this near to the rate it was asked for keeps it.
KEPT: Final = 0.95
#: What others may take of the server's core unmentioned.
NOISE: Final = 0.1
_WIDTHS: Final = (44, 14, 14, 10)


#: A number of theirs and one of ours; None where there is none.
Pair = tuple[float | None, float | None]
Measured = TypeVar("Measured")


class Better(StrEnum):
    """Which way a number is good. The ratio says how many times better ours is."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class Line:
    """One number of both."""

    what: str
    values: Pair
    better: Better = Better.NEITHER

    @property
    def ratio(self) -> float | None:
        theirs, ours = self.values
        if self.better is Better.NEITHER or not theirs or not ours or min(theirs, ours) < 0:
            return None
        return ours / theirs if self.better is Better.HIGHER else theirs / ours


@dataclass(slots=True)
class Section:
    """What one scenario gave."""

    title: str
    columns: tuple[str, str] = ("plain", "runcast")
    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def deliveries_section(title: str, theirs: Deliveries | None, ours: Deliveries | None) -> Section:
    def line(what: str, name: str, better: Better = Better.NEITHER, scale: float = 1.0) -> Line:
        return Line(what, _pair(theirs, ours, lambda result: getattr(result, name) * scale), better)

    answers: list[Line] = []
    if isinstance(theirs or ours, Polled):
        answers = [
            line("answers per second", "answers_per_second", Better.HIGHER),
            line("answers per second of server CPU", "answers_per_cpu_second", Better.HIGHER),
            line("bytes of an answer", "bytes_per_answer"),
        ]
    section = Section(title)
    section.lines = [
        line("deliveries per second", "per_second", Better.HIGHER),
        line("deliveries per second of server CPU", "per_cpu_second", Better.HIGHER),
        *answers,
        line("latency p50, ms", "p50_ms", Better.LOWER),
        line("latency p99, ms", "p99_ms", Better.LOWER),
        line("last value at every viewer after, ms", "settled_after_ms", Better.LOWER),
        line("delivered of what was offered, %", "arrived", scale=100),
        line("server busy, % of its core", "server_cpu", scale=100),
        line("load generator busy, % of its core", "generator_cpu", scale=100),
    ]
    for name, result in zip(section.columns, (theirs, ours), strict=True):
        if result is not None:
            section.notes += [f"{name}: {note}" for note in _doubts(result)]
    return section


def _doubts(result: Deliveries) -> list[str]:
    """What else than the gateway may have made the numbers."""
    doubts = []
    busy = max(result.generator_core or 0.0, result.generator_cpu)
    if busy > BUSY:
        doubts.append(f"the core of load generator, publisher and Redis was {busy:.0%} busy; the gateway may do better")
    if result.offered_rate < result.rate * KEPT:
        doubts.append(f"the publisher brought about only {result.offered_rate:,.0f} changes per second")
    others = (result.server_core or 0.0) - result.server_cpu
    if others > NOISE:
        doubts.append(f"others used {others:.0%} of the server's core")
    return doubts


def ticks_section(title: str, result: Ticks) -> Section:
    return Section(
        title,
        ("whole row", "tick"),
        [
            Line("bytes of an answer", (result.row_bytes, result.tick_bytes), Better.LOWER),
            Line("of these headers", (result.row_head_bytes, result.tick_head_bytes)),
            Line("bytes of the request for it", (None, result.request_bytes)),
        ],
    )


def memory_section(title: str, theirs: Memory | None, ours: Memory | None) -> Section:
    per_viewer = _pair(theirs, ours, lambda result: result.bytes_per_viewer / 1024)
    total = _pair(theirs, ours, lambda result: result.after_bytes / 1024**2)
    return Section(
        title,
        lines=[
            Line("memory per idle viewer, KiB", per_viewer, Better.LOWER),
            Line("memory of the server with all of them, MiB", total, Better.LOWER),
        ],
    )


def restart_section(title: str, theirs: Restart | None, ours: Restart | None) -> Section:
    told = _pair(theirs, ours, lambda result: result.told_seconds)
    start = _pair(theirs, ours, lambda result: result.start_seconds)
    return Section(
        title,
        lines=[
            Line("all viewers hold the present state after, s", told, Better.LOWER),
            Line("before that: the process starts, s", start, Better.LOWER),
        ],
    )


def publishing_section(title: str, result: Published) -> Section:
    return Section(
        title,
        ("redis.publish", "Publisher"),
        [
            Line("status changes per second", (result.bare, result.statuses), Better.HIGHER),
            Line("progress calls per second", (result.bare, result.progress_calls), Better.HIGHER),
            Line("of these sent per second", (None, result.progress_sent)),
            Line("pipelined, nothing kept (the ceiling)", (result.pipelined, None)),
            Line("Redis's own time for each, µs", (result.redis_per_publish_us, result.redis_per_change_us)),
        ],
    )


def _pair(theirs: Measured | None, ours: Measured | None, number: Callable[[Measured], float]) -> Pair:
    return (None if theirs is None else number(theirs), None if ours is None else number(ours))


def render(sections: Iterable[Section], description: Mapping[str, str], problems: Sequence[str]) -> str:
    """Everything as text."""
    lines = [f"{name:>9}: {text}" for name, text in description.items()]
    for section in sections:
        lines += ["", section.title, _row("", *section.columns, "ratio")]
        lines += [_row(line.what, *map(_number, line.values), _ratio(line.ratio)) for line in section.lines]
        lines += [f"  ! {note}" for note in section.notes]
    lines += ["", "The ratio says how many times better ours is: higher for rates, lower for times and memory."]
    lines += [f"PROBLEM: {problem}" for problem in problems]
    return "\n".join(lines)


def _row(*cells: str) -> str:
    first, *rest = (f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
    return "".join([f"  {first.strip():<{_WIDTHS[0]}}", *rest])


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}x"
