"""`runcast runs` (or `ls`): a list of runs, once or as they change."""

from __future__ import annotations

import json
import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli.exits import ExitCode, say, stop
from gateway.cli.http import TOKEN_FILE_HELP, URL_HELP, refusals_end_the_command, requests_to
from gateway.cli.rows import rows_for
from gateway.cli.viewing import viewing
from gateway.durations import parse_duration
from gateway.errors import BadInput
from gateway.feeds import FeedId
from gateway.runs import Status
from gateway.viewer.viewed import viewed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.cli.rows import Rows
    from gateway.viewer.requests import Requests
    from gateway.viewer.updates import RunUpdates
    from gateway.viewer.viewed import ViewedRun
    from gateway.viewer.viewer import Viewer

VERSION: Final = 1
_PAGE: Final = 100
#: Runs whose status was shown, of a list that is watched for weeks.
_REMEMBERED: Final = 20_000
#: A list shows neither, and both can be large.
_HEAVY: Final = ("payload", "output")


class Filters:
    """Which runs are listed."""

    def __init__(
        self, *, tags: list[str], task: str | None, batch: str | None, statuses: list[str], since: str | None
    ) -> None:
        self.tags = tuple(name for tag in tags for name in tag.split(","))
        self.task, self.batch, self.since = task, batch, since
        self.statuses = frozenset(status.upper() for one in statuses for status in one.split(","))
        unknown = self.statuses - set(Status)
        if unknown:
            raise BadInput(f"a status is one of {', '.join(Status)}, not {min(unknown)[:40]!r}")
        if since is not None:
            parse_duration(since)
        for check, value in ((FeedId.task, task), (FeedId.batch, batch)):
            if value is not None:
                check(value)
        if self.tags:
            FeedId.tags(*self.tags)

    def query(self) -> list[tuple[str, str]]:
        """As the API takes them."""
        pairs = [("tag", tag) for tag in self.tags] + [("status", status) for status in sorted(self.statuses)]
        single = {"task": self.task, "batch": self.batch, "createdAfter": self.since}
        return pairs + [(name, value) for name, value in single.items() if value is not None]

    def follow(self, viewer: Viewer) -> RunUpdates:
        """The feed that has them all, and perhaps others."""
        options: dict[str, Any] = {"since": self.since, "skip_columns": _HEAVY}
        if self.batch is not None:
            return viewer.batch(self.batch, **options)
        if self.tags:
            return viewer.tags(*self.tags, **options)
        return viewer.task(self.task, **options) if self.task is not None else viewer.all(**options)

    def admit(self, run: ViewedRun) -> bool:
        """Whether a run of that feed is one of them."""
        return (
            set(self.tags) <= set(run.tags)
            and self.task in (None, run.task)
            and self.batch in (None, run.fields.get("batchId"))
            and (not self.statuses or run.status in self.statuses)
        )


def runs(
    tag: Annotated[list[str] | None, typer.Option(help="With this tag; A,B: with both. Repeatable.")] = None,
    task: Annotated[str | None, typer.Option(help="Of this task.")] = None,
    batch: Annotated[str | None, typer.Option(help="Of this batch.")] = None,
    status: Annotated[list[str] | None, typer.Option(help="With this status; A,B: with either. Repeatable.")] = None,
    since: Annotated[str | None, typer.Option(metavar="SPAN", help="Created within 30m, 1h, 2d.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many, the newest.")] = 50,
    all_pages: Annotated[bool, typer.Option("--all-pages", help="All of them, instead of --limit.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on: a row for each run that is created, or has another status.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    json_lines: Annotated[bool, typer.Option("--json-lines", help="One JSON object a line, for programs.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours; NO_COLOR does the same.")] = False,
    timeout: Annotated[str | None, typer.Option(metavar="SPAN", help="With -w: stop after 30s, 10m, 2h: 5.")] = None,
    url: Annotated[str | None, typer.Option(help=URL_HELP)] = None,
    token_file: Annotated[Path | None, typer.Option(help=TOKEN_FILE_HELP)] = None,
) -> None:
    """
    List runs, the newest first: a table on a terminal, elsewhere a line each with tabs between the columns (id, status,
    task, created, duration, progress, tags).

    Exit codes: 0, 2 usage, 4 not allowed, 5 timeout, 6 no connection, 130 interrupted.
    """
    try:
        filters = Filters(tags=tag or [], task=task, batch=batch, statuses=status or [], since=since)
        _check(watch=watch, as_json=as_json, json_lines=json_lines, timeout=timeout)
    except BadInput as error:
        stop(ExitCode.USAGE, str(error))
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    with refusals_end_the_command():
        pages = _Listing(requests_to(url, token_file), filters, None if all_pages else limit)
        found = [viewed(told) for told in pages]
    if as_json:
        print(json.dumps({"v": VERSION, "runs": [dict(run.fields) for run in found], "more": pages.more}))
        return
    rows = rows_for(json_lines=json_lines, no_color=no_color)
    rows.show_all(found)
    if watch:
        asked = viewing(url, token_file, timeout=timeout, connect_timeout="10s", interrupted="the runs continue")
        asked.run(lambda viewer: _watch(viewer, filters, found, rows))
    elif pages.more:
        say(f"there are more than these {len(found)}: --limit, or --all-pages")


def _check(*, watch: bool, as_json: bool, json_lines: bool, timeout: str | None) -> None:
    if as_json and (watch or json_lines):
        raise BadInput("--json is one document, at the end; --json-lines goes with what has no end")
    if timeout is not None and not watch:
        raise BadInput("--timeout is for how long to watch; give -w too")


class _Listing:
    """The public objects of the runs, page by page, the newest first. `more` says whether some were left."""

    def __init__(self, gateway: Requests, filters: Filters, limit: int | None) -> None:
        self._gateway = gateway
        self._query = [*filters.query(), ("skipColumns", ",".join(_HEAVY))]
        self._limit = limit
        self.more = False

    def __iter__(self) -> Iterator[dict[str, Any]]:
        left, after = self._limit, ""
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            place = [("limit", str(size)), *([("after", after)] if after else [])]
            page = self._gateway.get("/v1/runs", [*self._query, *place])
            yield from page["runs"]
            left = None if left is None else left - len(page["runs"])
            after = page["next"] or ""
            if not after:
                return
        self.more = True


async def _watch(viewer: Viewer, filters: Filters, listed: list[ViewedRun], rows: Rows) -> None:
    """A row for whatever is news to somebody who has seen what was listed."""
    shown: dict[str, str | None] = {run.id: run.status for run in listed}
    newest = max((str(run.fields.get("createdAt", "")) for run in listed), default="")
    async with filters.follow(viewer) as updates:
        await updates.until_caught_up()
        for run in updates.runs.values():
            if str(run.fields.get("createdAt", "")) <= newest:
                shown.setdefault(run.id, run.status)  # too old to be listed, or filtered: no news
        async for run in updates:
            if shown.get(run.id) != run.status and filters.admit(run):
                rows.show(run)
            shown.pop(run.id, None)
            shown[run.id] = run.status
            if len(shown) > _REMEMBERED:
                del shown[next(iter(shown))]
