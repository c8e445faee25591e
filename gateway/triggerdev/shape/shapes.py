"""The shapes of a process: made when somebody asks for one, and kept for a moment longer than they are needed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from gateway.triggerdev.shape.documents import Documents
from gateway.triggerdev.shape.shape import Shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.feed.hub import Hub
    from gateway.feeds import EnvironmentId
    from gateway.store.redis_store import RedisStore
    from gateway.triggerdev.shape.view import ShapeView

#: Between two polls of a client nobody holds its shape. Longer than a client takes to come again.
LINGER_SECONDS: Final = 10.0
#: Shapes that nobody needs now; the one that has been idle for longest goes first.
MOST_IDLE: Final = 2000
#: What the logs of all shapes hold together. Beyond it those that nobody needs now go, and then what comes is not kept.
MOST_BYTES: Final = 128 * 1024 * 1024

_Key = tuple["EnvironmentId", "ShapeView"]


class Shapes:
    """Finds the shape of a view, and lets go of those that nobody polls."""

    def __init__(self, hub: Hub, store: RedisStore) -> None:
        self._hub = hub
        self._store = store
        self._documents = Documents()
        self._bytes = 0
        self._shapes: dict[_Key, Shape] = {}
        self._users: dict[Shape, int] = {}
        #: In the order in which they became idle.
        self._idle: dict[Shape, asyncio.TimerHandle] = {}

    @contextlib.contextmanager
    def using(self, environment: EnvironmentId, view: ShapeView) -> Iterator[Shape]:
        """The shape of *view*, which stays while the block lasts."""
        key = (environment, view)
        shape = self._shapes.get(key)
        if shape is None:
            shape = self._shapes[key] = Shape(self._hub, self._store, environment, view, self._documents, self._grew)
        self.enter(shape)
        try:
            yield shape
        finally:
            self.leave(shape)

    def enter(self, shape: Shape) -> None:
        """One more needs *shape*, which is not closed, until `leave`."""
        timer = self._idle.pop(shape, None)
        if timer is not None:
            timer.cancel()
        self._users[shape] = self._users.get(shape, 0) + 1

    def leave(self, shape: Shape) -> None:
        """One less needs it."""
        self._users[shape] -= 1
        if not self._users[shape]:
            del self._users[shape]
            self._rest(shape)

    def __len__(self) -> int:
        return len(self._shapes)

    def close(self) -> None:
        """Let go of all that are idle."""
        for shape in list(self._idle):
            self._end(shape)

    def _grew(self, size: int) -> bool:
        self._bytes += size
        while size > 0 and self._bytes > MOST_BYTES and self._idle:
            self._end(next(iter(self._idle)))
        return size <= 0 or self._bytes <= MOST_BYTES

    def _rest(self, shape: Shape) -> None:
        self._idle[shape] = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._end, shape)
        if len(self._idle) > MOST_IDLE:
            self._end(next(iter(self._idle)))

    def _end(self, shape: Shape) -> None:
        self._idle.pop(shape).cancel()
        self._shapes.pop((shape.environment, shape.view)).close()
