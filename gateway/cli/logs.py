"""`runcast logs`: what a run writes, as lines."""

from __future__ import annotations

import json
import sys
from collections import deque
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol

import typer

from gateway.cli import describe
from gateway.cli.exits import ExitCode, stop
from gateway.cli.http import TOKEN_FILE_HELP, URL_HELP, refusals_end_the_command, requests_to
from gateway.cli.viewing import viewing
from gateway.errors import BadInput
from gateway.feeds import FeedId
from gateway.viewer.requests import RequestRefused, quoted
from gateway.viewer.streams import StreamChunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.viewer.requests import Requests
    from gateway.viewer.viewer import Viewer

VERSION: Final = 1
#: What the API calls the log of a run.
LOG: Final = "log"
_LEVEL_COLOURS: Final = {"DEBUG": "2", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}


class _Print(Protocol):
    def __call__(self, chunk: StreamChunk) -> None: ...


def logs(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written, until it ended.")] = False,
    stream: Annotated[str, typer.Option(metavar="KEY", help="Another stream than its log.")] = LOG,
    tail: Annotated[int | None, typer.Option(min=0, help="Only the last so many, and what follows with -f.")] = None,
    since_start: Annotated[
        bool, typer.Option("--since-start", help="Everything: what it does without --tail.")
    ] = False,
    timestamps: Annotated[bool, typer.Option("--timestamps", "-t", help="When each line was written.")] = False,
    joined: Annotated[
        bool, typer.Option("--join", help="Texts one after the other without line ends: pieces, not lines.")
    ] = False,
    json_lines: Annotated[bool, typer.Option("--json-lines", help="One JSON object a line, for programs.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours; NO_COLOR does the same.")] = False,
    timeout: Annotated[
        str | None, typer.Option(metavar="SPAN", help="With -f: stop after 30s, 10m, 2h: exit code 5.")
    ] = None,
    url: Annotated[str | None, typer.Option(help=URL_HELP)] = None,
    token_file: Annotated[Path | None, typer.Option(help=TOKEN_FILE_HELP)] = None,
) -> None:
    """
    Print what a run has written to its log, or to another stream, and with -f what it writes from then on.

    Exit codes: 0, 2 usage, 3 no such run (without -f), 4 not allowed, 5 timeout, 6 no connection, 130 interrupted.
    """
    try:
        FeedId.stream(run, stream)
        if tail is not None and since_start:
            raise BadInput("--tail and --since-start are two different beginnings; choose one")
        if timeout is not None and not follow:
            raise BadInput("--timeout is for how long to follow; give -f too")
    except BadInput as error:
        stop(ExitCode.USAGE, str(error))
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    show = _printer(json_lines=json_lines, joined=joined, timestamps=timestamps, no_color=no_color)
    after = None
    if tail is not None or not follow:
        after = _print_page(requests_to(url, token_file), run, stream, tail, show, may_be_missing=follow)
    if follow:
        again = f"the run continues; runcast logs {describe.clean(run)} -f"
        asked = viewing(url, token_file, timeout=timeout, connect_timeout="10s", interrupted=again)
        asked.run(lambda viewer: _follow(viewer, run, stream, after, show))


def _print_page(
    gateway: Requests, run: str, stream: str, tail: int | None, show: _Print, *, may_be_missing: bool
) -> str | None:
    """Print what there is, or the last of it; and return where that ends."""
    pages = _Pages(gateway, run, stream)
    with refusals_end_the_command():
        try:
            if tail is None:
                for chunk in pages:
                    show(chunk)
            else:
                for chunk in deque(pages, maxlen=tail):
                    show(chunk)
        except RequestRefused as error:
            if not (may_be_missing and error.status == 404):
                raise
    return pages.cursor


class _Pages:
    """The chunks that there are, page by page; `cursor` is where they end."""

    def __init__(self, gateway: Requests, run: str, stream: str) -> None:
        self._gateway = gateway
        self._path = f"/v1/runs/{quoted(run)}/streams/{quoted(stream)}"
        self.cursor: str | None = None

    def __iter__(self) -> Iterator[StreamChunk]:
        complete = False
        while not complete:
            query = [("after", self.cursor)] if self.cursor is not None else []
            page: dict[str, Any] = self._gateway.get(self._path, query)
            for told in page["chunks"]:
                yield StreamChunk(told["chunk"], told["index"], told["cursor"])
            complete = page["complete"]
            self.cursor = page["next"]


async def _follow(viewer: Viewer, run: str, stream: str, after: str | None, show: _Print) -> None:
    async with viewer.stream(run, stream, after=after) as chunks:
        async for chunk in chunks:
            show(chunk)


def _printer(*, json_lines: bool, joined: bool, timestamps: bool, no_color: bool) -> _Print:
    if json_lines:
        return _print_json
    if joined:
        return _print_joined
    return _Lines(timestamps=timestamps, colours=not no_color and _has_colours())


def _has_colours() -> bool:
    from rich.console import Console

    console = Console()  # it knows NO_COLOR, FORCE_COLOR, TERM=dumb, and what is no terminal
    return console.color_system is not None and not console.no_color


def _print_json(chunk: StreamChunk) -> None:
    line = {"v": VERSION, "type": "chunk", "index": chunk.index, "chunk": chunk.value, "cursor": chunk.cursor}
    print(json.dumps(line), flush=True)


def _print_joined(chunk: StreamChunk) -> None:
    text = chunk.value if isinstance(chunk.value, str) else json.dumps(chunk.value, ensure_ascii=False)
    lines = text.split("\n")
    print("\n".join(describe.clean(line) for line in lines), end="", flush=True)


class _Lines:
    """A line for each chunk, with its level and, if wanted, its time."""

    def __init__(self, *, timestamps: bool, colours: bool) -> None:
        self._timestamps = timestamps
        self._colours = colours

    def __call__(self, chunk: StreamChunk) -> None:
        line = describe.LogLine.of(chunk.value)
        text = str(line)
        colour = _LEVEL_COLOURS.get(line.level)
        if self._colours and colour:
            text = f"\x1b[{colour}m{text}\x1b[0m"
        print(f"{describe.clean(line.at) or '-'} {text}" if self._timestamps else text, flush=True)
