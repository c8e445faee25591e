"""The processes of a measurement: servers, Redis, and objects of ours that live in a process of their own."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

import psutil
import uvloop

from benchmarks.machine import pin, pinned
from gateway.store.embedded_binary import find_binary

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
    from multiprocessing.connection import Connection

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")

PORTS = (20_000, 32_000)
START_SECONDS = 20.0
STOP_SECONDS = 5.0
POLL_SECONDS = 0.005
LOG_LINES = 12
_COMPLAINT = re.compile(r"\b(ERROR|CRITICAL)\b|^Traceback|Exception in callback|Fatal error on transport")

#: Memory has settled when it moved by less than this over so many looks in a row.
SETTLED_BYTES, SETTLED_LOOKS, LOOK_SECONDS, SETTLE_SECONDS = 128 * 1024, 10, 0.1, 15.0


class BenchmarkFailed(Exception):
    """Something the measurement stands on did not work, so there is no number."""


def free_port() -> int:
    """A port that nobody listens on, and that the system gives nobody by itself: those begin above."""
    while True:
        port = random.randrange(*PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Server:
    """A program that listens on a port of loopback. It can be killed and started again at the same port."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], port: int, core: int | None) -> None:
        self.port = port
        self._command = command
        self._environment = {**os.environ, **environment}
        self._core = core
        self._name = Path(command[0]).name if len(command) < 3 else command[2]
        self._process: subprocess.Popen[bytes] | None = None
        self._used_seconds = 0.0
        self._log = tempfile.TemporaryFile()  # what it says is shown when it fails  # noqa: SIM115

    def start(self) -> None:
        """Start it, and return when it accepts connections."""
        with pinned(self._core):
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._accepts():
            if self._process.poll() is not None:
                raise self._failed(f"ended with status {self._process.returncode}")
            if time.monotonic() > deadline:
                raise self._failed(f"did not accept connections in {START_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)

    def stop(self, *, kill: bool = False) -> None:
        """End it and wait until it is gone. Stopping twice is harmless."""
        if self._process is None:
            return
        self._used_seconds = self.cpu_seconds() if self._process.poll() is None else self._used_seconds
        started = self._tree()
        for process in started if kill else started[:1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill() if kill else process.terminate()
        _, left = psutil.wait_procs(started, STOP_SECONDS)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        self._process = None

    def cpu_seconds(self) -> float:
        """Processor time it has used so far, in user and kernel mode; when it was stopped, until then."""
        if self._process is None:
            return self._used_seconds
        return sum(cpu_seconds(process) for process in self._running())

    def cpu_seconds_of_each(self) -> list[float]:
        """The same for each of its processes, itself first."""
        return [cpu_seconds(process) for process in self._running()]

    def memory_bytes(self) -> int:
        """
        What it holds in memory (RSS).

        Pages that it has in common with others count in full: what they share comes with the interpreter, and is gone
        from a difference. PSS would move whenever some other Python on the machine starts or ends.
        """
        return sum(int(process.memory_info().rss) for process in self._running())

    def peak_memory_bytes(self) -> int:
        """The most that it has held so far; what it holds now where the system does not remember."""
        return sum(_peak_memory_bytes(process) for process in self._running())

    def settled_memory_bytes(self) -> int:
        """Its memory, once that does not move any more."""
        looks = [self.memory_bytes()]
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
            looks.append(self.memory_bytes())
            recent = looks[-SETTLED_LOOKS:]
            if len(recent) == SETTLED_LOOKS and max(recent) - min(recent) < SETTLED_BYTES:
                return looks[-1]
        raise BenchmarkFailed(f"memory did not settle in {SETTLE_SECONDS:.0f} s: {looks[-SETTLED_LOOKS:]}")

    def complaints(self) -> list[str]:
        """Whether it said of itself, so far, that something went wrong; in what words."""
        lines = [line for line in self._said() if _COMPLAINT.search(line)]
        return [f"the server logged {len(lines)} errors, the first one: {lines[0]}"] if lines else []

    def _failed(self, how: str) -> BenchmarkFailed:
        return BenchmarkFailed("\n  ".join([f"{self._name} {how}. Its last words:", *self._said()[-LOG_LINES:]]))

    def _said(self) -> list[str]:
        self._log.seek(0)
        return self._log.read().decode(errors="replace").splitlines()

    def _accepts(self) -> bool:
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", self.port)) == 0

    def _running(self) -> list[psutil.Process]:
        """
        It, and what it has started.

        Raises:
            BenchmarkFailed: When it does not run (any more).
        """
        if self._process is None or self._process.poll() is not None:
            raise self._failed("is not running")
        return self._tree()

    def _tree(self) -> list[psutil.Process]:
        if self._process is None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self._process.pid)
            return [root, *root.children(recursive=True)]
        return []


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time that a process has used so far; 0 when it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def _peak_memory_bytes(process: psutil.Process) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return int(process.memory_info().rss)


@contextlib.contextmanager
def running(server: Server, *, kill: bool = False) -> Iterator[Server]:
    """*server*, for as long as the block lasts; with *kill* it is not asked to end gently."""
    try:
        server.start()
        yield server
    finally:
        server.stop(kill=kill)


@contextlib.contextmanager
def running_redis(core: int | None) -> Iterator[tuple[Server, str]]:
    """
    A Redis of our own that keeps nothing on disk, and its version.

    It bears with subscribers who fall behind, so that it is the server that is measured and not its patience.
    """
    binary = find_binary()
    port = free_port()
    options = ("--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no", "--loglevel", "nothing")
    patience = ("--client-output-buffer-limit", "pubsub", "0", "0", "0")
    with running(Server([str(binary), *options, *patience], {}, port, core)) as redis:
        yield redis, _redis_version(binary)


def _redis_version(binary: Path) -> str:
    printed = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    match = re.match(r"(\w+) server v=(\S+)", printed)
    return f"{match[1]} {match[2]}" if match else printed.strip()


class Remote(Generic[T]):
    """
    An object that lives in a process of its own, with an event loop of its own.

    Its coroutine methods are called through `call`, one at a time; between calls its loop goes on. The process ends
    with the block, or with us.
    """

    def __init__(self, factory: Callable[[], T], core: int | None) -> None:
        spawning = multiprocessing.get_context("spawn")  # a fork would share our sockets and our heap
        self._connection, theirs = spawning.Pipe()
        self._process = spawning.Process(target=_serve, args=(theirs, factory, core), daemon=True)
        self._process.start()
        theirs.close()
        self._answer: Answer[Any] | None = None

    def cpu_seconds(self) -> float:
        """Processor time that its process has used so far."""
        return cpu_seconds(psutil.Process(self._process.pid))

    def call(self, method: Callable[Concatenate[T, P], Coroutine[Any, Any, R]], *args: P.args, **kwargs: P.kwargs) -> R:
        """
        Call a method of the object and wait for what it returns.

        Raises:
            BenchmarkFailed: With what it raised.
        """
        return self.start(method, *args, **kwargs).result()

    def start(
        self, method: Callable[Concatenate[T, P], Coroutine[Any, Any, R]], *args: P.args, **kwargs: P.kwargs
    ) -> Answer[R]:
        """Call a method of the object; what it returns can be had later, and must, before the next call."""
        if self._answer is not None:
            self._answer.forget()  # of a call that was given up
        try:
            self._connection.send((method.__name__, args, kwargs))
        except OSError as error:
            raise BenchmarkFailed(f"the process for {method.__qualname__} has ended") from error
        answer: Answer[R] = Answer(self._connection, method.__qualname__)
        self._answer = answer
        return answer

    def __enter__(self) -> Remote[T]:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()
        self._process.join(STOP_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


class Answer(Generic[R]):
    """What a method of a remote object returns."""

    def __init__(self, connection: Connection, method: str) -> None:
        self._connection = connection
        self._method = method
        self._taken = False

    def wait(self, seconds: float) -> bool:
        """Wait for it so long; say whether it is there."""
        return self._connection.poll(seconds)

    def result(self) -> R:
        """
        Wait for it, and return it.

        Raises:
            BenchmarkFailed: With what the method raised.
        """
        self._taken = True
        try:
            succeeded, result = self._connection.recv()
        except (EOFError, OSError) as error:
            raise BenchmarkFailed(f"the process that ran {self._method} ended") from error
        if not succeeded:
            raise BenchmarkFailed(f"{self._method} failed:\n{result}")
        value: R = result
        return value

    def forget(self) -> None:
        """Wait for it, unless it was had already; nobody wants it."""
        if not self._taken:
            with contextlib.suppress(BenchmarkFailed):
                self.result()


def _serve(connection: Connection, factory: Callable[[], T], core: int | None) -> None:
    pin(0, core)
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        uvloop.run(_answer(connection, factory()))


async def _answer(connection: Connection, target: object) -> None:
    loop = asyncio.get_running_loop()
    while True:
        name, args, kwargs = await loop.run_in_executor(None, connection.recv)
        try:
            answer = True, await getattr(target, name)(*args, **kwargs)
        except Exception as error:
            answer = False, "".join(traceback.format_exception(_first(error)))
        connection.send(answer)


def _first(error: BaseException) -> BaseException:
    """Of many viewers who failed in the same way, one says enough."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]
