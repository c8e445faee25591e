"""Where a reader of a stream begins: at the start, after what it has, or now."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.cursors import Cursor
    from gateway.feeds import EnvironmentId
    from gateway.store.redis_store import RedisStore
    from gateway.transports.requests import Wish


async def beginning(store: RedisStore, environment: EnvironmentId, wish: Wish) -> Cursor | None:
    """
    The cursor to follow from; None for everything.

    Raises:
        Unavailable: When it is "now", and nobody can tell when that is.
    """
    if wish.cursor is not None or not wish.from_now:
        return wish.cursor
    place = await store.place(environment, wish.feed, limit=1, since=0)
    return place.history.cursor
