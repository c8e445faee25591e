"""`broadcast()` of the websockets library, as its documentation advises for one message to many connections."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

from benchmarks.peers.hearing import Feeds
from benchmarks.peers.serving import BACKLOG, arguments

if TYPE_CHECKING:
    from argparse import Namespace


async def listen(feeds: Feeds[ServerConnection]) -> None:
    async for connections, event in feeds.heard():
        broadcast(connections, event.decode())
        await asyncio.sleep(0)  # else what Redis sent in one piece would be written in one go, and be late


async def main(given: Namespace) -> None:
    feeds = Feeds[ServerConnection](given.redis_url)
    await feeds.connect()

    async def follow(connection: ServerConnection) -> None:
        assert connection.request is not None
        (feed,) = parse_qs(urlsplit(connection.request.path).query)["feed"]
        async with feeds.joined(feed, connection):
            await connection.wait_closed()

    async with serve(follow, "127.0.0.1", given.port, compression=None, ping_interval=None, backlog=BACKLOG):
        await listen(feeds)


if __name__ == "__main__":
    uvloop.run(main(arguments(__doc__)))
