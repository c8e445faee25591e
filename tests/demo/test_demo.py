"""`python -m demo`: starts everything, shows runs, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import psutil
import pytest

from tests.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


class Demo:
    def __init__(self, process: subprocess.Popen[str], url: str, token: str) -> None:
        self.process, self.url, self.token = process, url, token
        self.family = psutil.Process(process.pid).children(recursive=True)

    def child(self, module: str) -> psutil.Process:
        """The part that runs *module*. It has a command line only a moment after it was started."""
        while True:
            for child in self.family:
                if module in child.cmdline():
                    return child
            time.sleep(0.01)


@contextmanager
def running_demo(directory: Path) -> Iterator[Demo]:
    """It has said where to look, so everything was started."""
    environ = {name: value for name, value in os.environ.items() if "REDIS_URL" not in name and "RUNCAST" not in name}
    process = subprocess.Popen(
        [sys.executable, "-m", "demo", "--port", str(free_port())],
        cwd=directory,
        env=environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdout, process.stderr:
        try:
            yield Demo(process, *_where_to_look(process.stdout))
        finally:
            process.terminate()
            process.wait(60)


def _where_to_look(said: IO[str]) -> tuple[str, str]:
    for line in said:
        found = re.search(r"(http://\S+)/#token=(\S+)", line)
        if found:
            return found[1], found[2]
    raise AssertionError("it ended without saying where to look")


def _gone(family: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(family, timeout=10)
    return not alive


@pytest.mark.timeout(120)
def test_runs_are_shown_and_nothing_is_left_behind(tmp_path: Path) -> None:
    """The dashboard is there, runs happen, and SIGTERM ends every process that was started."""
    with running_demo(tmp_path) as demo:
        with urllib.request.urlopen(f"{demo.url}/", timeout=5) as page:
            assert b"/_/v1/dashboard." in page.read()
        request = urllib.request.Request(
            f"{demo.url}/v1/events?all=true", headers={"Authorization": f"Bearer {demo.token}"}
        )
        with urllib.request.urlopen(request, timeout=60) as events:
            ended = next(
                message["run"]["id"]
                for message in (json.loads(line[6:]) for line in events if line.startswith(b"data: "))
                if message["type"] == "update" and message["run"].get("finishedAt")
            )
        assert ended
        demo.process.terminate()
        assert demo.process.wait(60) == 0

    assert _gone(demo.family)


@pytest.mark.timeout(120)
def test_when_one_part_ends_all_do_and_it_says_which(tmp_path: Path) -> None:
    """Nobody is left wondering why nothing moves any more."""
    with running_demo(tmp_path) as demo:
        demo.child("demo.feeder").kill()
        _, said = demo.process.communicate(timeout=60)

    assert demo.process.returncode == 1
    assert "the feeder ended" in said
    assert _gone(demo.family)
