"""`runcast get`: one run, as it is now."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli import describe
from gateway.cli.exits import ExitCode, stop
from gateway.cli.http import TOKEN_FILE_HELP, URL_HELP, refusals_end_the_command, requests_to
from gateway.errors import BadInput
from gateway.feeds import FeedId
from gateway.viewer.requests import quoted
from gateway.viewer.viewed import viewed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.viewer.viewed import ViewedRun

VERSION: Final = 1
#: Field → what people call it, for those that are shown as they are, in this order.
_SHOWN: Final = {
    "taskIdentifier": "task",
    "batchId": "batch",
    "parentRunId": "parent",
    "rootRunId": "root",
    "attempt": "attempt",
    "createdAt": "created",
    "delayedUntil": "delayed until",
    "startedAt": "started",
    "finishedAt": "finished",
    "cancelRequestedAt": "asked to stop",
    "cancelReason": "because",
    "costInCents": "cost in cents",
}


def get(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")],
    url: Annotated[str | None, typer.Option(help=URL_HELP)] = None,
    token_file: Annotated[Path | None, typer.Option(help=TOKEN_FILE_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the public object of the run as JSON.")] = False,
) -> None:
    """
    Show a run as it is now.

    Exit codes: 0, 2 usage, 3 no such run, 4 not allowed, 6 no connection.
    """
    try:
        FeedId.run(run)
    except BadInput as error:
        stop(ExitCode.USAGE, str(error))
    with refusals_end_the_command():
        told = requests_to(url, token_file).get(f"/v1/runs/{quoted(run)}")
    if as_json:
        print(json.dumps({"v": VERSION, "run": told}))
        return
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    lines = list(_lines(viewed(told)))
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        print(f"{name:<{width}}  {value}")


def _lines(run: ViewedRun) -> Iterator[tuple[str, str]]:
    """What to show, by its name. Nothing that a user wrote can break a line, or the terminal."""
    yield "run", describe.clean(run.id)
    yield "status", describe.clean(run.status or "-")
    for field, name in _SHOWN.items():
        if run.fields.get(field) is not None:
            yield name, describe.clean(run.fields[field])
    if run.tags:
        yield "tags", describe.clean(", ".join(run.tags))
    taken = describe.seconds_taken(run, datetime.now(UTC))
    if taken is not None:
        yield "duration", describe.duration(taken)
    progress = str(describe.Progress.of(run))
    if progress:
        yield "progress", progress
    for key, value in run.metadata.items():
        if key != "progress" or not progress:
            yield f"metadata.{describe.clean(key)}", _json(value)
    for name in ("payload", "output"):
        if run.fields.get(name) is not None:
            yield name, _json(run.fields[name])
    if run.error is not None:
        yield "error", describe.error(run)
    for entry in run.transitions:
        yield "was", describe.clean(f"{entry.at} {entry.status}")


def _json(value: Any) -> str:
    return describe.clean(json.dumps(value, ensure_ascii=False))
