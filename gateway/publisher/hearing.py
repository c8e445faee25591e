"""
Waiting for what happens to a stream or a run, in a thread: one connection of the process hears for all who wait.

It is opened when somebody waits, and closed when nobody has for a while. Without it (Redis is away, or does not allow
it) who waits looks once a second.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from gateway.publisher.cancelling import LOOK_SECONDS
from gateway.publisher.ears import GUARD_SECONDS, LINGER_SECONDS, NAME, Bell, Ears
from gateway.store.blocking_subscription import BlockingSubscription

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.feeds import EnvironmentId

THREAD_NAME: Final = "runcast publisher subscription"
_JOIN_SECONDS: Final = 0.5


class ThreadBell(Bell):
    """Wakes one thread; rung by any."""

    def __init__(self) -> None:
        self._event = threading.Event()
        super().__init__(self._event)

    def wait(self, seconds: float) -> bool:
        """Return whether it was rung, within so many seconds."""
        rung = self._event.wait(seconds)
        self._event.clear()
        return rung


class Hearing:
    """For the threads of one process. Belongs to the process that made it."""

    def __init__(self, url: str, environment: EnvironmentId) -> None:
        self._url = url
        self._ears = Ears(environment)
        self._lock = threading.RLock()
        self._subscription: BlockingSubscription | None = None
        self._thread: threading.Thread | None = None
        self._tidied_at = 0.0
        self.closed = False

    @contextmanager
    def listening(self, run: str, stream: str) -> Iterator[ThreadBell]:
        """A bell that is rung for what happens, from now until the end of the block."""
        bell = ThreadBell()
        with self._lock:
            subscription = self._opened()
            if subscription is not None:
                self._ears.add(run, stream, bell, subscription)
        try:
            yield bell
        finally:
            self._ears.remove(run, stream, bell, time.monotonic())

    def patience(self, run: str, stream: str) -> float:
        """How long who waits may do so before it looks by itself."""
        return GUARD_SECONDS if self._ears.hears(run, stream) else LOOK_SECONDS

    def nudge(self, run: str, stream: str) -> None:
        """There is more than somebody has taken."""
        self._ears.nudge(run, stream)

    def missed(self, run: str, stream: str) -> None:
        """Somebody found what should have been heard: the connection seems deaf."""
        with self._lock:
            if self._subscription is not None and self._ears.hears(run, stream):
                self._subscription.drop()

    def give_up(self) -> threading.Thread | None:
        """Wake who waits, and have the thread end, which is returned. Doing it twice is harmless."""
        with self._lock:
            self.closed = True
            return self._end()

    def close(self) -> None:
        """As `give_up`, and wait for that."""
        thread = self.give_up()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN_SECONDS)

    def _opened(self) -> BlockingSubscription | None:
        """The subscription, if there can be one. Needs the lock."""
        if self._subscription is None and not self.closed:
            subscription = BlockingSubscription(self._url, self._ears, name=NAME)
            thread = threading.Thread(target=self._hear, args=(subscription,), name=THREAD_NAME, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is about to end
                subscription.release()
            else:
                self._subscription, self._thread = subscription, thread
        return self._subscription

    def _hear(self, subscription: BlockingSubscription) -> None:
        try:
            subscription.run(lambda: self._tidy(subscription), every=LINGER_SECONDS)
        finally:
            subscription.release()

    def _tidy(self, subscription: BlockingSubscription) -> None:
        now = time.monotonic()
        if now - self._tidied_at < LINGER_SECONDS / 2:
            return
        with self._lock:
            self._tidied_at = now
            if self._subscription is subscription and self._ears.leave_idle(subscription, now):
                self._end()

    def _end(self) -> threading.Thread | None:
        """Needs the lock."""
        subscription, self._subscription = self._subscription, None
        thread, self._thread = self._thread, None
        if subscription is not None:
            subscription.close()
        self._ears.end()
        return thread
