"""`runcast wait`: until runs have ended, or have come as far as a script needs them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli import describe
from gateway.cli.exits import ExitCode, ending_of, say, stop
from gateway.cli.http import TOKEN_FILE_HELP, URL_HELP
from gateway.cli.viewing import the_runs_continue, viewing
from gateway.codec import decode_json
from gateway.errors import BadInput
from gateway.feeds import FeedId
from gateway.runs import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.viewer.viewed import ViewedRun
    from gateway.viewer.viewer import Viewer

VERSION: Final = 1
_NOTHING: Final = object()


@dataclass(frozen=True, slots=True)
class Goal:
    """What is waited for: that a run is there, has ended, has had a status, or says something in its metadata."""

    kind: str = "done"
    path: tuple[str, ...] = ()
    value: Any = None

    @classmethod
    def parse(cls, text: str) -> Goal:
        """
        Read `done`, `exists`, `status=EXECUTING` or `metadata.KEY=VALUE`, where VALUE is JSON or else text.

        Raises:
            BadInput: When it is none of these.
        """
        name, equals, value = text.partition("=")
        if text in ("done", "exists"):
            return cls(text)
        if name == "status" and equals:
            if value.upper() not in Status.__members__:
                raise BadInput(f"a status is one of {', '.join(Status)}, not {value[:40]!r}")
            return cls("status", value=value.upper())
        root, *path = name.split(".")
        if root == "metadata" and equals and path and all(path):
            return cls("metadata", tuple(path), _json_or_text(value))
        raise BadInput(f"--for is done, exists, status=EXECUTING or metadata.KEY=VALUE, not {text[:80]!r}")

    def met_by(self, run: ViewedRun) -> bool:
        match self.kind:
            case "exists":
                return True
            case "done":
                return run.is_final
            case "status":  # also one that has passed: a run that ended soon has begun nevertheless
                return run.status == self.value or any(entry.status == self.value for entry in run.transitions)
        found: Any = run.metadata
        for key in self.path:
            found = found.get(key, _NOTHING) if isinstance(found, dict) else _NOTHING
        return bool(found == self.value and type(found) is type(self.value))


def _json_or_text(text: str) -> Any:
    try:
        return decode_json(text)
    except ValueError:
        return text


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a run has come: as it is, and whether that is what was waited for."""

    run: ViewedRun
    met: bool


class NoSuchRun(Exception):
    """A run that must exist does not."""

    def __init__(self, run: str) -> None:
        super().__init__(f"there is no run {describe.clean(run)}")


def wait(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="The runs; they need not exist yet.")],
    for_: Annotated[
        str,
        typer.Option("--for", metavar="GOAL", help="done, exists, status=EXECUTING, or metadata.KEY=VALUE."),
    ] = "done",
    any_: Annotated[bool, typer.Option("--any", help="Until one of the runs is there, instead of all.")] = False,
    must_exist: Annotated[bool, typer.Option("--must-exist", help="Exit with 3 when a run does not exist.")] = False,
    timeout: Annotated[str | None, typer.Option(metavar="SPAN", help="Stop after 30s, 10m, 2h: exit code 5.")] = None,
    connect_timeout: Annotated[
        str, typer.Option(metavar="SPAN", help="How long to try to connect at first: exit code 6.")
    ] = "10s",
    url: Annotated[str | None, typer.Option(help=URL_HELP)] = None,
    token_file: Annotated[Path | None, typer.Option(help=TOKEN_FILE_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document at the end.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """
    Wait until runs have ended, or have come as far as --for says, and print how they stand then.

    Exit codes: 0, 1 a run failed or ended without coming that far, 7 one was cancelled, 2 usage, 3 no such run
    (with --must-exist), 4 not allowed, 5 timeout, 6 no connection, 130 interrupted.
    """
    names = list(dict.fromkeys(runs))
    try:
        goal = Goal.parse(for_)
        for name in names:
            FeedId.run(name)
    except BadInput as error:
        stop(ExitCode.USAGE, str(error))
    asked = viewing(
        *(url, token_file), timeout=timeout, connect_timeout=connect_timeout, interrupted=the_runs_continue(*names)
    )
    try:
        reached = asked.run(lambda viewer: until_reached(viewer, names, goal, only_one=any_, must_exist=must_exist))
    except NoSuchRun as error:
        stop(ExitCode.NOT_FOUND, str(error))
    if as_json:
        told = [{"id": one.run.id, "status": one.run.status, "met": one.met} for one in reached]
        print(json.dumps({"v": VERSION, "for": for_, "runs": told}))
    elif not quiet:
        for one in reached:
            print(describe.clean(f"{one.run.id} {one.run.status}"))
    raise typer.Exit(_exit_code(goal, reached, for_))


async def until_reached(
    viewer: Viewer, runs: Sequence[str], goal: Goal, *, only_one: bool = False, must_exist: bool = False
) -> list[Reached]:
    """How far the runs have come, when all have reached the goal or can't any more; or one has, with *only_one*."""
    waiting = {run: asyncio.create_task(_reached(viewer, run, goal, must_exist=must_exist)) for run in runs}
    try:
        while True:
            pending = [task for task in waiting.values() if not task.done()]
            done = [task.result() for task in waiting.values() if task.done()]
            met = [one for one in done if one.met]
            if only_one and met:
                return met[:1]
            if not pending:
                return done
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting.values():
            task.cancel()
        await asyncio.gather(*waiting.values(), return_exceptions=True)


async def _reached(viewer: Viewer, name: str, goal: Goal, *, must_exist: bool) -> Reached:
    last: ViewedRun | None = None
    async with viewer.run(name) as updates:
        if must_exist:
            await updates.until_caught_up()
            if name not in updates.runs:
                raise NoSuchRun(name)
        async for run in updates:
            if goal.met_by(run):
                return Reached(run, met=True)
            last = run
    assert last is not None, "a run that ended was told"  # noqa: S101
    return Reached(last, met=False)


def _exit_code(goal: Goal, reached: Sequence[Reached], asked: str) -> ExitCode:
    if goal.kind == "done":
        return ending_of(one.run.status for one in reached)
    for one in reached:
        if not one.met:
            say(f"{describe.clean(one.run.id)} ended as {one.run.status}, without {describe.clean(asked)}")
    return ExitCode.OK if all(one.met for one in reached) else ExitCode.FAILED
