"""
What both transports do for a viewer: let it see until its token ends, send it away politely, let go of it when it takes
nothing any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from gateway.codec import encode_message, rfc3339
from gateway.errors import TokenExpired
from gateway.feed.view import Message
from gateway.transports import refusals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.errors import GatewayError
    from gateway.feed.connection import Connection
    from gateway.feed.hub import Hub
    from gateway.feed.view import Framing
    from gateway.settings import Settings
    from gateway.store.redis_store import RedisStore
    from gateway.transports.admission import Admission, Admitted
    from gateway.transports.sinks import ViewerSink

log = logging.getLogger("runcast.viewers")

_TICKS_PER_SECOND: Final = 4
#: Viewers that are told to come back do so spread over this time.
_COME_BACK_MILLISECONDS: Final = 3000


class Expirations:
    """
    Ends what a token opened within a second of its expiry.

    One timer for all connections: a timer each would cost more memory than the rest of an idle viewer.
    """

    def __init__(self) -> None:
        self._due: dict[int, dict[Viewer, None]] = {}

    def add(self, viewer: Viewer, when: float) -> None:
        """*when* in unix seconds."""
        self._due.setdefault(self._tick(when), {})[viewer] = None

    def remove(self, viewer: Viewer, when: float) -> None:
        tick = self._tick(when)
        self._due.get(tick, {}).pop(viewer, None)
        if not self._due.get(tick, True):
            del self._due[tick]

    @staticmethod
    def _tick(when: float) -> int:
        return math.ceil(when * _TICKS_PER_SECOND)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await asyncio.sleep(1 / _TICKS_PER_SECOND)
            now = time.time() * _TICKS_PER_SECOND
            for tick in [tick for tick in self._due if tick <= now]:
                for viewer in list(self._due.pop(tick)):
                    viewer.expired()


@dataclass(frozen=True, slots=True)
class Services:
    """What the transports work with; app.py puts it together."""

    settings: Settings
    store: RedisStore
    hub: Hub
    admission: Admission
    expirations: Expirations

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """What works in the background does so for exactly as long as the block lasts."""
        async with asyncio.TaskGroup() as tasks:
            working = [
                tasks.create_task(self.hub.run(), name="hub"),
                tasks.create_task(self.expirations.run(), name="expirations"),
            ]
            try:
                yield
            finally:
                for task in working:
                    task.cancel()
        await self.store.close()


class Patience:
    """
    Watches a viewer whose sink is full: as long as it takes something it may take its time.

    Calls the sink's `abort` when nothing was taken for *seconds*.
    """

    __slots__ = ("_seconds", "_sink", "_timer", "_unsent")

    def __init__(self, sink: ViewerSink, seconds: float) -> None:
        self._sink = sink
        self._seconds = seconds
        self._unsent = sink.unsent
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        unsent = self._sink.unsent
        if unsent >= self._unsent:
            log.info("a viewer took nothing for %g s and is let go", self._seconds)
            self._sink.abort()
            return
        self._unsent = unsent
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._look)

    def end(self) -> None:
        self._timer.cancel()


def welcome(admitted: Admitted, heartbeat_seconds: float) -> bytes:
    """The first message to a viewer that was let in, and the answer to a renewed token."""
    message: dict[str, object] = {
        "type": "welcome",
        "environment": admitted.environment,
        "heartbeatSeconds": heartbeat_seconds,
    }
    if admitted.expires_at is not None:
        message["expiresAt"] = rfc3339(int(admitted.expires_at * 1000))
    return encode_message(message)


def come_back(reason: str) -> bytes:
    """The message that sends a viewer away for a moment, each for another one."""
    after = random.randrange(_COME_BACK_MILLISECONDS)
    return encode_message({"type": "reconnect", "afterMilliseconds": after, "reason": reason})


class Viewer:
    """
    Our side of one viewer's socket, as far as all transports have it in common (transports/sinks.py: Peer).

    `connected` comes first and `closed` last; a subclass adds what it does in between.
    """

    __slots__ = ("_admitted", "_began", "_connection", "_leaving", "_patience", "_services", "_sink", "_why", "framing")
    transport: ClassVar[str]

    def __init__(self, services: Services, framing: Framing) -> None:
        self.framing = framing
        self._services = services
        self._sink: ViewerSink | None = None
        self._connection: Connection | None = None
        self._admitted: Admitted | None = None
        self._patience: Patience | None = None
        self._began = time.monotonic()
        self._leaving = False
        self._why = "the viewer left"

    def connected(self, sink: ViewerSink) -> None:
        self._sink = sink

    @property
    def is_full(self) -> bool:
        """Whether more is unsent than we keep for a viewer."""
        return self._patience is not None

    def filled(self) -> None:
        if self._sink is not None and self._patience is None:
            self._patience = Patience(self._sink, self._services.settings.stuck_seconds)
        if self._connection is not None:
            self._connection.filled()

    def drained(self) -> None:
        if self._patience is not None:
            self._patience.end()
            self._patience = None
        if self._connection is not None:
            self._connection.drained()

    def expired(self) -> None:
        """Its token's time is over."""
        self.refuse(TokenExpired())

    def going_away(self) -> None:
        self.tell("reconnect", come_back("the server is stopping"))
        self.close(refusals.GOING_AWAY, "the server is stopping")

    def refuse(self, error: GatewayError) -> None:
        """Say why, and close."""
        self.tell("error", refusals.error_message(error))
        self.close(refusals.close_code(error) or refusals.INTERNAL_ERROR, error.code)

    def close(self, code: int, reason: str) -> None:
        if self._sink is not None and not self._leaving:
            self._leaving, self._why = True, reason
            self._sink.close(code, reason)

    def closed(self) -> None:
        if self._patience is not None:
            self._patience.end()
        self._let_expire(None)
        # One line for each connection, at its end. It never has a query or a token in it.
        seconds = time.monotonic() - self._began
        environment = self._connection.environment if self._connection is not None else "nobody"
        log.info("%s of %s ended after %.1f s: %s", self.transport, environment, seconds, self._why)
        if self._connection is not None:
            self._services.hub.close(self._connection)
        self._connection = self._sink = None

    def tell(self, kind: str, body: bytes) -> None:
        """Say something that belongs to no feed."""
        if self._connection is not None:
            self._connection.tell(Message(kind, body, ""))
        elif self._sink is not None:
            self._sink.write(self.framing.wrap(self.framing.frame(kind, body, "")))

    def let_in(self, admitted: Admitted, connection: Connection) -> None:
        """It may see what *admitted* allows, until that expires; or longer, with a new token."""
        self._let_expire(admitted)
        if self._connection is None:
            self._connection = connection
            self._services.hub.open(connection)
        self.tell("welcome", welcome(admitted, self._services.hub.heartbeat_seconds))

    def _let_expire(self, admitted: Admitted | None) -> None:
        before, self._admitted = self._admitted, admitted
        if before is not None and before.expires_at is not None:
            self._services.expirations.remove(self, before.expires_at)
        if admitted is not None and admitted.expires_at is not None:
            self._services.expirations.add(self, admitted.expires_at)
