"""
python-socketio with its Redis manager: a room per feed, on the WebSocket transport from the beginning.

Events come in as the manager's own messages, the way in which its documentation has other processes emit
(https://python-socketio.readthedocs.io, "Emitting from external processes"): all rooms on one channel of Redis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import socketio

from benchmarks.peers.serving import arguments, serve

if TYPE_CHECKING:
    from collections.abc import Callable


def create_app(redis_url: str) -> Callable[..., Any]:
    server = socketio.AsyncServer(
        async_mode="asgi",
        client_manager=socketio.AsyncRedisManager(redis_url),
        transports=["websocket"],
        ping_interval=3600,  # its heartbeats are no part of what is measured
        http_compression=False,
    )

    @server.event  # type: ignore[untyped-decorator]  # the library says no types
    async def connect(viewer: str, environ: dict[str, Any], auth: dict[str, str]) -> None:
        await server.enter_room(viewer, auth["feed"])

    app: Callable[..., Any] = socketio.ASGIApp(server)
    return app


if __name__ == "__main__":
    given = arguments(__doc__)
    serve(create_app(given.redis_url), given.port)
