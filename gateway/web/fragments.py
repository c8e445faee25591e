"""
A run as a piece of HTML, and what is said beside runs (docs/embedding.md, "Events as HTML"). On one line each, and
nothing that a user wrote is taken for HTML.
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Any, Final

from gateway.codec import public_status, rfc3339
from gateway.runs import FINAL
from gateway.web.states import percent_of, percent_text, state_of, words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: The columns that are shown, by their stored names; the rest of a run is for programs.
COLUMNS: Final = (
    *("taskIdentifier", "status", "attempt", "createdAt", "startedAt", "completedAt"),
    *("runTags", "error", "transitions"),
)
#: Of the metadata, this key.
PROGRESS: Final = "progress"
#: Longer texts are cut off: a run is shown in a few lines.
_LONGEST: Final = 300
#: Statuses of a run with more: the last ones.
_TRANSITIONS: Final = 20
#: What would end a line, in one way of reading or another, or can't be seen.
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_TIMES: Final = (("createdAt", "created"), ("startedAt", "started"), ("completedAt", "finished"))


def text_of(value: object, *, most: int | None = _LONGEST) -> str:
    """Some text, to stand in an element or between double quotes; cut off after *most* letters."""
    line = _CONTROLS.sub(" ", str(value)).encode(errors="replace").decode()
    return escape(line if most is None or len(line) <= most else f"{line[: most - 1]}…")


def run_fragment(run: str, values: Mapping[str, Any], progress: Any) -> bytes:
    """
    A run as an item of a list.

    Args:
        values: By column, decoded; those that are hidden are not among them.
        progress: Its metadata key of that name; None when there is none, or it is hidden.
    """
    status = public_status(values.get("status", ""))
    task = text_of(values.get("taskIdentifier", ""))
    parts = [
        f'<li class="runcast-run" id="run-{text_of(run)}" data-run="{text_of(run)}" data-status="{status}" '
        f'data-state="{state_of(status)}" data-attempt="{text_of(values.get("attempt", 1))}" '
        f'data-created="{rfc3339(values.get("createdAt") or 0)}">'
        f'<span class="runcast-task">{task}</span> <span class="runcast-status">{words_of(status)}</span>'
    ]
    if status not in FINAL:
        parts += _progress(task, progress)
    if values.get("error") is not None:
        parts.append(f' <span class="runcast-error">{text_of(_error(values["error"]))}</span>')
    for column, name in _TIMES:
        if isinstance(values.get(column), int):
            parts.append(f" {_time(values[column], name)}")
    tags = values.get("runTags") or ()
    if tags:
        parts.append(f' <ul class="runcast-tags">{"".join(f"<li>{text_of(tag)}</li>" for tag in tags)}</ul>')
    parts += _transitions(values.get("transitions") or ())
    return "".join([*parts, "</li>"]).encode()


def _progress(task: str, progress: Any) -> list[str]:
    """A bar when it is known how far the run is, and what it says that it does. Nothing is shown that is not known."""
    parts, percent = [], percent_of(progress)
    if percent is not None:
        said = f'value="{percent:g}" aria-label="{task}">{percent_text(percent)}'
        parts.append(f' <progress class="runcast-progress" max="100" {said}</progress>')
    if isinstance(progress, dict) and progress.get("text"):
        parts.append(f' <span class="runcast-text">{text_of(progress["text"])}</span>')
    return parts


def _transitions(transitions: Any) -> list[str]:
    if not transitions:
        return []
    items = [
        f'<li data-status="{public_status(status)}">{words_of(public_status(status))} {_time(at, "at")}</li>'
        for _, status, at, _ in transitions[-_TRANSITIONS:]
    ]
    return [f' <ol class="runcast-transitions">{"".join(items)}</ol>']


def _error(error: Any) -> str:
    if not isinstance(error, dict):
        return str(error)
    text = error.get("message") or error.get("raw") or error.get("code") or ""
    return f"{error['name']}: {text}" if error.get("name") else str(text)


def _time(milliseconds: int, name: str) -> str:
    """A moment, for people in words that are the same everywhere."""
    moment = rfc3339(milliseconds)
    shown = f"{moment[:10]} {moment[11:19]} UTC"
    return f'<time class="runcast-{name}" datetime="{moment}">{shown}</time>'


def list_fragment(feed: str, items: bytes, *, complete: bool, truncated: bool) -> bytes:
    """The runs of a feed, the one that changed last first."""
    flags = f'data-complete="{str(complete).lower()}" data-truncated="{str(truncated).lower()}"'
    return f'<ul class="runcast-runs" id="runs-{text_of(feed)}" {flags}>'.encode() + items + b"</ul>"


def _connection(state: str, words: str, **facts: Any) -> str:
    told = "".join(f' data-{name.replace("_", "-")}="{text_of(fact)}"' for name, fact in facts.items() if fact)
    return f'<span class="runcast-connection" data-state="{state}"{told}>{words}</span>'


def _heartbeat(said: Mapping[str, Any]) -> str:
    state, as_of = str(said["state"]), said.get("asOf", "")
    since = f' as of <time datetime="{as_of}">{as_of[11:19]} UTC</time>' if state == "stale" and as_of else ""
    return _connection(state, f"{state}{since}", as_of=as_of)


def _problem(said: Mapping[str, Any]) -> str:
    facts = f'data-code="{text_of(said["code"])}" data-retry="{str(said["retry"]).lower()}"'
    return f'<p class="runcast-problem" role="alert" {facts}>{text_of(said["message"])}</p>'


_BESIDE: Final[dict[str, Callable[[Mapping[str, Any]], str]]] = {
    "welcome": lambda said: _connection(
        "connecting", "connecting", connection=said["connection"], expires_at=said.get("expiresAt")
    ),
    "heartbeat": _heartbeat,
    "error": _problem,
    "reconnect": lambda said: _connection("reconnecting", "reconnecting", after_milliseconds=said["afterMilliseconds"]),
    "end": lambda said: _connection("ended", "ended", feed=said["feed"], status=said["status"]),
}


def beside_fragment(kind: str, said: Mapping[str, Any]) -> bytes:
    """A message that is about no run, from what the protocol says (docs/protocol.md)."""
    spell = _BESIDE.get(kind)
    return b"" if spell is None else spell(said).encode()
