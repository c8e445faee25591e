"""
A Redis server of our own, for when no URL is given: a real one, that other processes can reach.

It listens on loopback with a generated password, keeps its data in a private directory, and ends
with the gateway that started it, even when that one is killed. The directory tells the workers and
the other gateways of this machine where it is (`read_url_file`).

    embedded.py             starts it, or finds the one that runs; stops it
    embedded_binary.py      which program to start
    embedded_directory.py   its files and locks, and who may believe them
    embedded_launcher.py    between fork and exec: ties its life to its owner's
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.errors import GatewayError
from gateway.store import embedded_launcher as launcher
from gateway.store.embedded_binary import NoServerBinary, check_binary, find_binary
from gateway.store.embedded_directory import (
    HOST,
    Endpoint,
    StateDirectory,
    UnsafeStateDirectory,
    read_url_file,
    state_directory,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = [
    "EmbeddedServer",
    "EmbeddedServerFailed",
    "NoServerBinary",
    "UnsafeStateDirectory",
    "embedded_server",
    "read_url_file",
    "state_directory",
]

#: A server answers after 20 ms or so; a machine that is busy starting everything else takes longer.
START_SECONDS = 5.0
#: One that answers "loading" does well, and is only reading its data: at most 256 MB of it.
LOADING_SECONDS = 60.0
#: On SIGTERM it writes what it hasn't written yet, which is at most a second's worth.
STOP_SECONDS = 5.0
POLL_SECONDS = 0.01

#: Another process can take the port between our look and the server's bind; hardly three times.
PORT_ATTEMPTS = 3

# "aof-use-rdb-preamble no": snapshots have a format per version, commands don't, so the same
# directory opens with Valkey 9 today and with the system's Redis 7 tomorrow. And "save" is off
# because the append-only file is all there needs to be.
CONFIGURATION = """\
bind {host}
port {port}
requirepass {password}
daemonize no
appendonly yes
appendfsync everysec
aof-use-rdb-preamble no
save ""
maxmemory 256mb
maxmemory-policy noeviction
"""


class EmbeddedServerFailed(GatewayError):
    """The server was started and didn't come to answer, or somebody else's in the directory didn't."""

    code = "embedded_server_failed"

    def __init__(self, problem: str, *, log: Path, last_lines: Sequence[str]) -> None:
        said = "".join(f"\n  {line}" for line in last_lines) or " (nothing)"
        super().__init__(f"the embedded Redis {problem}. The last lines of {log}:{said}")
        self.problem, self.log, self.last_lines = problem, log, tuple(last_lines)


class EmbeddedServer:
    """
    A server that answers: ours to stop, or shared with the gateway that started it.

    A shared one ends with its owner. Whoever starts the next in the same directory brings it back
    with its data at the same URL, as long as nobody else took the port.
    """

    def __init__(self, url: str, pid: int, ownership: _Ownership | None = None) -> None:
        self.url = url
        self.pid = pid
        self._ownership = ownership

    @property
    def owned(self) -> bool:
        """Whether `stop` ends it."""
        return self._ownership is not None

    def stop(self) -> None:
        """
        End the server if it is ours, and wait until it is gone. Its data stays in the directory.

        Stopping twice is harmless, and so is stopping a shared one or in a fork of the owner.
        """
        if self._ownership is not None:
            self._ownership.end()

    def __repr__(self) -> str:  # without the URL, which has the password in it
        return f"<EmbeddedServer pid={self.pid} owned={self.owned}>"


@contextmanager
def embedded_server(state_dir: Path, *, binary: Path | None = None) -> Iterator[EmbeddedServer]:
    """
    The server of *state_dir* for the duration of the block: the one that runs there, or a new one.

    Of several processes that ask at the same time one starts it, and all get its URL. Blocks until
    it answers, so call it before there is an event loop. Call it on the main thread: from another
    one it works too, at the price of a second process that watches us.

    Raises:
        NoServerBinary: When one must be started and there is none to start.
        UnsafeStateDirectory: When the directory can't be kept private.
        EmbeddedServerFailed: When it doesn't answer in time; with the end of its log.
    """
    directory = StateDirectory(state_dir)
    directory.prepare()
    server = _join_or_start(directory, binary)
    try:
        yield server
    finally:
        server.stop()


def _join_or_start(directory: StateDirectory, binary: Path | None) -> EmbeddedServer:
    wait = _Wait()
    while True:
        lock = directory.try_lock()
        if lock is not None:
            try:
                return _start(directory, lock, check_binary(binary) if binary else find_binary())
            finally:
                os.close(lock)  # from here on it is the server that holds it
        # A server without an owner is about to end, so it is not joined but waited for.
        endpoint = directory.published()
        if endpoint and (pid := wait.ask(endpoint)):
            return EmbeddedServer(endpoint.url, pid)
        if wait.is_over():
            raise _failed(directory, f"that runs already did not answer within {wait.seconds:.0f} s")
        time.sleep(POLL_SECONDS)


def _start(directory: StateDirectory, lock: int, binary: Path) -> EmbeddedServer:
    endpoint = directory.last_published()
    for attempt in range(1, PORT_ATTEMPTS + 1):
        if endpoint is None or not endpoint.is_free():
            # The password goes with the port: workers may have sent it to whoever listens there now.
            endpoint = Endpoint.choose()
        try:
            return _start_at(endpoint, directory, lock, binary)
        except EmbeddedServerFailed:
            if attempt == PORT_ATTEMPTS or endpoint.is_free():  # then the port was not the reason
                raise
    raise AssertionError("the last attempt returned or raised")


def _start_at(endpoint: Endpoint, directory: StateDirectory, lock: int, binary: Path) -> EmbeddedServer:
    directory.start_log()
    ownership = _spawn(endpoint, directory, lock, binary)
    try:
        ownership.url_file = directory.publish(endpoint)
        pid = _wait_until_it_answers(endpoint, directory, ownership.process)
    except BaseException:
        ownership.end()
        raise
    return EmbeddedServer(endpoint.url, pid, ownership)


def _wait_until_it_answers(endpoint: Endpoint, directory: StateDirectory, process: subprocess.Popen[bytes]) -> int:
    wait = _Wait()
    while not (pid := wait.ask(endpoint)):
        if process.poll() is not None:
            raise _failed(directory, f"ended with status {process.returncode} instead of starting")
        if wait.is_over():
            raise _failed(directory, f"did not answer within {wait.seconds:.0f} s")
        time.sleep(POLL_SECONDS)
    return pid


class _Wait:
    """Asks a server until it answers, and knows when that has taken too long."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = START_SECONDS
        self._clock = clock
        self._began = clock()

    def ask(self, endpoint: Endpoint) -> int | None:
        """The pid that the server at *endpoint* tells whoever has its password, or None if not yet."""
        connection = redis.Redis.from_url(
            endpoint.url, socket_connect_timeout=0.5, socket_timeout=1.0, retry=Retry(NoBackoff(), 0)
        )
        with closing(connection):
            try:
                connection.ping()
                return int(connection.info("server")["process_id"])
            except redis.exceptions.BusyLoadingError:
                self.seconds = LOADING_SECONDS
            except redis.exceptions.RedisError:
                pass
        return None

    def is_over(self) -> bool:
        return self._clock() - self._began > self.seconds


class _Ownership:
    """What the owner of a server holds: its process, the end of its leash, and the lock on its URL."""

    def __init__(self, process: subprocess.Popen[bytes], leash: int) -> None:
        self.process = process
        self.url_file: int | None = None
        self._leash = leash
        self._owner_pid = os.getpid()
        self._ended = False

    def end(self) -> None:
        if self._ended or os.getpid() != self._owner_pid:
            return  # a fork has copies of what we hold, but the server is not its child
        self._ended = True
        # The URL first: nobody should join a server that is about to end.
        if self.url_file is not None:
            os.close(self.url_file)
        try:
            self._terminate()
        finally:
            os.close(self._leash)

    def _terminate(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except BaseException as error:
            self.process.kill()
            self.process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise


def _spawn(endpoint: Endpoint, directory: StateDirectory, lock: int, binary: Path) -> _Ownership:
    leash_end, leash = os.pipe()
    configuration = _pipe_with(_configuration(endpoint))
    try:
        with directory.log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our launcher, and a binary that was checked
                # "-": the configuration comes on stdin, so the password is in no file and no argv.
                [*_launcher(leash_end), str(binary), "-"],
                stdin=configuration,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=directory.path,  # where a server without "dir" and "logfile" puts its data
                pass_fds=(lock, leash_end),
                # Ctrl-C in a terminal goes to a whole group. The gateway drains first, then stops us.
                start_new_session=True,
            )
    except BaseException:
        os.close(leash)
        raise
    finally:
        os.close(leash_end)
        os.close(configuration)
    return _Ownership(process, leash)


def _launcher(leash_end: int) -> list[str]:
    # The kernel's signal comes when the *thread* that forked ends, and only the main one lasts.
    lasting = threading.current_thread() is threading.main_thread()
    by_kernel = sys.platform == "linux" and lasting
    mode = launcher.PARENT_DEATH_SIGNAL if by_kernel else launcher.WATCHER
    program = str(Path(launcher.__file__).resolve())
    # -I -S: it needs the standard library only, and starts in half the time without the rest.
    return [sys.executable, "-I", "-S", program, mode, str(os.getpid()), str(leash_end)]


def _configuration(endpoint: Endpoint) -> str:
    return CONFIGURATION.format(host=HOST, port=endpoint.port, password=endpoint.password)


def _pipe_with(text: str) -> int:
    """The read end of a pipe with *text* in it, which has to be shorter than a pipe's buffer (4 KB)."""
    read_end, write_end = os.pipe()
    os.write(write_end, text.encode())
    os.close(write_end)
    return read_end


def _failed(directory: StateDirectory, problem: str) -> EmbeddedServerFailed:
    return EmbeddedServerFailed(problem, log=directory.log, last_lines=directory.last_log_lines())
