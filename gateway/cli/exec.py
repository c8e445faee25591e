"""`runcast exec -- CMD`: run a command as a run. Its output becomes the run's log, its exit code the run's status."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.changes import Outcome
from gateway.cli import describe
from gateway.cli.environment import environment
from gateway.cli.executing import End, Execution, NotStarted
from gateway.cli.exits import ExitCode, say, stop
from gateway.cli.relaying import LogSender, Relay
from gateway.durations import parse_duration
from gateway.errors import BadInput, Misconfigured
from gateway.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.publisher import Run

#: In the environment of the command: `runcast publish` inside of it says things of this run.
RUN_ID: Final = "RUNCAST_RUN_ID"
#: What is still in the pipes when the command has ended, or what its children write that go on.
_LINGER_SECONDS: Final = 2.0
#: How long the end waits for Redis. A cron job must not hang because of us.
_FLUSH_SECONDS: Final = 2.0
_REASON_CHARACTERS: Final = 500

execute = typer.Typer(add_completion=False, rich_markup_mode=None)


# What follows the command is the command's, options too.
@execute.command(context_settings={"allow_interspersed_args": False})
def exec_(
    command: Annotated[list[str], typer.Argument(metavar="-- CMD [ARGS]...", help="What to run.")],
    id: Annotated[str | None, typer.Option("--id", help="The run's id [run_ and 24 random letters].")] = None,
    task: Annotated[str | None, typer.Option("--task", "--name", help="Its task [the name of CMD].")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Put a tag on it. Repeatable.")] = None,
    batch: Annotated[str | None, typer.Option(help="The batch it belongs to.")] = None,
    timeout: Annotated[str | None, typer.Option(metavar="SPAN", help="Stop it after 10m: TIMED_OUT.")] = None,
    grace: Annotated[
        str, typer.Option(metavar="SPAN", help="From SIGTERM to SIGKILL, when it is timed out or cancelled.")
    ] = "10s",
    lease: Annotated[
        str, typer.Option(metavar="SPAN", help="CRASHED when nothing is heard of us for so long; 0: never.")
    ] = "60s",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Don't show its output here.")] = False,
) -> None:
    """
    Run CMD as a run: its output becomes the stream `log`, its exit code the status, and signals are passed on.

    COMPLETED when it exits with 0, else FAILED; CANCELED when it was told to stop, CRASHED when it was killed
    otherwise. Who asks the run to stop (runcast cancel) stops CMD. Redis being away is nothing that CMD would notice.
    In CMD RUNCAST_RUN_ID is the run: `runcast publish --progress 3/10` needs no other name there.

    Exit codes: that of CMD; 128 and the number of the signal that killed it; 124 timed out, 126 not executable, 127
    not found; 2 usage.
    """
    try:
        limit = parse_duration(timeout) if timeout is not None else None
        patience = parse_duration(grace)
        publisher = _publisher(lease)
        run = publisher.create(task or Path(command[0]).name, id=id, tags=tag or (), batch=batch)
    except (BadInput, Misconfigured) as error:
        stop(ExitCode.USAGE, str(error))
    try:
        code = _execute(publisher, run, command, limit, patience, quiet=quiet)
    finally:
        publisher.close(0)  # what could be sent has been
    raise typer.Exit(code)


def _publisher(lease: str) -> Publisher:
    known = environment()
    # The publisher logs that Redis is away. That is said once, at the end, if it matters then.
    logging.getLogger("runcast.publisher").addHandler(logging.NullHandler())
    logging.getLogger("runcast.publisher").propagate = False
    url = known.get("RUNCAST_REDIS_URL") or known.get("REDIS_URL")
    span = 0 if lease.strip() in ("0", "0s") else lease
    return Publisher(url, environment=known.get("RUNCAST_ENVIRONMENT"), lease=span)


def _execute(
    publisher: Publisher, run: Run, command: Sequence[str], timeout: float | None, grace: float, *, quiet: bool
) -> int:
    if run.start() is Outcome.STALE:
        say(f"the run {describe.clean(run.id)} has ended before; another --id makes another run")
    try:
        execution = Execution(command, os.environ | {RUN_ID: run.id}, grace=grace)
    except NotStarted as failed:
        run.fail(str(failed))
        _finish(publisher, run, 0)
        say(str(failed))
        return failed.code
    if not quiet:
        say(f"run {describe.clean(run.id)}")
    log = LogSender(run)
    relay = Relay(execution.pipes, log, terminals={} if quiet else {"stdout": 1, "stderr": 2})
    watching = threading.Thread(target=_watch_for_cancel, args=(run, execution), name="runcast cancel", daemon=True)
    watching.start()
    with closing(execution):  # until all is told: whoever stops us in the last moment must not hide the end
        end = execution.wait(timeout)
        relay.end(_LINGER_SECONDS)
        log.end(_FLUSH_SECONDS)
        _tell_end(run, end, relay.last_error)
        _finish(publisher, run, log.dropped)
    return end.exit_code


def _watch_for_cancel(run: Run, execution: Execution) -> None:
    if run.wait_for_cancel():
        execution.cancel()


def _tell_end(run: Run, end: End, last_error: bytes) -> None:
    if end.timed_out:
        run.time_out()
    elif end.cancelled:
        run.cancel(end.words)
    elif end.returned == 0:
        run.complete({"exitCode": 0})
    elif end.stopped:
        run.cancel(end.words)
    elif end.returned < 0:
        run.crash(end.words)
    else:
        complaint = last_error.decode(errors="replace").strip()[:_REASON_CHARACTERS]
        run.status("FAILED", output={"exitCode": end.returned}, error=": ".join(filter(None, (end.words, complaint))))


def _finish(publisher: Publisher, run: Run, dropped: int) -> None:
    """Send what waits, for a moment, and say what was lost."""
    if not publisher.flush(_FLUSH_SECONDS):
        say(f"Redis can't be reached: how the run {describe.clean(run.id)} ended is not known there")
    lost = dropped + publisher.statistics.dropped.get("chunks", 0)
    if lost:
        say(f"{lost} lines of output are not in the log: they came faster than they could be stored")
