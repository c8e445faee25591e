"""
What a command writes, on its two ways: to the terminal at once, and as lines to the log of its run.

The command never waits for Redis. What Redis can't take fast enough is kept up to a bound, and beyond that left out,
which the log says.
"""

from __future__ import annotations

import os
import select
import selectors
import threading
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from gateway.errors import TooLarge
from gateway.publisher.logs import MAX_LINE_BYTES, fitting_line
from gateway.publisher.streams import LOG, log_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.changes import Outcome

_PIECE_BYTES: Final = 64 * 1024
#: About 200,000 lines: a burst. A command that goes on as fast as it can is faster than any store.
MAX_WAITING_BYTES: Final = 32 * 1024 * 1024
#: Lines that go out together.
_BATCH: Final = 500
#: What a line takes beside its bytes, about.
_LINE_COSTS: Final = 150
#: In place of a source: how many lines are missing here.
_GAP: Final = "gap"


class LogWriter(Protocol):
    """What is needed of a `Run`."""

    def _append(self, stream: str, chunks: list[bytes]) -> Outcome: ...


class Lines:
    """Bytes in, whole lines out. A line that is too long is cut: one without an end would fill our memory."""

    def __init__(self) -> None:
        self._rest = b""
        self._cut = False

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are whole now, each with its end."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        lines = [line + b"\n" for line in whole]
        if lines and self._cut:  # the rest of one that was cut
            del lines[0]
            self._cut = False
        if lines and len(lines[0]) > MAX_LINE_BYTES:  # the others are within one piece
            lines[0] = lines[0][:MAX_LINE_BYTES]
        if self._cut:
            self._rest = b""
        elif len(self._rest) >= MAX_LINE_BYTES:
            lines.append(self._rest[:MAX_LINE_BYTES])
            self._rest, self._cut = b"", True
        return lines

    def end(self) -> list[bytes]:
        """What came after the last line end."""
        rest, self._rest = self._rest, b""
        return [rest] if rest and not self._cut else []


class LogSender:
    """Writes lines to the log of a run, in a thread of its own and in order."""

    def __init__(self, run: LogWriter, *, most_bytes: int = MAX_WAITING_BYTES) -> None:
        self._run = run
        self._most = most_bytes
        #: Lines with what they are of and when they came.
        self._waiting: deque[tuple[bytes, str, datetime]] = deque()
        self._bytes = 0
        self._left_out = 0
        self._ended = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._send, name="runcast log", daemon=True)
        #: Lines that did not go to the publisher, since there were too many.
        self.dropped = 0
        self._thread.start()

    def put(self, lines: list[bytes], source: str) -> None:
        """Take lines. Never waits."""
        now = datetime.now(UTC)
        with self._news:
            for index, line in enumerate(lines):
                if self._bytes >= self._most:
                    self._left_out += len(lines) - index
                    self.dropped += len(lines) - index
                    break
                self._mark_gap(now)
                self._waiting.append((line, source, now))
                self._bytes += len(line) + _LINE_COSTS
            self._news.notify()

    def _mark_gap(self, now: datetime) -> None:
        if self._left_out:
            self._waiting.append((b"%d" % self._left_out, _GAP, now))
            self._left_out = 0

    def end(self, patience: float) -> None:
        """No line comes any more. Waits until all are handed on; no longer than *patience* seconds for any of them."""
        with self._news:
            self._mark_gap(datetime.now(UTC))
            self._ended = True
            self._news.notify()
        left = len(self._waiting) + 1
        while self._thread.is_alive() and len(self._waiting) < left:
            left = len(self._waiting)
            self._thread.join(patience)
        self.dropped += len(self._waiting)

    def _send(self) -> None:
        while batch := self._take():
            try:
                self._run._append(LOG, [_chunk(*entry) for entry in batch])
            except TooLarge as error:  # chunks may be smaller here than lines are
                self._run._append(LOG, [_chunk(*entry, limit=error.limit) for entry in batch])

    def _take(self) -> list[tuple[bytes, str, datetime]]:
        with self._news:
            while not self._waiting and not self._ended:
                self._news.wait()
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            self._bytes -= sum(len(line) + _LINE_COSTS for line, source, _ in batch if source != _GAP)
            return batch


def _chunk(line: bytes, source: str, moment: datetime, *, limit: int = MAX_LINE_BYTES * 8) -> bytes:
    if source != _GAP:
        return fitting_line(line, source, limit, moment)
    text = f"… {line.decode()} lines were left out: they came faster than they could be stored"
    return log_line(text, "warning", {}, moment)


class Relay:
    """Reads the pipes of a command until their end, in a thread of its own."""

    def __init__(self, pipes: Mapping[int, str], log: LogSender, *, terminals: Mapping[str, int]) -> None:
        """
        Args:
            pipes: File descriptor → what it is: stdout or stderr.
            terminals: What it is → the descriptor on which it is shown. What is not there is not shown.
        """
        self._pipes = dict(pipes)
        self._log = log
        self._terminals = dict(terminals)
        self._lines = {source: Lines() for source in pipes.values()}
        #: The last that was complained.
        self.last_error = b""
        self._thread = threading.Thread(target=self._relay, name="runcast output", daemon=True)
        self._thread.start()

    def end(self, timeout: float) -> None:
        """Wait for the pipes' end. A grandchild may hold them open for ever; so *timeout* seconds at most."""
        self._thread.join(timeout)

    def _relay(self) -> None:
        with selectors.DefaultSelector() as selector:
            for descriptor in self._pipes:
                selector.register(descriptor, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select():
                    if not self._pass_on(key.fd, self._pipes[key.fd]):
                        selector.unregister(key.fd)
                        os.close(key.fd)

    def _pass_on(self, descriptor: int, source: str) -> bool:
        """One piece, whether there may be more."""
        data = os.read(descriptor, _PIECE_BYTES)
        self._show(data, source)
        lines = self._lines[source].feed(data) if data else self._lines[source].end()
        if lines:
            self._log.put(lines, source)
        if source == "stderr":
            self.last_error = next((line for line in reversed(lines) if line.strip()), self.last_error)
        return bool(data)

    def _show(self, data: bytes, source: str) -> None:
        terminal = self._terminals.get(source)
        while data and terminal is not None:
            try:
                data = data[os.write(terminal, data) :]
            except BlockingIOError:
                select.select([], [terminal], [])
            except OSError:
                # Whoever looked on has gone. The job goes on, as one whose output nobody reads does not.
                del self._terminals[source]
                return
