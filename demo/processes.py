"""Programs that run together: they are started in order, watched, and ended in order, each by its own process id."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

LAST_LINES = 15
LOOK_SECONDS = 0.2


class Ended(Exception):
    """A program ended that should not have."""

    def __init__(self, program: Program) -> None:
        super().__init__(f"the {program.name} ended with status {program.process.returncode}. {program.last_words}")


@dataclass(frozen=True)
class Program:
    """One that was started. What it says is in its log."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    patience_seconds: float

    @property
    def last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
        return f"The end of {self.log}:\n" + "\n".join(f"  {line}" for line in lines)

    def end(self) -> None:
        """Ask it to end, give it its time, then insist."""
        self.process.terminate()
        try:
            self.process.wait(self.patience_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Programs:
    """
    A context: what was started in it has ended when it is left, however it is left.

    They are in sessions of their own: Ctrl-C in a terminal reaches only us, and we end them in the right order, the
    last one that was started first.
    """

    def __init__(self, environ: Mapping[str, str], logs: Path) -> None:
        self._environ, self._logs = environ, logs
        self._running: list[Program] = []

    def __enter__(self) -> Programs:
        return self

    def __exit__(self, *_: object) -> None:
        while self._running:
            self._running.pop().end()

    def start(self, name: str, command: Sequence[str], *, patience_seconds: float = 10.0) -> None:
        log = self._logs / f"demo-{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=self._environ, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._running.append(Program(name, process, log, patience_seconds))

    def check(self) -> None:
        """
        Look whether all of them run.

        Raises:
            Ended: When one does not.
        """
        for program in self._running:
            if program.process.poll() is not None:
                raise Ended(program)

    def wait_until(self, happened: Callable[[], bool], *, seconds: float) -> bool:
        """Look again and again, until it happened, time is up (False), or one of them ended (which raises)."""
        deadline = time.monotonic() + seconds
        while not happened():
            self.check()
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_SECONDS)
        return True
