"""What commands do with a viewer: work until something is known, and end with the exit code that says how it went."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from gateway import errors
from gateway.cli import describe
from gateway.cli.environment import gateway_url
from gateway.cli.exits import ExitCode, say, stop
from gateway.cli.http import token_for, token_reader
from gateway.cli.output import state_words
from gateway.durations import parse_duration
from gateway.errors import BadInput, GatewayError, Misconfigured
from gateway.viewer.following import State
from gateway.viewer.refused import Denied
from gateway.viewer.viewer import Viewer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path

    from gateway.viewer.following import StateChanged

T = TypeVar("T")

_ABOUT_US: Final = (
    *(errors.NotAuthenticated, errors.TokenInvalid, errors.TokenExpired, errors.TokenRevoked, errors.TokenUsed),
    *(errors.NotAllowed, errors.OriginNotAllowed),
)
_CONNECTED: Final = (State.LIVE, State.STALE)


@dataclass(kw_only=True)
class Viewing:
    """
    A viewer for one command.

    Args:
        timeout: Seconds for all of it; None for as long as it takes.
        connect_timeout: How long to try before there was ever a connection. A later loss is no reason to stop.
        interrupted: What to say at Ctrl-C, and when time is up.
    """

    url: str
    token: str | Callable[[], Awaitable[str]]
    timeout: float | None = None
    connect_timeout: float = 10.0
    interrupted: str = "the run continues"
    _last_reason: str = field(default="no answer", init=False)
    _said: str = field(default="", init=False)

    def run(self, work: Callable[[Viewer], Coroutine[None, None, T]]) -> T:
        """What *work* finds out; or the end of the command, with the exit code that says why there is nothing."""
        # `timeout 60 runcast …` and whoever else ends us so should leave a terminal in order.
        signal.signal(signal.SIGTERM, _terminated)
        try:
            return asyncio.run(self._within(work))
        except KeyboardInterrupt:
            stop(ExitCode.INTERRUPTED, self.interrupted)
        except TimeoutError:
            stop(ExitCode.TIMEOUT, f"{self.timeout:g} s are over; {self.interrupted}")
        except Denied as error:
            about_us = error.reason in ("http_401", "http_403")
            stop(ExitCode.AUTH if about_us else ExitCode.NO_CONNECTION, describe.clean(error))
        except _ABOUT_US as error:
            stop(ExitCode.AUTH, describe.clean(error))
        except BadInput as error:
            stop(ExitCode.USAGE, describe.clean(error))
        except GatewayError as error:
            stop(ExitCode.NO_CONNECTION, describe.clean(error))

    async def _within(self, work: Callable[[Viewer], Coroutine[None, None, T]]) -> T:
        async with asyncio.timeout(self.timeout):
            try:
                async with asyncio.timeout(self.connect_timeout) as connecting:

                    def note(event: StateChanged) -> None:
                        self._note(event)
                        if event.state in _CONNECTED:
                            connecting.reschedule(None)

                    async with Viewer(self.url, self.token, on_state=note) as viewer:
                        return await work(viewer)
            except TimeoutError:
                if not connecting.expired():
                    raise
                reason = describe.clean(self._last_reason)
                text = f"can't connect to {self.url} within {self.connect_timeout:g} s: {reason}"
                stop(ExitCode.NO_CONNECTION, text)

    def _note(self, event: StateChanged) -> None:
        """Tell the person when what is shown may be old, once."""
        self._last_reason = event.reason or self._last_reason
        words = state_words(event, was_troubled=bool(self._said))
        if words and words != self._said:
            say(words)
        self._said = words


def viewing(
    url: str | None, token_file: Path | None, *, timeout: str | None, connect_timeout: str, interrupted: str
) -> Viewing:
    """From the flags of a command. Ends it when one of them can't be right."""
    address = gateway_url(url)
    try:
        asked = Viewing(
            url=address,
            token=token_reader(token_file) or token_for(address, None),
            timeout=parse_duration(timeout) if timeout is not None else None,
            connect_timeout=parse_duration(connect_timeout),
            interrupted=interrupted,
        )
        Viewer(asked.url, asked.token)  # says at once what can't be
    except (BadInput, Misconfigured) as error:
        stop(ExitCode.USAGE, str(error))
    return asked


def the_runs_continue(*runs: str) -> str:
    """That looking away ends nothing."""
    named = " ".join(describe.clean(run) for run in runs)
    return f"the run{' continues' if len(runs) == 1 else 's continue'}; runcast watch {named}"


def _terminated(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)
