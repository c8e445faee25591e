"""As `hearing`, for one event loop."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gateway.publisher.cancelling import LOOK_SECONDS
from gateway.publisher.ears import GUARD_SECONDS, LINGER_SECONDS, NAME, Bell, Ears
from gateway.store.subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.feeds import EnvironmentId


class TaskBell(Bell):
    """Wakes one task of the loop that rings it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        super().__init__(self._event)

    async def wait(self, seconds: float) -> bool:
        """Return whether it was rung, within so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class AsyncHearing:
    """For the tasks of one loop: one task hears for all."""

    def __init__(self, url: str, environment: EnvironmentId) -> None:
        self._url = url
        self._ears = Ears(environment)
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None
        self.closed = False

    @contextmanager
    def listening(self, run: str, stream: str) -> Iterator[TaskBell]:
        """A bell that is rung for what happens, from now until the end of the block."""
        bell = TaskBell()
        if not self.closed:
            self._ears.add(run, stream, bell, self._opened())
        try:
            yield bell
        finally:
            self._ears.remove(run, stream, bell, time.monotonic())

    def patience(self, run: str, stream: str) -> float:
        """As `Hearing.patience`."""
        return GUARD_SECONDS if self._ears.hears(run, stream) else LOOK_SECONDS

    def nudge(self, run: str, stream: str) -> None:
        """There is more than somebody has taken."""
        self._ears.nudge(run, stream)

    def missed(self, run: str, stream: str) -> None:
        """As `Hearing.missed`."""
        if self._subscription is not None and self._ears.hears(run, stream):
            self._subscription.drop()

    def give_up(self) -> asyncio.Task[None] | None:
        """Wake who waits, and have the task end, which is returned. Doing it twice is harmless."""
        self.closed = True
        task, self._task, self._subscription = self._task, None, None
        self._ears.end()
        if task is not None:
            task.cancel()
        return task

    async def close(self) -> None:
        """As `give_up`, and wait for that."""
        task = self.give_up()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)

    def _opened(self) -> Subscription:
        if self._subscription is None or self._task is None or self._task.done():
            self._subscription = Subscription(self._url, self._ears, name=NAME)
            self._task = asyncio.get_running_loop().create_task(self._hear(self._subscription), name=NAME)
        return self._subscription

    async def _hear(self, subscription: Subscription) -> None:
        """Lasts as long as anybody waits, and a while longer."""
        async with asyncio.TaskGroup() as group:
            hearing = group.create_task(subscription.run(), name=NAME)
            while True:
                await asyncio.sleep(LINGER_SECONDS / 2)
                if self._ears.leave_idle(subscription, time.monotonic()):
                    break
            if self._subscription is subscription:
                self._subscription = None
            hearing.cancel()
