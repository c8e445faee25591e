"""`runcast` as a person or a script runs it: a process of its own, with its output, its signals and its exit code."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import struct
import sys
import termios
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

#: More than any command takes; a hang is then a failure that says where.
PATIENCE_SECONDS: Final = 30.0
#: Rows and columns.
TERMINAL_SIZE: Final = (24, 100)
#: What a test's own surroundings must not decide.
_FOREIGN: Final = ("CI", "NO_COLOR", "FORCE_COLOR", "TERM", "COLUMNS", "PYTHONIOENCODING", "REDIS_URL", "HTTP_PROXY")


class Command:
    """A running `runcast`. What it writes can be waited for."""

    def __init__(self, process: asyncio.subprocess.Process, output: asyncio.StreamReader) -> None:
        self.process = process
        self._output = output
        self.written = ""
        self.errors = ""

    async def writes(self, text: str) -> str:
        """Wait until *text* is in its output, and return all of that so far."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while text not in self.written:
                chunk = await self._read()
                assert chunk, f"it ended without {text!r}: {self.written!r}"
        return self.written

    async def complains(self, text: str) -> str:
        """As `writes`, of its errors."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            while text not in self.errors:
                chunk = await self.process.stderr.read(4096)
                assert chunk, f"it ended without {text!r}: {self.errors!r}"
                self.errors += chunk.decode()
        return self.errors

    async def _read(self) -> str:
        try:
            chunk = (await self._output.read(4096)).decode()
        except OSError:  # how Linux says that nobody holds the other end of a pseudo-terminal any more
            chunk = ""
        self.written += chunk
        return chunk

    async def ends(self) -> tuple[int, str, str]:
        """Wait for its end: exit code, all of its output, all of its errors."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self._read():
                pass
            if self.process.stderr is not None:
                self.errors += (await self.process.stderr.read()).decode()
            return await self.process.wait(), self.written, self.errors

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)


def surroundings(directory: Path, given: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    kept = {name: value for name, value in kept.items() if not name.startswith(("RUNCAST_", "TRIGGER_"))}
    return kept | {"TZ": "UTC", "PYTHONUTF8": "1", "HOME": str(directory)} | given


@contextlib.asynccontextmanager
async def running(*arguments: str, directory: Path, **environ: str) -> AsyncIterator[Command]:
    """A `runcast` with its output in a pipe. It does not outlive the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=directory,
        env=surroundings(directory, environ),
    )
    assert process.stdout is not None
    try:
        yield Command(process, process.stdout)
    finally:
        await _end(process)


@contextlib.asynccontextmanager
async def on_a_terminal(*arguments: str, directory: Path, environ: dict[str, str]) -> AsyncIterator[Command]:
    """As `running`, but on a terminal: output and errors come together, as they are seen."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *TERMINAL_SIZE, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli", *arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=directory,
        env=surroundings(directory, {"TERM": "xterm-256color"} | environ),
    )
    os.close(theirs)
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb", 0)
    )
    try:
        yield Command(process, reader)
    finally:
        await _end(process)
        transport.close()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.communicate()


async def run(*arguments: str, directory: Path, **environ: str) -> tuple[int, str, str]:
    """Run it to its end: exit code, output, errors."""
    async with running(*arguments, directory=directory, **environ) as command:
        return await command.ends()
