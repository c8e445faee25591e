"""A job's own output as the log of its run: records of `logging`, and the lines of a process that it starts."""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, Final

from gateway.errors import TooLarge
from gateway.publisher.ambient import current_run
from gateway.publisher.sender import THREAD_NAME
from gateway.publisher.sending import log
from gateway.publisher.streams import LOG, log_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from gateway.publisher.publisher import Run

#: A longer line is cut: it would fill a screen, and a process that writes no line end would fill our memory.
MAX_LINE_BYTES: Final = 64 * 1024
_CUT: Final = " … (cut)"
#: What the publisher says, and what its client says of each command, would come back to it for ever.
_OURS: Final = ("runcast", "redis")
#: After a process has ended: how long we wait for what it left in its pipes. A child of it may keep them open for days.
_LAST_WORDS_SECONDS: Final = 2.0


class RunLogHandler(logging.Handler):
    """
    Makes each record a line of the log of a run: *run*, or else the one that the code which logs belongs to.

    A record that belongs to no run is ignored. Never raises, never blocks for longer than the publisher does. What a
    signal handler logs while its thread is writing is written afterwards.

        logging.getLogger().addHandler(RunLogHandler())
    """

    def __init__(self, run: Run | None = None, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._run = run

    def emit(self, record: logging.LogRecord) -> None:
        run = self._run or current_run()
        if run is None or record.name.partition(".")[0] in _OURS or record.threadName == THREAD_NAME:
            return
        try:
            moment = datetime.fromtimestamp(record.created, UTC)
            fields = {"logger": record.name}
            run._append(LOG, [log_line(self.format(record), _level(record.levelno), fields, moment)])
        except Exception:
            self.handleError(record)


def _level(number: int) -> str:
    names = ((50, "critical"), (40, "error"), (30, "warning"), (20, "info"))
    return next((name for least, name in names if number >= least), "debug")


def run_process(
    run: Run,
    command: Sequence[str | PathLike[str]],
    *,
    stream: str = LOG,
    cwd: str | PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    check: bool = False,
) -> subprocess.CompletedProcess[None]:
    """
    Run *command*, with each line that it writes as a chunk of *stream*: `{"time", "level", "message", "source"}`.

    `source` is `stdout` or `stderr`. The process is not held up by Redis, for longer than the publisher may. Returns
    soon after it has ended, even when processes that it started go on: what these still write is written, too.

    Args:
        timeout: Seconds, after which the process is killed.
        check: Whether an exit code other than 0 raises.

    Raises:
        subprocess.TimeoutExpired, subprocess.CalledProcessError: As `subprocess.run`.
        OSError: When the command can't be started.
    """
    process = subprocess.Popen(  # noqa: S603 - the command is the caller's
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=cwd, env=env
    )
    readers = [
        threading.Thread(target=copy_lines, args=(run, stream, pipe, source), name=f"runcast {source}", daemon=True)
        for pipe, source in ((process.stdout, "stdout"), (process.stderr, "stderr"))
    ]
    for reader in readers:
        reader.start()
    try:
        code = process.wait(timeout)
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        deadline = time.monotonic() + _LAST_WORDS_SECONDS
        for reader in readers:
            reader.join(max(0.0, deadline - time.monotonic()))
    if check and code:
        raise subprocess.CalledProcessError(code, command)
    return subprocess.CompletedProcess(command, code)


def copy_lines(run: Run, stream: str, pipe: IO[bytes], source: str) -> None:
    """Append each line of *pipe* until its end. Whatever becomes of a line, the pipe is read: somebody writes."""
    with pipe:
        while line := pipe.readline(MAX_LINE_BYTES):
            try:
                _append_line(run, stream, line, source)
            except Exception as error:
                log.warning("run %s: a line of its process was dropped: %s", run.id, error)
            while line and not line.endswith(b"\n"):  # the rest of a line that was cut
                line = pipe.readline(MAX_LINE_BYTES)


def _append_line(run: Run, stream: str, line: bytes, source: str) -> None:
    try:
        run._append(stream, [output_line(line, source)])
    except TooLarge as error:  # chunks may be smaller here than lines are
        run._append(stream, [fitting_line(line, source, error.limit)])


def fitting_line(line: bytes, source: str, limit: int, moment: datetime | None = None) -> bytes:
    """As `output_line`, cut so that the chunk has no more bytes than *limit*."""
    whole = output_line(line, source, moment)
    # Six bytes are the most that one becomes.
    return whole if len(whole) <= limit else output_line(line[: limit // 8], source, moment, cut=True)


def output_line(line: bytes, source: str, moment: datetime | None = None, *, cut: bool = False) -> bytes:
    """A line that a process wrote, as a chunk; *moment* is when, else now. A line as long as may be is *cut*."""
    cut = cut or (len(line) >= MAX_LINE_BYTES and not line.endswith(b"\n"))
    text = line.decode(errors="replace").rstrip("\r\n") + (_CUT if cut else "")
    fields: dict[str, Any] = {"source": source}
    return log_line(text, "error" if source == "stderr" else "info", fields, moment)
