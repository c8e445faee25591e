"""A page of the docs, walked: what stands in its boxes is pasted into shells, as whoever reads it would."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import httpx2
import psutil

from tests.journeys.gateway_process import clean_environ

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

_STEP: Final = re.compile(r"^## (\d+)\. (.+?)$.*?^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """A heading with a number, and the box below it."""

    title: str
    commands: str


def steps_of(page: Path) -> list[Step]:
    """All of a page, in order."""
    found = _STEP.findall(page.read_text(encoding="utf-8"))
    assert [int(number) for number, _, _ in found] == list(range(1, len(found) + 1)), found
    return [Step(title, commands) for _, title, commands in found]


class Terminal:
    """A shell in *directory*, which stops at the first command that fails. All that it started ends with it."""

    def __init__(self, directory: Path, name: str, **environ: str) -> None:
        self.log = directory.parent / f"{directory.name}-{name}.log"
        self._marks = directory.parent / f"{directory.name}-{name}-done"
        self._marks.mkdir()
        self._pasted = 0
        with self.log.open("wb") as log:
            self._shell = subprocess.Popen(
                ["sh", "-e"],
                cwd=directory,
                env=_of_a_newcomer(environ),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                text=True,
            )

    def paste(self, commands: str) -> Path:
        """Have *commands* run, and return at once: with the file that is there when they are done."""
        self._pasted += 1
        mark = self._marks / str(self._pasted)
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{commands}\n: > {mark}\n")
        self._shell.stdin.flush()
        return mark

    def run(self, commands: str, *, seconds: float = 600) -> None:
        """Have *commands* run, and return when they are done."""
        self.until(self.paste(commands).exists, seconds=seconds)

    def until(self, holds: Callable[[], bool], *, seconds: float = 600) -> None:
        """Return when *holds*; what was pasted may not have failed meanwhile."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert self._shell.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shell.poll() is None:
            family = psutil.Process(self._shell.pid).children(recursive=True)
            os.killpg(self._shell.pid, signal.SIGTERM)
            _, alive = psutil.wait_procs(family, timeout=60)
            assert not alive
        self._shell.communicate(timeout=60)


def _of_a_newcomer(environ: Mapping[str, str]) -> dict[str, str]:
    """No gateway is set up, and no virtual environment is active."""
    given = clean_environ(**environ)
    inside = given.pop("VIRTUAL_ENV", None)
    path = [part for part in given["PATH"].split(os.pathsep) if inside is None or not part.startswith(inside)]
    return given | {"PATH": os.pathsep.join(path)}


def is_ready(url: str) -> bool:
    """Whether a gateway is there, and sees its data."""
    try:
        return httpx2.get(f"{url}/readyz", timeout=10, trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False
