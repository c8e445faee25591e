"""How `runcast watch` writes what happens where no person looks on: plain lines, or JSON a line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Protocol

from gateway.cli import describe
from gateway.cli.exits import say
from gateway.viewer.conversation import Refused
from gateway.viewer.following import State, StateChanged
from gateway.viewer.mirror import CaughtUp, Ended, RunChanged, RunsGone
from gateway.viewer.streams import ChunkCame, StreamEnded

if TYPE_CHECKING:
    from gateway.cursors import Cursor
    from gateway.viewer.following import Event
    from gateway.viewer.viewed import Transition, ViewedRun

#: Of the JSON lines. Fields may be added within a version.
VERSION: Final = 1


class Output(Protocol):
    """Where `runcast watch` shows what happens."""

    def show(self, event: Event) -> None:
        """Something happened."""

    def tick(self) -> None:
        """A tenth of a second went by."""

    def close(self) -> None:
        """Nothing more comes. The last that was shown stays."""


class Shown:
    """What was shown of each run, so that one which is in several of the feeds is shown once."""

    def __init__(self) -> None:
        self.runs: dict[str, ViewedRun] = {}
        self._at: dict[str, Cursor] = {}
        self._transitions: dict[str, set[Transition]] = {}

    def news(self, change: RunChanged) -> tuple[ViewedRun | None, list[Transition]] | None:
        """The run as it was shown last, and the statuses that were not; None when nothing of it is news."""
        run, before = change.run, self.runs.get(change.run.id)
        known = self._transitions.setdefault(run.id, set())
        new = [entry for entry in run.transitions if entry not in known]
        if before is not None and not new and (before.fields == run.fields or self._is_late(change)):
            return None
        self.runs[run.id], self._at[run.id] = run, change.at
        known.update(new)
        return before, new

    def _is_late(self, change: RunChanged) -> bool:
        """Feeds are told one after the other, so another one may have told more of the run already."""
        shown = self._at[change.run.id]
        return shown.epoch == change.at.epoch and shown.sequence > change.at.sequence

    def forget(self, gone: RunsGone) -> None:
        for run in gone.runs:
            self.runs.pop(run, None)
            self._at.pop(run, None)
            self._transitions.pop(run, None)


def state_words(event: StateChanged, *, was_troubled: bool) -> str:
    """What a person should know of the connection: what is wrong with it, or that it is right again; often nothing."""
    match event.state:
        case State.CONNECTING | State.RECONNECTING if event.reason:
            return f"{event.state}: {describe.clean(event.reason)}"
        case State.STALE:
            return f"stale: the gateway has lost sight of the data; as of {event.as_of or 'an unknown time'}"
        case State.LIVE if was_troubled:
            return "live again"
    return ""


class PlainLines:
    """One line a change on stdout: time, run, status, and what is new. The state of the connection on stderr."""

    def __init__(self) -> None:
        self._shown = Shown()
        self._said = ""

    def show(self, event: Event) -> None:
        match event:
            case RunChanged():
                self._show_run(event)
            case RunsGone():
                self._shown.forget(event)
            case CaughtUp(feed=feed, truncated=True):
                say(f"{describe.clean(feed)} has more runs than are shown: those that changed last are")
            case ChunkCame(feed=feed, chunk=chunk):
                print(describe.chunk_line(feed, chunk), flush=True)
            case StateChanged():
                self._show_state(event)

    def _show_run(self, change: RunChanged) -> None:
        news = self._shown.news(change)
        if news is None:
            return
        before, new = news
        run = change.run
        lines = [(entry.at, entry.status) for entry in new] or [(run.fields.get("updatedAt", "-"), run.status or "-")]
        *passed, last = lines
        for at, status in passed:
            _print(at, run.id, status)
        _print(*(last[0], run.id, last[1]), describe.changes(before, run))

    def _show_state(self, event: StateChanged) -> None:
        words = state_words(event, was_troubled=bool(self._said))
        if words and words != self._said:  # not for each attempt that fails
            say(words)
        self._said = words

    def tick(self) -> None:
        pass

    def close(self) -> None:
        pass


def _print(*parts: str) -> None:
    print(" ".join(describe.clean(part) for part in parts if part), flush=True)


class JsonLines:
    """
    One JSON object a line, each with `v` and `type`: `run`, `gone`, `caught_up`, `ended`, `chunk`, `stream_ended`,
    `connection` or `refused`.

    Times are as the gateway told them. A `run` line holds the whole public object, and the transitions that are new.
    """

    def show(self, event: Event) -> None:
        line = _as_json(event)
        if line is not None:
            # ASCII on purpose: right in any locale.
            print(json.dumps({"v": VERSION, **line}), flush=True)

    def tick(self) -> None:
        pass

    def close(self) -> None:
        pass


def _as_json(event: Event) -> dict[str, Any] | None:
    match event:
        case RunChanged(feed=feed, run=run, new=new):
            told = [entry.public() for entry in new]
            return {"type": "run", "feed": feed, "run": dict(run.fields), "new_transitions": told}
        case RunsGone(feed=feed, runs=runs):
            return {"type": "gone", "feed": feed, "runs": runs}
        case CaughtUp(feed=feed, truncated=truncated):
            return {"type": "caught_up", "feed": feed, "truncated": truncated}
        case Ended(feed=feed, status=status):
            return {"type": "ended", "feed": feed, "status": status}
        case ChunkCame(feed=feed, chunk=chunk):
            return {"type": "chunk", "feed": feed, "index": chunk.index, "chunk": chunk.value, "cursor": chunk.cursor}
        case StreamEnded(feed=feed, status=status):
            return {"type": "stream_ended", "feed": feed, "status": status}
        case Refused(feed=feed, code=code, message=message):
            return {"type": "refused", "feed": feed, "code": code, "message": message}
        case StateChanged():
            return _state_as_json(event)
    return None  # heartbeats: what they change about the connection is told as such


def _state_as_json(event: StateChanged) -> dict[str, Any]:
    known = {
        "as_of": event.as_of,
        "reason": event.reason or None,
        "code": event.code or None,
        "retry_seconds": event.retry_seconds,
    }
    line = {"type": "connection", "state": event.state}
    return line | {name: value for name, value in known.items() if value is not None}
