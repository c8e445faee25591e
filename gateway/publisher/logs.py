"""A job's own output as the log of its run: records of `logging`, and the lines of a process that it starts."""

from __future__ import annotations

import logging
import subprocess
import threading
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, Final

from gateway.publisher.ambient import current_run
from gateway.publisher.streams import LOG, log_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from gateway.publisher.publisher import Run

#: A longer line is cut: it would fill a screen, and a process that writes no line end would fill our memory.
MAX_LINE_BYTES: Final = 64 * 1024
_CUT: Final = " … (cut)"
#: What the publisher itself says would come back to it.
_OURS: Final = "runcast"


class RunLogHandler(logging.Handler):
    """
    Makes each record a line of the log of a run: *run*, or else the one that the code which logs belongs to.

    A record that belongs to no run is ignored. Never raises, never blocks for longer than the publisher does.

        logging.getLogger().addHandler(RunLogHandler())
    """

    def __init__(self, run: Run | None = None, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._run = run
        self._here = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        run = self._run or current_run()
        name = record.name
        if run is None or name == _OURS or name.startswith(f"{_OURS}.") or getattr(self._here, "busy", False):
            return
        self._here.busy = True  # what redis-py logs while we write is not written
        try:
            moment = datetime.fromtimestamp(record.created, UTC)
            fields = {"logger": name}
            run._append(LOG, [log_line(self.format(record), _level(record.levelno), fields, moment)])
        except Exception:
            self.handleError(record)
        finally:
            self._here.busy = False


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

    `source` is `stdout` or `stderr`. The process is not held up by Redis, for longer than the publisher may.

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
        for reader in readers:
            reader.join()
    if check and code:
        raise subprocess.CalledProcessError(code, command)
    return subprocess.CompletedProcess(command, code)


def copy_lines(run: Run, stream: str, pipe: IO[bytes], source: str) -> None:
    """Append each line of *pipe* until its end."""
    with pipe:
        while line := pipe.readline(MAX_LINE_BYTES):
            run._append(stream, [output_line(line, source)])
            while line and not line.endswith(b"\n"):  # the rest of a line that was cut
                line = pipe.readline(MAX_LINE_BYTES)


def output_line(line: bytes, source: str, moment: datetime | None = None) -> bytes:
    """A line that a process wrote, as a chunk; *moment* is when, else now."""
    whole = line.endswith(b"\n") or len(line) < MAX_LINE_BYTES
    text = line.decode(errors="replace").rstrip("\r\n") + ("" if whole else _CUT)
    fields: dict[str, Any] = {"source": source}
    return log_line(text, "error" if source == "stderr" else "info", fields, moment)
