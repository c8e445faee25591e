"""`runcast cancel`: ask the jobs of runs to stop."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli import describe
from gateway.cli.exits import ExitCode, stop
from gateway.cli.http import TOKEN_FILE_HELP, URL_HELP, refusals_end_the_command, requests_to
from gateway.cli.viewing import the_runs_continue, viewing
from gateway.cli.wait import Goal, until_reached
from gateway.errors import BadInput
from gateway.feeds import FeedId
from gateway.viewer.requests import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION: Final = 1


def cancel(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="The runs.")],
    reason: Annotated[str | None, typer.Option(help="Why, for people.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until they have ended.")] = False,
    timeout: Annotated[
        str | None, typer.Option(metavar="SPAN", help="With --wait: stop after 30s, 10m, 2h: exit code 5.")
    ] = None,
    url: Annotated[str | None, typer.Option(help=URL_HELP)] = None,
    token_file: Annotated[Path | None, typer.Option(help=TOKEN_FILE_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """
    Ask the jobs of runs to stop. They are CANCELED when their jobs say so; one that has ended stays as it is.

    Exit codes: 0, 2 usage, 3 no such run, 4 not allowed (it takes a `write:` scope), 5 timeout, 6 no connection.
    """
    names = list(dict.fromkeys(runs))
    try:
        for name in names:
            FeedId.run(name)
    except BadInput as error:
        stop(ExitCode.USAGE, str(error))
    if timeout is not None and not wait:
        stop(ExitCode.USAGE, "--timeout is for how long to --wait")
    gateway = requests_to(url, token_file)
    with refusals_end_the_command():
        body = {} if reason is None else {"reason": reason}
        told = {name: gateway.send("POST", f"/v1/runs/{quoted(name)}/cancel", body=body) for name in names}
    answers = {name: answer.json() for name, answer in told.items()}
    if wait:
        answers |= _ended(names, url, token_file, timeout)
    _print(answers, [name for name, answer in told.items() if answer.status == 202], as_json=as_json, waited=wait)


def _ended(names: Sequence[str], url: str | None, token_file: Path | None, timeout: str | None) -> dict[str, Any]:
    asked = viewing(*(url, token_file), timeout=timeout, connect_timeout="10s", interrupted=the_runs_continue(*names))
    reached = asked.run(lambda viewer: until_reached(viewer, names, Goal()))
    return {one.run.id: dict(one.run.fields) for one in reached}


def _print(answers: dict[str, Any], asked: Sequence[str], *, as_json: bool, waited: bool) -> None:
    if as_json:
        runs = [{"id": name, "status": run.get("status"), "asked": name in asked} for name, run in answers.items()]
        print(json.dumps({"v": VERSION, "runs": runs}))
        return
    for name, run in answers.items():
        status = run.get("status", "-")
        print(describe.clean(f"{name} {status}" + (" asked to stop" if name in asked and not waited else "")))
