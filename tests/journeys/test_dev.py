"""`runcast dev`: from an empty directory to a bar that moves in a page."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import psutil
import pytest
from playwright.async_api import expect

from tests.journeys.browser import chromium, origin
from tests.journeys.gateway_process import clean_environ
from tests.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNCAST = Path(sys.executable).with_name("runcast")


@dataclass
class Dev:
    """A `runcast dev` that has said what to do next."""

    process: subprocess.Popen[str]
    directory: Path
    said: str

    def found(self, pattern: str) -> str:
        match = re.search(pattern, self.said, re.DOTALL)
        assert match is not None, self.said
        return match[0]

    def command(self, beginning: str) -> list[str]:
        """A command that it printed, to be run."""
        name, *arguments = shlex.split(self.found(rf"{beginning}[^\n]*"))
        return [str(RUNCAST.with_name(name)), *arguments]


@contextmanager
def running_dev(directory: Path) -> Iterator[Dev]:
    command = [str(RUNCAST), "dev", "--port", str(free_port())]
    log = directory.parent / "dev.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, cwd=directory, env=clean_environ(), stdout=subprocess.PIPE, stderr=errors, text=True
        )
    watchdog = threading.Timer(30, process.kill)  # so that the reading below ends
    watchdog.start()
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "</run-status>" in line:
                break
        assert process.poll() is None, log.read_text()
        watchdog.cancel()
        yield Dev(process, directory, "".join(lines))
    finally:
        watchdog.cancel()
        process.terminate()
        process.communicate(timeout=15)
    assert "Traceback" not in log.read_text()


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    directory = tmp_path / "empty"
    directory.mkdir()
    return directory


async def test_the_printed_page_moves(empty: Path) -> None:
    """What it prints works as it stands: the snippet in a page, the command in another terminal of the directory."""
    with running_dev(empty) as dev:
        snippet = dev.found(r"<script.*</run-status>")
        with origin(f"<!doctype html><title>Mine</title>{snippet}") as address:
            async with chromium() as page:
                await page.goto(address)
                publish = dev.command("runcast publish")
                bar = page.get_by_role("progressbar")
                for done in (3, 7):
                    publish[publish.index("--progress") + 1] = f"{done}/10"
                    subprocess.run(publish, cwd=empty, env=clean_environ(), check=True, capture_output=True)
                    await expect(bar).to_have_attribute("aria-valuenow", f"{done * 10}", timeout=30_000)


def test_the_printed_commands_show_the_run(empty: Path) -> None:
    """curl with the printed token, and `runcast watch`, show the run that `runcast publish` made."""
    with running_dev(empty) as dev:
        publish = dev.command("runcast publish")
        publish[publish.index("EXECUTING")] = "COMPLETED"
        subprocess.run(publish, cwd=empty, env=clean_environ(), check=True, capture_output=True)
        token = dev.found(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+")
        curl = shlex.split(dev.found(r"curl [^\n]*").replace("$TOKEN", token))
        shown = subprocess.run(curl, capture_output=True, text=True, timeout=20, check=True).stdout
        assert "event: end" in shown
        watch = dev.command("runcast watch")
        watched = subprocess.run(
            watch, cwd=empty, env=clean_environ(), capture_output=True, text=True, timeout=20, check=False
        )
        assert "COMPLETED" in watched.stdout, watched


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_everything_ends_together(empty: Path, number: signal.Signals) -> None:
    """Stopped politely it ends with 0, and its Redis with it; the next start finds the data and the key again."""
    with running_dev(empty) as dev:
        publish = dev.command("runcast publish")
        subprocess.run(publish, cwd=empty, env=clean_environ(), check=True, capture_output=True)
        family = psutil.Process(dev.process.pid).children(recursive=True)
        assert any("server" in child.name() for child in family)
        secret = secret_in(empty)
        dev.process.send_signal(number)
        assert dev.process.wait(15) == 0
        _, alive = psutil.wait_procs(family, timeout=10)
        assert not alive
    with running_dev(empty) as again:
        assert secret_in(empty) == secret
        watch = again.command("runcast watch")
        watching = subprocess.Popen(watch, cwd=empty, env=clean_environ(), stdout=subprocess.PIPE, text=True)
        assert watching.stdout is not None
        shown = watching.stdout.readline()
        watching.terminate()
        watching.communicate(timeout=10)
        assert "run_1" in shown


def test_a_killed_one_leaves_nothing_running(empty: Path) -> None:
    """SIGKILL leaves no time for anything, and still nothing is left running."""
    with running_dev(empty) as dev:
        family = psutil.Process(dev.process.pid).children(recursive=True)
        dev.process.kill()
        _, alive = psutil.wait_procs(family, timeout=10)
        assert not alive


def test_a_second_one_does_not_disturb_the_first(empty: Path) -> None:
    """On the same port it refuses and says why; the first goes on, with the Redis that both would share."""
    with running_dev(empty) as dev:
        port = dev.found(r"(?<=http://127\.0\.0\.1:)\d+")
        left = (empty / ".runcast" / "dev.env").read_text()
        # By another name of the same address, so that it would write another URL down.
        command = [str(RUNCAST), "dev", "--host", "localhost", "--port", port]
        second = subprocess.run(command, cwd=empty, env=clean_environ(), capture_output=True, text=True, timeout=30)
        assert second.returncode == 2
        assert f"localhost:{port}" in second.stderr
        assert (empty / ".runcast" / "dev.env").read_text() == left
        publish = dev.command("runcast publish")
        subprocess.run(publish, cwd=empty, env=clean_environ(), check=True, capture_output=True)
        assert dev.process.poll() is None


def test_it_ends_with_its_terminal(empty: Path) -> None:
    """SIGHUP, which reloads a gateway in production, says here that the window was closed."""
    with running_dev(empty) as dev:
        transport = httpx2.HTTPTransport(retries=10)
        with httpx2.Client(transport=transport, trust_env=False) as client:
            client.get(dev.found(r"http://127\.0\.0\.1:\d+") + "/livez").raise_for_status()
        family = psutil.Process(dev.process.pid).children(recursive=True)
        dev.process.send_signal(signal.SIGHUP)
        assert dev.process.wait(15) == 0
        _, alive = psutil.wait_procs(family, timeout=10)
        assert not alive


def test_keys_of_the_project_are_known_to_its_commands(empty: Path) -> None:
    """From .env or runcast.toml: what `runcast dev` serves with is what the commands beside it show it."""
    (empty / ".env").write_text("RUNCAST_SECRET_KEY=mine\nRUNCAST_ENVIRONMENT=project\nPORT=1\n")
    with running_dev(empty) as dev:
        assert secret_in(empty) == "RUNCAST_SECRET_KEY=mine"
        publish = dev.command("runcast publish")
        subprocess.run(publish, cwd=empty, env=clean_environ(), check=True, capture_output=True)
        watch = [str(RUNCAST), "watch", "run_1"]
        watching = subprocess.Popen(watch, cwd=empty, env=clean_environ(), stdout=subprocess.PIPE, text=True)
        assert watching.stdout is not None
        assert "run_1" in watching.stdout.readline()
        watching.terminate()
        watching.communicate(timeout=10)


def secret_in(directory: Path) -> str:
    first, *_ = (directory / ".runcast" / "dev.env").read_text().splitlines()
    assert first.startswith("RUNCAST_SECRET_KEY=")
    return first
