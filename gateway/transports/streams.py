"""Where a reader of a stream begins: at the start, after what it has, or now."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway.cursors import Cursor
from gateway.feed.stream_view import StreamView

if TYPE_CHECKING:
    from gateway.feeds import EnvironmentId
    from gateway.store.redis_store import RedisStore
    from gateway.transports.requests import Wish

#: After every chunk there is, and ever will be.
_BEYOND: Final = 2**53


async def resolved(store: RedisStore, environment: EnvironmentId, wish: Wish) -> Wish:
    """
    The wish with a cursor instead of "now"; others as they are.

    It is told where that is, too: should the connection break before the first chunk, the reader goes on from there.

    Raises:
        Unavailable: When nobody can tell when now is.
    """
    if wish.cursor is not None or not wish.from_now:
        return wish
    run, key = wish.feed.names
    page = await store.read_stream(environment, run, key, after=_BEYOND, limit=1)
    now = Cursor(page.epoch, page.end)
    return replace(wish, cursor=now, begin=StreamView(wish.feed).begin(page.next_index, now))
