"""A real gateway in this process, on a real Redis, and what must hold of it whatever its peers do."""

from __future__ import annotations

import asyncio
import itertools
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast

import uvicorn

from auth import EnvironmentKeys, Keyring, generate_secret_key, mint
from gateway.app import create_app
from gateway.changes import change
from gateway.server.run import server_config
from gateway.settings import Settings
from gateway.store.writing import ChangeWriter, whole
from tests.hardening.peers import HttpPeer, Peer, WebSocketPeer, eventually, request, say
from tests.shape_desk import let_shapes_go

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from auth import Permissions
    from gateway.feed.hub import Hub
    from gateway.feeds import EnvironmentId
    from gateway.transports.viewing import Services
    from tests.hardening.peers import Answer
    from tests.redis_server import RedisServer

P = TypeVar("P", bound=Peer)

#: Loggers whose level somebody may have set; here all of them say everything.
_LOGGERS: Final = ("runcast", "uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "websockets", "asyncio")


class Logbook(logging.Handler):
    """Every line that anybody logs while it is open, from DEBUG on, with tracebacks."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.alarms: list[str] = []
        self._levels: dict[logging.Logger, int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{record.name} {self.format(record)}"
        self.lines.append(line)
        if record.levelno >= logging.ERROR:
            self.alarms.append(line)

    def __enter__(self) -> Self:
        loggers = [logging.getLogger(), *map(logging.getLogger, _LOGGERS)]
        self._levels = {logger: logger.level for logger in loggers}
        for logger in loggers:
            logger.setLevel(logging.DEBUG)
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)
        for logger, level in self._levels.items():
            logger.setLevel(level)


@dataclass
class Gateway:
    """A running gateway with two environments, and everything that it said to its peers and to its log."""

    server: uvicorn.Server
    services: Services
    redis: RedisServer
    keys: EnvironmentKeys
    others: EnvironmentKeys
    logbook: Logbook
    heard: bytearray = field(default_factory=bytearray)
    #: What must never be shown: secret keys, and every token that a test made.
    secrets: set[str] = field(default_factory=set)
    #: Whoever came; they are sent home after each test.
    peers: list[Peer] = field(default_factory=list)
    _attempts: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def port(self) -> int:
        port: int = self.server.servers[0].sockets[0].getsockname()[1]
        return port

    @property
    def hub(self) -> Hub:
        return self.services.hub

    @property
    def environment(self) -> EnvironmentId:
        return cast("EnvironmentId", self.keys.environment)

    def token(self, scopes: Permissions | list[str] | None = None, **options: Any) -> str:
        token = mint(["read:runs"] if scopes is None else scopes, options.pop("keys", self.keys), **options)
        return self.secret(token)

    def secret(self, text: str) -> str:
        """*text*, which from now on nobody may be shown."""
        self.secrets.add(text)
        return text

    def bearer(self, **options: Any) -> str:
        """A header with a token that may see all runs."""
        return f"Authorization: Bearer {self.token(**options)}"

    async def peer(self, kind: type[P], **options: Any) -> P:
        peer = await kind.connect(self.port, self.heard, **options)
        self.peers.append(peer)
        return peer

    async def http(self, **options: Any) -> HttpPeer:
        return await self.peer(HttpPeer, **options)

    async def ask(self, target: str | bytes, *headers: str | bytes, method: str = "GET") -> Answer:
        """The answer to one request."""
        peer = await self.http()
        peer.send(request(target, *headers, method=method))
        return await peer.answer()

    async def websocket(self, **options: Any) -> WebSocketPeer:
        """A peer that has not said a word."""
        return await self.peer(WebSocketPeer, **options)

    async def viewer(self, **options: Any) -> WebSocketPeer:
        """A peer that was let in, and may see all runs."""
        peer = await self.websocket(**options)
        await peer.open(self.bearer())
        await peer.message("welcome")
        return peer

    def publish(self, run: str, status: str = "EXECUTING", **options: Any) -> None:
        """Something happens to a run, which is created if need be."""
        initial = {"taskIdentifier": "task", "batchId": "batch_1"}
        said = change(run, create=True, status=status, initial=initial, **options)
        with self.redis.client() as client:
            client.execute_command(*cast("Any", whole(ChangeWriter(environment=self.environment).by_digest(said))))

    # What must hold afterwards.

    async def check(self) -> None:
        """When all peers have gone, nothing is left of them, others are served, nothing was said that must not be."""
        await self._send_peers_home()
        await self._nothing_is_left()
        await self._serves()
        await self._nothing_is_left()
        assert not self.logbook.alarms, self.logbook.alarms
        said = [*self.logbook.lines, self.heard.decode("latin-1")]
        leaks = [line[:400] for line in said for secret in self.secrets if secret in line]
        assert not leaks, leaks
        self.logbook.lines.clear()
        self.heard.clear()

    async def _serves(self) -> None:
        await self.check_serves(await self.viewer())
        await self._send_peers_home()

    async def check_serves(self, viewer: WebSocketPeer) -> None:
        """*viewer* is told what is, and what happens."""
        viewer.send(say({"type": "subscribe", "run": "run_of_the_good_viewer"}))
        snapshot = await viewer.message("snapshot")
        assert (snapshot["feed"], snapshot["complete"]) == ("run:run_of_the_good_viewer", True)
        self.publish("run_of_the_good_viewer", attempt=next(self._attempts))
        update = await viewer.message("update")
        assert update["run"]["id"] == "run_of_the_good_viewer"

    async def _send_peers_home(self) -> None:
        for peer in self.peers:
            await peer.close()
        self.peers.clear()

    async def _nothing_is_left(self) -> None:
        await eventually(lambda: not self.server.server_state.connections, what="no connection is open")
        await eventually(lambda: not self.server.server_state.tasks, what="no request is worked on")
        await eventually(self._nobody_follows, what="nobody follows anything")
        assert self.hub._channels == {}
        assert self.hub._environments == {}
        assert self.services.expirations._due == {}
        ours = ("viewer", "catching up")
        await eventually(
            lambda: not any(task.get_name().startswith(ours) for task in asyncio.all_tasks()), what="no task is left"
        )

    def _nobody_follows(self) -> bool:
        let_shapes_go(self.services)
        return not any(self.hub.connections())


@asynccontextmanager
async def running_gateway(redis: RedisServer, name: str, **options: Any) -> AsyncIterator[Gateway]:
    """A gateway with its own two environments, for as long as the block lasts."""
    keys, others = (EnvironmentKeys.of(f"{name}{end}", generate_secret_key()) for end in ("", "_other"))
    settings = Settings(redis_url=redis.url, port=0, **options)
    app = create_app(settings, Keyring([keys, others]))
    inner: Any = app
    server = uvicorn.Server(server_config(app, settings))
    with Logbook() as logbook:
        serving = asyncio.create_task(server.serve(), name="server")
        await eventually(lambda: server.started or serving.done(), what="the server listens")
        gateway = Gateway(server, inner.app.state.services, redis, keys, others, logbook)
        gateway.secrets |= {keys.current.secret, others.current.secret}
        await eventually(lambda: gateway.hub._subscription.connected, what="the gateway hears Redis")
        try:
            yield gateway
        finally:
            await gateway._send_peers_home()
            server.should_exit = True
            await serving
