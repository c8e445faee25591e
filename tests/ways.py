"""
The ways in: the same gateway, served in each of the ways in which a request may take its course.

What HTTP and WebSocket demand holds on all of them; what is faster on one of them may not be told apart from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Self

import uvicorn

from auth import EnvironmentKeys, Keyring, generate_secret_key, mint
from gateway.app import create_app
from gateway.server.run import server_config
from gateway.settings import Settings
from tests.hardening.peers import PATIENCE_SECONDS, WebSocketPeer, eventually
from tests.journeys.in_process import Inside
from tests.shape_desk import let_shapes_go

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.transports.sinks import Receive, Scope, Send
    from tests.redis_server import RedisServer


#: What is tried here comes faster than anybody may come.
_UNLIMITED: Final[dict[str, Any]] = {"requests_per_second": 1e6, "token_requests_per_second": 1e6}
KEYS = EnvironmentKeys.of("ways", generate_secret_key())


class Behind:
    """Middleware that shows nothing of an app but ASGI: our server then has no shortcut to it."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


class Way(Enum):
    """How the gateway is served."""

    #: By our server, as `runcast serve` does: what has a short way takes it.
    OURS = "ours"
    #: By our server, with middleware around the app: everything goes by way of ASGI.
    ASGI = "asgi"
    #: By uvicorn as it comes, with httptools.
    PLAIN = "plain"
    #: By uvicorn with h11, as it is where httptools is not installed.
    H11 = "h11"

    def config(self, app: Any, settings: Settings) -> uvicorn.Config:
        match self:
            case Way.OURS:
                return server_config(app, settings)
            case Way.ASGI:
                return server_config(Behind(app), settings)
        http: Any = "h11" if self is Way.H11 else "httptools"
        return uvicorn.Config(
            app, port=settings.port, http=http, log_config=None, access_log=False, timeout_graceful_shutdown=2
        )


#: Those where the server is ours, too.
OUR_SERVER = (Way.OURS, Way.ASGI)


class Caller(WebSocketPeer):
    """
    One TCP connection, by system calls alone.

    A transport lets go of all that came when it can't write any more. Here what a server said before it closed is
    heard, however much was sent to it after that.
    """

    def __init__(self, own: socket.socket) -> None:
        self._own = own
        self._loop = asyncio.get_running_loop()
        self._buffer, self._heard = bytearray(), bytearray()

    @classmethod
    async def call(cls, port: int) -> Self:
        own = socket.socket()
        own.setblocking(False)
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", port))
        return cls(own)

    async def say(self, *segments: bytes) -> None:
        """Send these; between two of them the server, which is in this process, has its chance to read."""
        for segment in segments:
            with contextlib.suppress(ConnectionError):  # which it may have closed
                await self._loop.sock_sendall(self._own, segment)
            if len(segments) > 1:
                for _ in range(2):
                    await asyncio.sleep(0)

    def half_close(self) -> None:
        with contextlib.suppress(OSError):  # it was faster
            self._own.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self._own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._own.close()

    async def close(self) -> None:
        self._own.close()

    async def _read_more(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                data = await self._loop.sock_recv(self._own, 65536)
        except TimeoutError:
            raise AssertionError(f"nothing came, and no end, behind {bytes(self._heard[-200:])!r}") from None
        except OSError:
            data = b""
        self._buffer += data
        self._heard += data
        return bool(data)


class Entrance:
    """A gateway that is served in one way, and whoever came by it."""

    def __init__(self, way: Way, inside: Inside) -> None:
        self.way = way
        self.inside = inside
        self.token = mint(["read:runs", "write:runs"], KEYS)
        self._callers: list[Caller] = []

    @property
    def bearer(self) -> str:
        """A header that may do everything that these tests ask for."""
        return f"Authorization: Bearer {self.token}"

    async def call(self) -> Caller:
        """Somebody who has not said a word."""
        caller = await Caller.call(self.inside.port)
        self._callers.append(caller)
        return caller

    async def leave(self) -> None:
        """All who came go."""
        for caller in self._callers:
            await caller.close()
        self._callers.clear()

    async def until_empty(self) -> None:
        """Return when nothing is left of them."""
        await self.leave()
        await eventually(
            lambda: self.followed() == 0 and not any(self.inside.leftovers().values()), what=f"{self.way} is empty"
        )

    def followed(self) -> int:
        """How many follow anything, but for shapes that stay for whoever may poll again: those go."""
        let_shapes_go(self.inside.services)
        return self.inside.viewers


@contextlib.asynccontextmanager
async def entrances(redis: RedisServer, *ways: Way, **options: Any) -> AsyncIterator[dict[Way, Entrance]]:
    """
    A gateway served in each of *ways*, for as long as the block lasts.

    Args:
        options: Of Settings.
    """
    async with contextlib.AsyncExitStack() as serving:
        yield {way: await serving.enter_async_context(_entrance(way, redis, options)) for way in ways}


@contextlib.asynccontextmanager
async def _entrance(way: Way, redis: RedisServer, options: dict[str, Any]) -> AsyncIterator[Entrance]:
    settings = Settings(redis_url=redis.url, port=0, **(_UNLIMITED | options))
    app: Any = create_app(settings, Keyring([KEYS]))
    server = uvicorn.Server(way.config(app, settings))
    task = asyncio.create_task(server.serve(), name=f"server {way.value}")
    try:
        await eventually(lambda: server.started or task.done(), what="the server listens")
        port: int = server.servers[0].sockets[0].getsockname()[1]
        entrance = Entrance(way, Inside(port, server, app.app.state.services))
        await eventually(lambda: entrance.inside.hub._subscription.connected, what="the gateway hears Redis")
        yield entrance
        await entrance.until_empty()
    finally:
        server.should_exit = True
        await task
