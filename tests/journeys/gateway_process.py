"""A real gateway in a process of its own: started, stopped, killed, halted and restarted at will."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx2
import psutil

from auth import EnvironmentKeys, mint
from tests.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "tr_test_the_secret_of_the_journeys_0001"
ENVIRONMENT = "default"
KEYS = EnvironmentKeys.of(ENVIRONMENT, SECRET)
START_SECONDS = 60.0


def token(*scopes: str, **options: Any) -> str:
    """A public token of the environment that the gateways serve; it sees all runs unless *scopes* say otherwise."""
    return mint(scopes or ("read:runs",), KEYS, **options)


def clean_environ(**settings: str) -> dict[str, str]:
    """The environment of a child, without what may be set on this machine for a gateway or a browser of its own."""
    ours = ("RUNCAST_", "TRIGGER_", "REDIS_URL", "HOST", "PORT", "WEB_CONCURRENCY")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | settings


class GatewayProcess:
    """`runcast serve` on loopback. Keeps its port, so that viewers find it again after a restart."""

    def __init__(self, log: Path, *arguments: str, **settings: str) -> None:
        self.log = log
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._arguments = arguments
        self._settings = {"RUNCAST_SECRET_KEY": SECRET} | settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def memory(self) -> int:
        """Resident bytes."""
        rss: int = psutil.Process(self.pid).memory_info().rss
        return rss

    def start(self) -> None:
        """Start, and wait until it is ready for viewers."""
        self.spawn()
        deadline = time.monotonic() + START_SECONDS
        while self.ready()[0] != 200:
            assert self._process is not None
            assert self._process.poll() is None, f"it ended at once:\n{self.log.read_text()}"
            assert time.monotonic() < deadline, f"it was not ready in time:\n{self.log.read_text()}"
            time.sleep(0.02)

    def spawn(self) -> None:
        """Start, and wait for nothing."""
        environ = clean_environ(**self._settings | {"RUNCAST_PORT": str(self.port)})
        command = [sys.executable, "-m", "gateway.cli", "serve", *self._arguments]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, env=environ, stdout=log, stderr=subprocess.STDOUT)

    def stop(self) -> int:
        """End it by SIGTERM, and return its exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(number)
        try:
            return self._process.wait(20)
        finally:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Send it one, and wait for nothing."""
        os.kill(self.pid, number)

    async def ended(self, seconds: float = 20) -> int:
        """Wait until it has ended by itself, and return its exit status."""
        process, self._process = self._process, None
        assert process is not None
        try:
            return await asyncio.to_thread(process.wait, seconds)
        finally:
            process.kill()
            process.wait()

    def halt(self) -> None:
        """Stop its work without its knowing: a machine that swaps, a debugger, a pause of the hypervisor."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def ready(self) -> tuple[int, dict[str, Any]]:
        """Status and body of /readyz; 0 when nobody answers."""
        with contextlib.suppress(httpx2.TransportError):
            answer = httpx2.get(f"{self.url}/readyz", timeout=10, trust_env=False)
            return answer.status_code, answer.json()
        return 0, {}

    def alive(self) -> int:
        """Status of /livez."""
        return httpx2.get(f"{self.url}/livez", timeout=10, trust_env=False).status_code

    async def until_ready(self, *, status: int = 200, seconds: float = 15) -> dict[str, Any]:
        """Wait until /readyz answers with *status*, and return what it says. /livez must not mind."""
        async with asyncio.timeout(seconds):
            while True:
                found, body = await asyncio.to_thread(self.ready)
                if found == status:
                    assert await asyncio.to_thread(self.alive) == 200
                    return body
                await asyncio.sleep(0.05)


@contextlib.contextmanager
def running_gateway(log: Path, redis_url: str, *arguments: str, **settings: str) -> Iterator[GatewayProcess]:
    """A gateway for the duration of the block. Its log may not have the trace of a mistake in it."""
    gateway = GatewayProcess(log, *arguments, RUNCAST_REDIS_URL=redis_url, **settings)
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.stop()
    text = log.read_text()
    assert "Traceback" not in text, text
