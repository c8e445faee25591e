"""What the commands that speak to Redis share: their publisher, what it could not say, and JSON from arguments."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.cli.environment import environment
from gateway.cli.exits import ExitCode, stop
from gateway.codec import decode_json
from gateway.errors import BadInput, Misconfigured
from gateway.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Generator

#: How long to try. Nobody waits for a shell command as for a job, but a Redis that restarts is soon back.
FLUSH_SECONDS: Final = 2.0


def publisher_here() -> Publisher:
    """One for the Redis of this place; without any, the command ends."""
    known = environment()
    url = known.get("RUNCAST_REDIS_URL") or known.get("REDIS_URL")
    try:
        return Publisher(url, environment=known.get("RUNCAST_ENVIRONMENT"))
    except Misconfigured as error:
        stop(ExitCode.USAGE if url else ExitCode.NO_CONNECTION, str(error))


def json_or_text(text: str) -> Any:
    """What is no JSON is text."""
    try:
        return decode_json(text)
    except ValueError:
        return text


def json_of(option: str, said: str) -> Any:
    """
    JSON, or what is in a file of that name after an @.

    Raises:
        BadInput: When it is none.
    """
    try:
        return decode_json(_contents(said[1:]) if said.startswith("@") else said)
    except OSError as error:
        raise BadInput(f"{option}: {said[1:]} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(f"{option} is JSON, or @ and the name of a file with JSON: {error}") from error


def _contents(name: str) -> bytes:
    return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()


class Losses(logging.Handler):
    """The publisher never raises because of Redis, it logs. Here that becomes the text of an error."""

    def __init__(self) -> None:
        super().__init__()
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


@contextmanager
def losses_told() -> Generator[Losses, None, None]:
    """What the publisher logs in this block."""
    log = logging.getLogger("runcast.publisher")
    losses, propagated = Losses(), log.propagate
    log.addHandler(losses)
    log.propagate = False
    try:
        yield losses
    finally:
        log.removeHandler(losses)
        log.propagate = propagated
