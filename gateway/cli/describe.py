"""A run in words: what the plain lines and the live display have in common. What users wrote is made harmless here."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gateway.viewer.streams import StreamChunk
    from gateway.viewer.viewed import ViewedRun

_PROGRESS: Final = "progress"
_VALUE_CHARACTERS: Final = 60


def clean(text: object) -> str:
    """
    Text for a terminal, on one line.

    What jobs say may come from strangers: escape sequences would move the cursor or rename the window, and signs that
    turn the direction of writing would make lines read as what they are not.
    """
    return "".join(sign if sign.isprintable() else "?" for sign in str(text))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, as far as it says so in a form that we know."""

    current: float | None = None
    total: float | None = None
    percent: float | None = None
    text: str = ""

    @classmethod
    def of(cls, run: ViewedRun) -> Progress:
        """From the metadata key `progress`, in which users may have put anything."""
        said = run.metadata.get(_PROGRESS)
        if not isinstance(said, dict):
            return cls(percent=_number(said))
        current, total, percent = (_number(said.get(name)) for name in ("current", "total", "percent"))
        if percent is None and current is not None and total:
            percent = 100 * current / total
        text = said.get("text")
        return cls(current, total, None if percent is None else min(max(percent, 0), 100), _words(text))

    def __str__(self) -> str:
        counted = "" if self.current is None else f"{self.current:g}"
        if counted and self.total is not None:
            counted += f"/{self.total:g}"
        percent = "" if self.percent is None else f"{self.percent:.0f}%"
        return " ".join(part for part in (counted, percent, self.text) if part)


def _number(value: object) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None  # type: ignore[arg-type]


def _words(value: object) -> str:
    return clean(value) if isinstance(value, str) else ""


def changes(before: ViewedRun | None, run: ViewedRun) -> str:
    """What is new about a run besides its status, in a few words."""
    progress = Progress.of(run)
    parts = [str(progress)] if before is None or progress != Progress.of(before) else []
    parts += [
        f"{clean(key)}={_short(value)}"
        for key, value in run.metadata.items()
        if key != _PROGRESS and (before is None or before.metadata.get(key) != value)
    ]
    parts += [f"-{clean(key)}" for key in (before.metadata if before else ()) if key not in run.metadata]
    if before is not None and before.fields.get("tags") != run.fields.get("tags"):
        parts.append(f"tags={_short(run.fields.get('tags'))}")
    if before is None or before.fields.get("error") != run.fields.get("error"):
        parts.append(error(run))
    return " ".join(part for part in parts if part)


def error(run: ViewedRun) -> str:
    """The first line of what went wrong, if something did."""
    said = run.fields.get("error")
    if not isinstance(said, dict):
        return ""
    message = str(said.get("message") or "").strip().partition("\n")[0]
    return ": ".join(clean(part) for part in (said.get("name"), message) if part)


def _short(value: Any) -> str:
    text = clean(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _VALUE_CHARACTERS else text[: _VALUE_CHARACTERS - 3] + "..."


def seconds_taken(run: ViewedRun, now: datetime) -> float | None:
    """How long it has been at work, or was; None when it has not begun."""
    began = _moment(run.fields.get("startedAt"))
    if began is None:
        return None
    ended = _moment(run.fields.get("finishedAt")) if run.is_final else now
    # Our clock need not be the one that wrote `startedAt`.
    return None if ended is None else max(0.0, (ended - began).total_seconds())


def duration(seconds: float) -> str:
    """As people write it: 0.3s, 12s, 3m 04s, 2h 05m."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def clock(text: str | None, now: datetime) -> str:
    """A moment, or else *now*, as the clock on this wall shows it."""
    moment = _moment(text) or now
    return f"{moment.astimezone():%H:%M:%S}"


def _moment(text: object) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LogLine:
    """A chunk as a line: what it says, how bad that is, and when it was, as far as it tells."""

    text: str
    level: str = ""
    at: str = ""

    @classmethod
    def of(cls, value: Any) -> LogLine:
        """From whatever a job wrote: a line of its log, a text, or any other JSON."""
        if isinstance(value, str):
            return cls(value.rstrip("\r\n"))
        if not isinstance(value, dict) or not isinstance(value.get("message"), str):
            return cls(json.dumps(value, ensure_ascii=False))
        rest = {name: part for name, part in value.items() if name not in ("time", "level", "message")}
        fields = [f"{name}={part if isinstance(part, str) else json.dumps(part)}" for name, part in rest.items()]
        text = " ".join([value["message"].rstrip("\r\n"), *fields])
        level, at = value.get("level"), value.get("time")
        return cls(text, level.upper() if isinstance(level, str) else "", at if isinstance(at, str) else "")

    def __str__(self) -> str:
        # A message may have several lines; each is made harmless on its own.
        text = "\n".join(clean(line) for line in self.text.split("\n"))
        return f"{clean(self.level):<8} {text}" if self.level else text


def chunk_line(feed: str, chunk: StreamChunk) -> str:
    """A chunk beside the runs: which stream of which run it is of, and what it says."""
    run, _, key = feed.partition(":")[2].rpartition(",")
    return f"{clean(run)} {clean(key)}| {LogLine.of(chunk.value)}"
