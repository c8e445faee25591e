"""`runcast publish`: say what happened to a run, from a shell or a cron job."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.changes import Outcome, change
from gateway.cli import describe
from gateway.cli.environment import environment
from gateway.cli.exits import ExitCode, say, stop
from gateway.cli.speaking import FLUSH_SECONDS, json_of, json_or_text, losses_told, publisher_here
from gateway.errors import BadInput
from gateway.runs import raw_status

if TYPE_CHECKING:
    from gateway.publisher import Publisher, Run

JSON_TYPE: Final = "application/json"
_PROGRESS: Final = re.compile(r"(?P<current>-?\d+(?:\.\d+)?)(?:/(?P<total>\d+(?:\.\d+)?)|(?P<percent>%))?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is to be said, checked as far as that needs no Redis."""

    run: str
    task: str | None
    status: str | None
    progress: tuple[float, float | None, str | None] | None
    metadata: dict[str, Any]
    tags: list[str]
    batch: str | None
    payload: Any
    output: Any
    error: str | None

    def __post_init__(self) -> None:
        if self.task is None and (self.batch is not None or self.payload is not None):
            raise BadInput("--batch and --payload are part of how a run begins, and that needs --task")
        if not (self.task or self.status or self.progress or self.metadata or self.tags):
            raise BadInput("there is nothing to say: give --task, --status, --progress, --set or --tag")


def publish(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="The run's id [RUNCAST_RUN_ID, which `runcast exec` sets].")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Its task; creates the run if it does not exist.")] = None,
    status: Annotated[str | None, typer.Option(help="QUEUED, EXECUTING, WAITING, COMPLETED, FAILED, …")] = None,
    progress: Annotated[str | None, typer.Option(metavar="3/10", help="How far it is: 3/10, 30% or 3.")] = None,
    text: Annotated[str | None, typer.Option(help="With --progress: what it is doing.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=JSON", help="Set metadata; what is not JSON is text. Repeatable."),
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Put a tag on it. Repeatable.")] = None,
    batch: Annotated[str | None, typer.Option(help="The batch it belongs to, when it is created.")] = None,
    payload: Annotated[str | None, typer.Option(metavar="JSON|@FILE", help="What it begins with; @- is stdin.")] = None,
    output: Annotated[str | None, typer.Option(metavar="JSON|@FILE", help="What came of it: COMPLETED.")] = None,
    error: Annotated[str | None, typer.Option(help="What went wrong: FAILED.")] = None,
) -> None:
    """
    Say what happened to a run, and print what became of that: applied, unchanged, or stale.

    Redis is RUNCAST_REDIS_URL or REDIS_URL, or the one that a gateway started from this directory brought.

    Exit codes: 0, 2 usage, 3 no such run (and no --task), 6 no connection to Redis.
    """
    run = run or environment().get("RUNCAST_RUN_ID")
    if run is None:
        stop(ExitCode.USAGE, "name a run, or set RUNCAST_RUN_ID; inside of `runcast exec -- CMD` it is set")
    try:
        message = Message(
            run=run,
            task=task,
            status=_status(status, output=output, error=error),
            progress=_progress(progress, text),
            metadata=dict(_pair(pair) for pair in set_ or ()),
            tags=tag or [],
            batch=batch,
            payload=None if payload is None else json_of("--payload", payload),
            output=None if output is None else json_of("--output", output),
            error=error,
        )
        outcome = _publish(message)
    except BadInput as wrong:
        stop(ExitCode.USAGE, str(wrong))
    if outcome is Outcome.STALE:
        say("a later status of the run is known; it stays")
    print(f"{describe.clean(run)} {outcome}")


def _status(name: str | None, *, output: str | None, error: str | None) -> str | None:
    if name is not None:
        return raw_status(name.upper())
    return "FAILED" if error is not None else "COMPLETED" if output is not None else None


def _progress(said: str | None, text: str | None) -> tuple[float, float | None, str | None] | None:
    if said is None:
        if text is not None:
            raise BadInput("--text says what a --progress is about; give both")
        return None
    found = _PROGRESS.fullmatch(said.strip())
    if found is None:
        raise BadInput(f"--progress is like 3/10, 30% or 3, not {said[:40]!r}")
    total = "100" if found["percent"] else found["total"]
    return _number(found["current"]), _number(total) if total is not None else None, text


def _number(text: str) -> float:
    return float(text) if "." in text else int(text)


def _pair(said: str) -> tuple[str, Any]:
    key, separator, text = said.partition("=")
    if not key or not separator:
        raise BadInput(f"--set is KEY=JSON, not {said[:40]!r}")
    return key, json_or_text(text)


def _publish(message: Message) -> Outcome:
    with losses_told() as losses, publisher_here() as publisher:
        outcomes = _say(publisher, message)
        if not publisher.flush(FLUSH_SECONDS):
            stop(ExitCode.NO_CONNECTION, f"Redis can't be reached, nothing was published. {losses.last}")
        dropped = publisher.statistics.dropped
    if "missing" in dropped:
        stop(ExitCode.NOT_FOUND, f"there is no run {describe.clean(message.run)}; with --task it would be created")
    if dropped:
        raise BadInput(losses.last)
    # What was deferred has been sent by now.
    applied = Outcome.APPLIED in outcomes or Outcome.DEFERRED in outcomes
    return Outcome.APPLIED if applied else outcomes[0]


def _say(publisher: Publisher, message: Message) -> list[Outcome]:
    """Everything, and what became of it."""
    outcomes: list[Outcome] = []
    run = publisher.run(message.run, task=message.task, tags=message.tags, batch=message.batch)
    ends = message.output is not None or message.error is not None
    creates = message.task is not None and (message.payload is not None or not ends)
    if creates:
        status = "QUEUED" if ends else message.status or "QUEUED"
        outcomes.append(_create(publisher, run, message, status))
    if message.status is not None and (ends or not creates):
        outcomes.append(run.status(message.status, output=message.output, error=message.error))
    elif message.tags and not creates:
        outcomes.append(run.add_tags(*message.tags))
    return outcomes + _say_metadata(run, message)


def _create(publisher: Publisher, run: Run, message: Message, status: str) -> Outcome:
    """As `Publisher.create`, which does not tell what became of it."""
    begins = {"taskIdentifier": message.task, "batchId": message.batch}
    if message.payload is not None:
        begins |= {"payload": message.payload, "payloadType": JSON_TYPE}
    initial = {name: value for name, value in begins.items() if value is not None}
    limits = publisher.limits
    return run._say(change(run.id, create=True, status=status, initial=initial, tags=message.tags, limits=limits))


def _say_metadata(run: Run, message: Message) -> list[Outcome]:
    outcomes = [run.set(key, value) for key, value in message.metadata.items()]
    if message.progress is not None:
        outcomes.append(run.progress(*message.progress))
    return outcomes
