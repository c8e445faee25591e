"""`runcast send`: send a value to the job of a run, which waits for it or will."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.changes import Outcome
from gateway.cli import describe
from gateway.cli.exits import ExitCode, stop
from gateway.cli.speaking import FLUSH_SECONDS, json_of, json_or_text, losses_told, publisher_here
from gateway.errors import BadInput

if TYPE_CHECKING:
    from typing import Any


def send(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run.")],
    key: Annotated[str, typer.Argument(metavar="KEY", help="What the job reads it by: run.input(KEY).")],
    value: Annotated[
        str, typer.Argument(metavar="JSON|TEXT|@FILE", help="The value; what is not JSON is text; @- is stdin.")
    ],
) -> None:
    """
    Send a value to the job of a run, which reads it with `run.input(KEY).wait()`, or as input stream KEY in JavaScript.

    Redis is found as by `publish`. Values are read in the order in which they were sent, each once.

    Exit codes: 0, 2 usage, 3 no such run, or it has ended, 6 no connection to Redis.
    """
    try:
        _send(run, key, json_of("the value", value) if value.startswith("@") else json_or_text(value))
    except BadInput as wrong:
        stop(ExitCode.USAGE, str(wrong))
    print(f"{describe.clean(run)} sent")


def _send(run: str, key: str, value: Any) -> None:
    with losses_told() as losses, publisher_here() as publisher:
        outcome = publisher.run(run).input(key).send(value)
        if not publisher.flush(FLUSH_SECONDS):
            stop(ExitCode.NO_CONNECTION, f"Redis can't be reached, nothing was sent. {losses.last}")
        dropped = publisher.statistics.dropped
    if outcome is Outcome.STALE:
        stop(ExitCode.NOT_FOUND, f"run {describe.clean(run)} has ended; its job reads nothing any more")
    if outcome is Outcome.MISSING or "missing" in dropped:
        stop(ExitCode.NOT_FOUND, f"there is no run {describe.clean(run)}")
    if dropped:
        raise BadInput(losses.last)
