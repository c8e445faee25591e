"""
Several processes that serve viewers on one port, and the one that minds them: it starts, replaces, reloads and stops
them, and serves nobody itself.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
import socket
import time
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, Final

from gateway.server.worker import DRAIN, DRAIN_QUICKLY, DRAINING, END, RELOAD, STARTED, work

if TYPE_CHECKING:
    from collections.abc import Iterator

    import uvicorn

    from gateway.settings import Settings

_log = logging.getLogger("runcast.server")
#: New processes, not forks: nothing of the parent's state or threads is in them.
_spawn = multiprocessing.get_context("spawn")

#: A worker whose loop did not turn for so long does nothing for its viewers, and they should come back to another one.
SILENT_SECONDS: Final = 30.0
#: Pauses before a worker is replaced, while they keep dying: at once at first, then longer and longer.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 30.0
#: A worker that lived so long died of something else than the one before it.
_STABLE_SECONDS: Final = 60.0
#: What workers get beyond their drain time, which they keep themselves.
_GRACE_SECONDS: Final = 2.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WORDS: Final = 4096


class _Worker:
    """One process, as its parent sees it."""

    def __init__(self, config: uvicorn.Config, drain_seconds: float, listening: list[socket.socket]) -> None:
        self.ear, its_ear = socket.socketpair()
        self.process = _spawn.Process(target=work, args=(config, drain_seconds, listening, its_ear))
        with _for_us_only(signal.SIGINT, signal.SIGHUP):
            self.process.start()
        its_ear.close()
        self.ear.setblocking(False)
        self.began = self.heard_at = time.monotonic()
        self.started = self._draining = False

    @property
    def pid(self) -> int | None:
        return self.process.pid

    def hear(self) -> None:
        with contextlib.suppress(OSError):
            words = self.ear.recv(_WORDS)
            self.started |= STARTED in words
            self._draining |= DRAINING in words
            self.heard_at = time.monotonic()

    def say(self, word: bytes) -> None:
        with contextlib.suppress(OSError):  # it has ended; its parent will notice
            self.ear.send(word)

    def stop(self, word: bytes) -> None:
        if self.started:
            self.say(word)
        else:
            self.process.terminate()  # nobody is with it, and nobody listens in it yet

    def is_silent(self, now: float) -> bool:
        return self.started and not self._draining and now - self.heard_at > SILENT_SECONDS

    def close(self) -> None:
        """After its end."""
        self.process.join()
        self.ear.close()


class Supervisor:
    """
    Minds `settings.workers` workers, in the main thread.

    SIGTERM drains all of them, SIGINT does so quickly, a second one of these ends them at once; SIGHUP reloads keys and
    origins in each of them.
    """

    def __init__(self, config: uvicorn.Config, settings: Settings, listening: list[socket.socket]) -> None:
        self._config = config
        self._settings = settings
        self._listening = listening
        self._workers: list[_Worker] = []
        #: When workers are started that replace others (monotonic seconds).
        self._due: list[float] = []
        self._deaths = 0
        self._last_death = 0.0
        self._any_started = False
        self._status = 0
        #: When those that have not ended are killed; None while we serve.
        self._deadline: float | None = None

    def run(self) -> int:
        """Work until told to stop, and return the exit status."""
        with _heard_signals() as signals:
            for _ in range(self._settings.workers):
                self._start()
            while self._workers or self._due:
                self._wait(signals)
                for worker in list(self._workers):
                    worker.hear()
                    self._any_started |= worker.started
                    if not worker.process.is_alive():
                        self._ended(worker)
                for number in _read(signals):
                    self._signalled(number)
                self._look_at_the_clock()
        return self._status

    def _start(self) -> None:
        self._workers.append(_Worker(self._config, self._settings.drain_seconds, self._listening))

    def _wait(self, signals: socket.socket) -> None:
        """Until a signal, a word or the end of a worker; or a second, for the clock."""
        things: list[Any] = [signals]
        for worker in self._workers:
            things += [worker.process.sentinel, worker.ear]
        wait(things, timeout=self._seconds_to_wait())

    def _seconds_to_wait(self) -> float:
        now = time.monotonic()
        return max(0.0, min([1.0, *(due - now for due in self._due)]))

    def _signalled(self, number: int) -> None:
        if number == signal.SIGHUP:
            remember = getattr(self._config.app, "remember", None)
            if remember is not None:
                remember()  # for workers that are sent the app later
            for worker in self._workers:
                worker.say(RELOAD)
        elif self._deadline is None:
            self._stop(DRAIN_QUICKLY if number == signal.SIGINT else DRAIN, self._settings.drain_seconds)
        else:
            self._stop(END, 0.0)

    def _stop(self, word: bytes, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds + _GRACE_SECONDS
        self._due.clear()
        for listening in self._listening:
            listening.close()  # else new viewers would wait in it for as long as the last worker drains
        for worker in self._workers:
            worker.stop(word)

    def _ended(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.close()
        if self._deadline is not None:
            return
        status = worker.process.exitcode
        if not self._any_started:
            # What is wrong for the first is wrong for every other: the settings, or what they name.
            _log.critical("a worker ended with status %s before it served anybody: giving up", status)
            self._status = 1
            self._stop(END, 0.0)
            return
        pause = self._pause(worker)
        _log.error("worker %s ended with status %s; it is replaced in %g s", worker.pid, status, pause)
        self._due.append(time.monotonic() + pause)

    def _pause(self, worker: _Worker) -> float:
        now = time.monotonic()
        quick = now - worker.began < _STABLE_SECONDS and now - self._last_death < _STABLE_SECONDS
        self._deaths = self._deaths + 1 if quick else 0
        self._last_death = now
        return min(_FIRST_PAUSE_SECONDS * 2 ** (self._deaths - 1), _LONGEST_PAUSE_SECONDS) if self._deaths else 0.0

    def _look_at_the_clock(self) -> None:
        now = time.monotonic()
        for due in [due for due in self._due if due <= now]:
            self._due.remove(due)
            self._start()
        for worker in self._workers:
            if worker.is_silent(now):
                _log.error("worker %s has done nothing for %g s and is killed", worker.pid, SILENT_SECONDS)
                worker.process.kill()
            elif self._deadline is not None and now > self._deadline:
                _log.error("worker %s did not end in time and is killed", worker.pid)
                worker.process.kill()
                self._status = 1


@contextlib.contextmanager
def _for_us_only(*numbers: signal.Signals) -> Iterator[None]:
    """
    What is started within the block never hears these signals; those that come for us meanwhile wait.

    A terminal sends them to everybody in it, and what they mean for workers is for us to say.
    """
    resource_tracker.ensure_running()  # which would be started in there, and let all signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _heard_signals() -> Iterator[socket.socket]:
    """A socket in which the numbers of our signals come, in their order, for the duration of the block."""
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    before = {number: signal.signal(number, lambda number, frame: None) for number in _SIGNALS}
    wakeup = signal.set_wakeup_fd(far.fileno(), warn_on_full_buffer=False)
    try:
        yield near
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        near.close()
        far.close()


def _read(signals: socket.socket) -> bytes:
    try:
        return signals.recv(_WORDS)
    except BlockingIOError:
        return b""
