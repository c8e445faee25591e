"""`runcast watch`: what happens to runs, as it happens."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gateway.cli.environment import gateway_url
from gateway.cli.exits import ExitCode, ending_of, stop
from gateway.cli.http import TOKEN_FILE_HELP, URL_HELP, token_for, token_reader
from gateway.cli.output import JsonLines, PlainLines
from gateway.cli.watching import Stopped, Watch, watch_runs, what_goes_on
from gateway.durations import parse_duration
from gateway.errors import BadInput, Misconfigured
from gateway.feeds import ALL_RUNS, FeedId
from gateway.viewer.address import checked_token, websocket_url
from gateway.viewer.conversation import StreamSubscription, Subscription

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.cli.output import Output
    from gateway.runs import Status


def watch(
    runs: Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Runs; they need not exist yet.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Runs with this tag; A,B: with both. Repeatable.")] = None,
    batch: Annotated[list[str] | None, typer.Option(help="The runs of a batch. Repeatable.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="The runs of a task. Repeatable.")] = None,
    all_runs: Annotated[bool, typer.Option("--all", help="All runs of the environment.")] = False,
    url: Annotated[str | None, typer.Option(help=URL_HELP)] = None,
    token_file: Annotated[Path | None, typer.Option(help=TOKEN_FILE_HELP)] = None,
    stream: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Show what the runs write to this stream. Repeatable.")
    ] = None,
    exit_status: Annotated[
        bool, typer.Option("--exit-status", help="Exit with 1 when a run failed, with 7 when one was cancelled.")
    ] = False,
    timeout: Annotated[str | None, typer.Option(metavar="SPAN", help="Stop after 30s, 10m, 2h: exit code 5.")] = None,
    connect_timeout: Annotated[
        str, typer.Option(metavar="SPAN", help="How long to try to connect at first: exit code 6.")
    ] = "10s",
    compact: Annotated[
        bool, typer.Option("--compact", help="On a terminal: count those that completed, list the others.")
    ] = False,
    json_lines: Annotated[bool, typer.Option("--json-lines", help="One JSON object a line, for programs.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours; NO_COLOR does the same.")] = False,
) -> None:
    """
    Show what happens to runs, as it happens, until they ended.

    A list that redraws itself on a terminal; one line per change elsewhere.

    Exit codes: 0, 1 failed and 7 cancelled (with --exit-status), 2 usage, 4 not allowed, 5 timeout, 6 no connection,
    130 interrupted.
    """
    address = gateway_url(url)
    try:
        asked = Watch(
            url=address,
            token=token_for(address, token_file),
            subscriptions=_subscriptions(runs or [], tag or [], batch or [], task or [], all_runs=all_runs),
            streams=_streams(runs or [], stream or []),
            fresh_token=token_reader(token_file),
            timeout=parse_duration(timeout) if timeout is not None else None,
            connect_timeout=parse_duration(connect_timeout),
        )
        websocket_url(address)
        checked_token(asked.token)
    except (BadInput, Misconfigured) as error:
        stop(ExitCode.USAGE, str(error))
    if exit_status and not asked.may_end:
        stop(ExitCode.USAGE, "--exit-status needs runs and nothing else: other feeds never end")
    statuses = _run(asked, _output(json_lines=json_lines, no_color=no_color, compact=compact))
    raise typer.Exit(ending_of(statuses) if exit_status else ExitCode.OK)


def _subscriptions(
    runs: Sequence[str], tags: Sequence[str], batches: Sequence[str], tasks: Sequence[str], *, all_runs: bool
) -> tuple[Subscription, ...]:
    feeds = [
        *(FeedId.run(run) for run in runs),
        *(FeedId.tags(*tag.split(",")) for tag in tags),
        *(FeedId.batch(batch) for batch in batches),
        *(FeedId.task(task) for task in tasks),
        *([ALL_RUNS] if all_runs else []),
    ]
    if not feeds:
        raise BadInput("name a run, or what its runs have in common: --tag, --batch, --task or --all")
    return tuple(Subscription(feed=feed) for feed in dict.fromkeys(feeds))


def _streams(runs: Sequence[str], keys: Sequence[str]) -> tuple[StreamSubscription, ...]:
    if keys and not runs:
        raise BadInput("--stream shows what runs write: name them")
    feeds = dict.fromkeys(FeedId.stream(run, key) for run in runs for key in keys)
    return tuple(StreamSubscription(run=feed.names[0], key=feed.names[1]) for feed in feeds)


def _output(*, json_lines: bool, no_color: bool, compact: bool) -> Output:
    if json_lines:
        return JsonLines()
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI"):
        from rich.console import Console

        from gateway.cli.live import LiveDisplay

        # NO_COLOR and FORCE_COLOR are known to the console.
        return LiveDisplay(Console(no_color=True if no_color else None, highlight=False), compact=compact)
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    return PlainLines()


def _run(asked: Watch, output: Output) -> list[Status]:
    # `timeout 60 runcast watch …` and whoever else ends us so should leave a terminal that has its cursor.
    signal.signal(signal.SIGTERM, _terminated)
    try:
        return asyncio.run(watch_runs(asked, output))
    except Stopped as stopped:
        stop(stopped.code, stopped.text)
    except KeyboardInterrupt:
        stop(ExitCode.INTERRUPTED, what_goes_on(asked))


def _terminated(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)
