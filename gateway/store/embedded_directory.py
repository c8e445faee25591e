"""
The private directory of an embedded server: its data, who uses it, and the URL that others read.

    redis.lock      locked (flock) by the server process itself: the data is in use
    redis.url       the URL; locked by the gateway that owns the server: it is being kept running
    redis.log       what the server said; redis.log.old is from the start before
    appendonlydir/  the data

Locks go away with the process that holds them, however it ends, so nothing here can be stale: a
file that a dead owner left is a file without a lock. Pids, which get reused, are never compared.
"""

from __future__ import annotations

import fcntl
import os
import random
import re
import secrets
import socket
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Mapping

STATE_DIRECTORY_VARIABLE = "RUNCAST_STATE_DIR"
DEFAULT_STATE_DIRECTORY = ".runcast"

HOST = "127.0.0.1"

#: Below the ports that Linux (32768 and up) and macOS (49152 and up) give to outgoing connections,
#: so that our port is still free when the server comes back to it.
PORTS = range(20_000, 32_000)

#: Ours has about 90 characters. Whatever is longer was not written by us.
URL_FILE_LIMIT_BYTES = 512

_URL = re.compile(rf"redis://:([0-9a-f]{{64}})@{re.escape(HOST)}:(\d{{1,5}})/0\n?")


class UnsafeStateDirectory(GatewayError):
    """The state directory can't be kept private: it is another user's, or open to others and in use."""

    code = "unsafe_state_directory"

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(
            f"{path} can't hold the password and the data of the embedded Redis: {problem}. "
            f"{STATE_DIRECTORY_VARIABLE} names another directory"
        )
        self.path, self.problem = path, problem


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an embedded server listens, and the password that proves it is that server."""

    port: int
    password: str = field(repr=False)

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    @classmethod
    def choose(cls) -> Endpoint:
        """A new one, on a port that is free now; another process may still be faster."""
        ports = random.sample(PORTS, 100)
        return cls(next(filter(_is_free, ports), 0) or _any_free_port(), secrets.token_hex(32))

    @classmethod
    def parse(cls, text: str) -> Endpoint | None:
        match = _URL.fullmatch(text)
        return cls(int(match[2]), match[1]) if match and 0 < int(match[2]) < 65_536 else None

    def is_free(self) -> bool:
        """Whether nobody listens on the port."""
        return _is_free(self.port)


class StateDirectory:
    """A directory of mode 0700 that holds one embedded server's data, log and URL."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.log = self.path / "redis.log"
        self._lock = self.path / "redis.lock"
        self._url = self.path / "redis.url"

    def prepare(self) -> None:
        """
        Create the directory if it is missing, and see to it that it is private.

        A directory with something in it that others may look into is refused, not changed: it may be
        a home directory, or /tmp.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = self.path.stat()
        if status.st_uid != os.geteuid():
            raise UnsafeStateDirectory(self.path, f"it belongs to the user with id {status.st_uid}")
        if stat.S_IMODE(status.st_mode) & 0o077:
            if any(self.path.iterdir()):
                raise UnsafeStateDirectory(self.path, f"others may look into it (chmod 700 '{self.path}')")
            self.path.chmod(0o700)
        # It lies in the user's project by default, and must not end up in their repository.
        (self.path / ".gitignore").write_text("*\n")

    def try_lock(self) -> int | None:
        """
        A descriptor that reserves the data, or None when a server has it.

        The lock belongs to every process that inherits the descriptor, until the last one closes it.
        """
        lock = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        except BaseException:
            os.close(lock)
            raise
        return lock

    def publish(self, endpoint: Endpoint) -> int:
        """
        Tell others the URL, for as long as the descriptor that comes back is open in this process.

        They see the whole file (mode 0600) or the one before, and never ours without its lock.
        """
        url_file, new_path = tempfile.mkstemp(dir=self.path, prefix="redis.url.")
        try:
            os.write(url_file, f"{endpoint.url}\n".encode())
            fcntl.flock(url_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.replace(new_path, self._url)
        except BaseException:
            os.close(url_file)
            os.unlink(new_path)
            raise
        return url_file

    def published(self) -> Endpoint | None:
        """What a living owner has published, or None."""
        endpoint, has_owner = self._read_url()
        return endpoint if has_owner else None

    def last_published(self) -> Endpoint | None:
        """What was published last, by an owner that may be gone."""
        return self._read_url()[0]

    def start_log(self) -> None:
        """Put the log of the start before aside, so that two are kept and no more."""
        if self.log.exists():
            self.log.replace(self.log.with_name("redis.log.old"))

    def last_log_lines(self, count: int = 10) -> list[str]:
        """The end of the log, or nothing when there is none."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - 8192))
                return log.read().decode(errors="replace").splitlines()[-count:]
        except OSError:
            return []

    def _read_url(self) -> tuple[Endpoint | None, bool]:
        try:
            # Without O_NONBLOCK, opening a FIFO that somebody put there would wait for a writer.
            url_file = os.open(self._url, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None, False
        try:
            status = os.fstat(url_file)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                return None, False  # another user could send us, and what we publish, anywhere
            text = os.read(url_file, URL_FILE_LIMIT_BYTES).decode("ascii", errors="replace")
            return Endpoint.parse(text), _is_locked(url_file)
        finally:
            os.close(url_file)


def state_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the embedded server of this directory or machine lives: RUNCAST_STATE_DIR, else .runcast here."""
    return Path(environ.get(STATE_DIRECTORY_VARIABLE) or DEFAULT_STATE_DIRECTORY).absolute()


def read_url_file(state_dir: Path) -> str | None:
    """
    The URL of the server that a living gateway of ours keeps in *state_dir*, or None.

    It costs reading one small file, and opens no connection: the server may be starting still, or
    may have crashed under its owner, so the first command can fail. What a dead gateway left, what
    another user wrote and what isn't a loopback URL of ours count as None. It never raises.
    """
    endpoint = StateDirectory(state_dir).published()
    return endpoint.url if endpoint else None


def _is_locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # let go when the caller closes the file
    except BlockingIOError:
        return True
    return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the server does, so that connections which ended a moment ago don't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _any_free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
