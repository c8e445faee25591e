"""Several processes and the one that minds them, with apps that serve, fail, die and hang."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx2
import psutil
import pytest

from tests.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_SECONDS = 20.0
DRAIN_SECONDS = 16
_HOST = """
import logging, sys
from gateway.server import workers
from gateway.server.run import listen, run_workers
from gateway.settings import Settings
from tests.gateway.server import apps

logging.basicConfig(format="%(levelname)s %(message)s")
workers.SILENT_SECONDS = 3.0
settings = Settings(redis_url="redis://unused", port=int(sys.argv[2]), workers=2, drain_seconds=int(sys.argv[3]))
run_workers(getattr(apps, sys.argv[1]), settings, listen(settings))
"""


class Host:
    """A parent with two workers of one of our apps."""

    def __init__(self, app: str, log: Path) -> None:
        self.log, self.port = log, free_port()
        with log.open("wb") as output:
            command = [sys.executable, "-c", _HOST, app, str(self.port), str(DRAIN_SECONDS)]
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    @property
    def workers(self) -> list[psutil.Process]:
        """Without the helper that multiprocessing has beside them."""
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children()
            return [child for child in children if "spawn_main" in " ".join(_command_of(child))]
        return []

    def ask(self, path: str = "/", seconds: float = 5) -> int:
        """The number of the process that answered; 0 when none did."""
        with contextlib.suppress(httpx2.TransportError):
            url = f"http://127.0.0.1:{self.port}{path}"
            return int(httpx2.get(url, timeout=seconds, trust_env=False).text)
        return 0

    def until(self, holds: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            assert time.monotonic() < deadline, f"{what} did not come:\n{self.log.read_text()}"
            time.sleep(0.02)

    def until_all_serve(self) -> None:
        self.until(lambda: {self.ask() for _ in range(4)} >= {worker.pid for worker in self.workers} != set(), "both")

    def wait(self) -> int:
        return self.process.wait(PATIENCE_SECONDS)


def _command_of(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        command: list[str] = process.cmdline()
        return command
    return []


@contextlib.contextmanager
def hosting(app: str, directory: Path) -> Iterator[Host]:
    host = Host(app, directory / "log")
    try:
        yield host
    finally:
        family = host.workers
        host.process.kill()
        host.process.wait()
        _, alive = psutil.wait_procs(family, timeout=PATIENCE_SECONDS)
        assert not alive


@pytest.mark.parametrize("app", ["misconfigured_app", "failing_app", "dying_app"])
def test_what_cannot_start_is_not_tried_for_ever(tmp_path: Path, app: str) -> None:
    """When no worker ever served, the next one would not either: the parent ends, and says so once."""
    with hosting(app, tmp_path) as host:
        assert host.wait() == 1
    said = host.log.read_text()
    assert said.count("giving up") == 1
    if app != "dying_app":
        assert "a worker can't start: the planted mistake" in said
    assert ("Traceback" in said) is (app == "failing_app")  # what nobody expected is worth its trace


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    """At once; and while they keep dying, after longer and longer pauses."""
    with hosting("short_lived_app", tmp_path) as host:
        host.until(lambda: len(host.workers) == 2, "both workers")
        host.until(lambda: (host.ask(), host.log.read_text().count("is replaced"))[1] >= 4, "some deaths")
        pauses = [float(text) for text in re.findall(r"replaced in (\S+) s", host.log.read_text())]
        assert pauses[:4] == [0, 0.5, 1, 2]
        host.process.send_signal(signal.SIGTERM)
        assert host.wait() == 0


def test_a_worker_that_hangs_is_replaced(tmp_path: Path) -> None:
    """Nothing else would ever end it, and its viewers would see nothing any more."""
    with hosting("blocking_app", tmp_path) as host:
        host.until(lambda: host.ask() and len(host.workers) == 2, "both workers")
        before = {worker.pid for worker in host.workers}
        assert host.ask("/block") == 0
        host.until(lambda: len({worker.pid for worker in host.workers} - before) == 1, "another one in its place")
        host.until(host.ask, "an answer")
        assert "is killed" in host.log.read_text()
        host.process.send_signal(signal.SIGTERM)
        assert host.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("app", ["pid_app", "sleeping_app"])
def test_all_stop_together(tmp_path: Path, app: str, number: signal.Signals) -> None:
    """Whether they serve or still start; in a terminal all of them hear Ctrl-C, and that is no second signal."""
    with hosting(app, tmp_path) as host:
        host.until(lambda: len(host.workers) == 2 and (app == "sleeping_app" or host.ask()), "workers")
        family = host.workers
        for pid in [worker.pid for worker in family if number == signal.SIGINT] + [host.process.pid]:
            os.kill(pid, number)
        assert host.wait() == 0
        assert not [worker for worker in family if worker.is_running()]
    assert "Traceback" not in host.log.read_text()


def test_a_second_signal_ends_all_at_once(tmp_path: Path) -> None:
    """Somebody waits in them for an answer that does not come, and nobody wants to wait for that."""
    with hosting("pid_app", tmp_path) as host:
        host.until_all_serve()
        with socket.create_connection(("127.0.0.1", host.port)) as waiting:
            waiting.sendall(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
            began = time.monotonic()
            host.process.send_signal(signal.SIGTERM)
            host.until(lambda: len(host.workers) < 2, "the end of the idle one")
            host.process.send_signal(signal.SIGTERM)
            assert host.wait() == 0
            assert time.monotonic() - began < DRAIN_SECONDS / 2
    assert "Traceback" not in host.log.read_text()


def test_workers_do_not_outlive_their_parent(tmp_path: Path) -> None:
    """Killed, it can't tell them; they would serve on, and hold the port, for ever."""
    with hosting("pid_app", tmp_path) as host:
        host.until_all_serve()
        family = host.workers
        assert len(family) == 2
        host.process.kill()
        _, alive = psutil.wait_procs(family, timeout=PATIENCE_SECONDS)
        assert not alive
    assert host.log.read_text().count("the parent process is gone") == 2


def test_a_hangup_disturbs_nobody(tmp_path: Path) -> None:
    """SIGHUP reloads what there is to reload: the same processes go on."""
    with hosting("pid_app", tmp_path) as host:
        host.until_all_serve()
        before = {worker.pid for worker in host.workers}
        for pid in [host.process.pid, *before]:
            os.kill(pid, signal.SIGHUP)
        assert host.ask() in before
        host.process.send_signal(signal.SIGTERM)
        assert host.wait() == 0
        assert "replaced" not in host.log.read_text()
