"""What each exit code means, and how a command ends with one."""

from __future__ import annotations

import sys
from enum import IntEnum
from typing import TYPE_CHECKING, NoReturn

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable


class ExitCode(IntEnum):
    """The same for every command; documented, so that scripts may build on them."""

    OK = 0
    FAILED = 1  # the run failed, and --exit-status or `wait` asked how it ended
    USAGE = 2  # also what typer itself ends with
    NOT_FOUND = 3
    AUTH = 4  # no key or token, or one that does not allow this
    TIMEOUT = 5
    NO_CONNECTION = 6
    CANCELED = 7  # as FAILED, when it was cancelled
    INTERRUPTED = 130  # as a shell says of what SIGINT ended: 128 + 2


def say(text: str) -> None:
    """Tell the person; data goes to stdout, and this does not."""
    print(f"runcast: {text}", file=sys.stderr, flush=True)


def stop(code: ExitCode, text: str) -> NoReturn:
    """End the command, saying why and what to do."""
    say(text)
    raise typer.Exit(code)


def ending_of(statuses: Iterable[str | None]) -> ExitCode:
    """What it means that runs ended so: all is well, or one failed, or else one was cancelled."""
    odd = {status for status in statuses if status != "COMPLETED"}
    return ExitCode.OK if not odd else ExitCode.CANCELED if odd == {"CANCELED"} else ExitCode.FAILED
