"""A command as a process of ours: started, told what we are told, stopped, and what its end means."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: What is passed on to the command.
FORWARDED: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
)
#: Those of them that ask it to end.
STOPS: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
#: What a terminal sends to everybody in front of it, by Ctrl-C and Ctrl-\\.
_BY_TERMINAL: Final = frozenset({signal.SIGINT, signal.SIGQUIT})

NOT_FOUND, NOT_EXECUTABLE, TIMED_OUT = 127, 126, 124  # as shells and timeout(1) have them


class NotStarted(Exception):
    """The command could not be started; `code` is what a shell would exit with."""

    def __init__(self, error: OSError, command: str) -> None:
        super().__init__(f"{command} can't be started: {error.strerror}")
        self.code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE


@dataclass(frozen=True, slots=True)
class End:
    """How a command ended."""

    #: As Python has it: negative for a signal.
    returned: int
    #: Somebody told us, or the run, to stop, and the command was told so.
    stopped: bool = False
    cancelled: bool = False
    timed_out: bool = False

    @property
    def exit_code(self) -> int:
        """What a shell would say of it."""
        if self.timed_out:
            return TIMED_OUT
        return self.returned if self.returned >= 0 else 128 - self.returned

    @property
    def words(self) -> str:
        return f"exit code {self.returned}" if self.returned >= 0 else f"killed by {_name(-self.returned)}"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Execution:
    """
    One command, with its output in pipes.

    On a terminal it stays in our process group, so that Ctrl-C and Ctrl-Z mean what they always do; elsewhere it leads
    one of its own, and what is sent to us reaches all that it started.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], *, grace: float) -> None:
        """
        Start *command*. To be made in the main thread: signals are handled from now on, until `close`.

        Raises:
            NotStarted
        """
        self._grace = grace
        self._on_terminal = os.isatty(0)
        self._early: list[int] = []
        self._started: subprocess.Popen[bytes] | None = None
        self._stopped = self._cancelled = self._timed_out = False
        self._ended = threading.Event()
        self._before: dict[int, Any] = {number: signal.signal(number, self._received) for number in FORWARDED}
        try:
            self._process = subprocess.Popen(  # noqa: S603 - to run what we are given is what we are for
                list(command),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(environ),
                process_group=None if self._on_terminal else 0,
                bufsize=0,
            )
        except OSError as error:
            self.close()
            raise NotStarted(error, command[0]) from error
        self._started = self._process
        for number in self._early:
            self._received(number, None)

    @property
    def pipes(self) -> dict[int, str]:
        """New descriptors, for whoever reads and closes them."""
        named = ((self._process.stdout, "stdout"), (self._process.stderr, "stderr"))
        return {os.dup(pipe.fileno()): name for pipe, name in named if pipe is not None}

    def wait(self, timeout: float | None) -> End:
        """Wait for its end; after *timeout* seconds it is stopped."""
        process = self._process
        try:
            returned = self._wait(process, timeout)
        finally:
            self._ended.set()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        return End(returned, self._stopped, self._cancelled, self._timed_out)

    def close(self) -> None:
        """Signals mean again what they did before."""
        for number, before in self._before.items():
            signal.signal(number, before)

    def _wait(self, process: subprocess.Popen[bytes], timeout: float | None) -> int:
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._timed_out = True
            self._stop_gently()
            return process.wait()

    def cancel(self) -> None:
        """Somebody asked the run to stop: SIGTERM, and SIGKILL when that does not help. For any thread."""
        self._cancelled = True
        self._stop_gently()

    def _stop_gently(self) -> None:
        self._send(signal.SIGTERM)
        killing = threading.Thread(target=self._kill_after_grace, name="runcast grace", daemon=True)
        killing.start()

    def _kill_after_grace(self) -> None:
        if not self._ended.wait(self._grace):
            self._send(signal.SIGKILL)

    def _received(self, number: int, frame: object) -> None:
        if self._started is None:
            self._early.append(number)
            return
        self._stopped |= number in STOPS
        if not (self._on_terminal and number in _BY_TERMINAL):  # then it was told already
            self._send(number)

    def _send(self, number: int) -> None:
        process = self._started
        if process is None or process.returncode is not None:
            return
        try:
            if self._on_terminal:
                process.send_signal(number)
            else:
                os.killpg(process.pid, number)
        except ProcessLookupError:
            pass  # it has just ended
