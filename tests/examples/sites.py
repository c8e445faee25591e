"""The examples of docs/frameworks.md, each started by the command that stands there."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx2

from tests.journeys.gateway_process import ENVIRONMENT, SECRET, START_SECONDS, clean_environ
from tests.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "frameworks.md"


@dataclass(frozen=True)
class Example:
    """One directory of examples/."""

    name: str
    #: How its command is told the port.
    port_option: str = "--port {}"

    @property
    def command(self) -> str:
        """What the docs say to type, once everything is installed."""
        shown = re.search(rf"```sh\n(?:.*\n)*?(env .*examples/{self.name}\b.*)\n```", PAGE.read_text(encoding="utf-8"))
        assert shown, f"{PAGE.name} does not say how to start examples/{self.name}"
        return shown[1]


class Site:
    """The example as a process, in a directory where `runcast dev` was started."""

    def __init__(self, example: Example, directory: Path) -> None:
        self.example = example
        self.directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = directory / f"{example.name}.log"

    @contextlib.contextmanager
    def running(self, redis_url: str) -> Iterator[None]:
        """For as long as the block lasts. In its log nothing may have gone wrong."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environ = clean_environ(
            PATH=path, PYTHONPATH=str(ROOT), RUNCAST_REDIS_URL=redis_url, TMPDIR=str(self.directory)
        )
        command = f"{self.example.command} {self.example.port_option.format(self.port)}"
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                ["sh", "-c", command],
                cwd=self.directory,
                env=environ,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)
        assert "Traceback" not in self.log.read_text(), self.log.read_text()

    def wait(self) -> None:
        """Return when it answers."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(httpx2.TransportError):
                assert httpx2.get(self.url, timeout=10, trust_env=False).status_code == 200
                return
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)


@contextlib.contextmanager
def running_sites(sites: Sequence[Site], gateway_url: str, redis_url: str) -> Iterator[None]:
    """All of them, with what `runcast dev` would have left for them."""
    for directory in {site.directory for site in sites}:
        left = directory / ".runcast" / "dev.env"
        left.parent.mkdir()
        left.write_text(f"RUNCAST_SECRET_KEY={SECRET}\nRUNCAST_ENVIRONMENT={ENVIRONMENT}\nRUNCAST_URL={gateway_url}\n")
    with contextlib.ExitStack() as running:
        for site in sites:
            running.enter_context(site.running(redis_url))
        for site in sites:
            site.wait()
        yield
