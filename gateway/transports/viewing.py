"""
What all transports do for a viewer: let it see until its token ends, send it away politely, let go of it when it takes
nothing any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Final

from gateway.codec import encode_message, rfc3339
from gateway.errors import GatewayError, NoSuchConnection, NotAllowed, TokenExpired, TokenInvalid, TokenRevoked
from gateway.feed.view import Message
from gateway.metrics.counters import Counters
from gateway.transports import refusals
from gateway.transports.desk import FrontDesk
from gateway.transports.lifecycle import Lifecycle
from gateway.transports.reloading import Reloading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.feed.connection import Connection
    from gateway.feed.follower import Follower
    from gateway.feed.hub import Hub
    from gateway.feed.view import Framing
    from gateway.feeds import FeedId
    from gateway.limits import Quotas
    from gateway.revocations import Revocation
    from gateway.settings import Settings
    from gateway.store.deadlines import Deadlines
    from gateway.store.redis_store import RedisStore
    from gateway.store.run_writer import RunWriter
    from gateway.transports.admission import Admission, Admitted
    from gateway.transports.expirations import Expirations
    from gateway.transports.renewing import Renewals
    from gateway.transports.revoking import RevocationWatch
    from gateway.transports.sinks import ViewerSink

log = logging.getLogger("runcast.viewers")

#: How long a start waits for what must be known before tokens are let in. Without Redis it goes on without.
_START_SECONDS: Final = 1.0
#: Viewers that are told to come back do so spread over this time.
_COME_BACK_MILLISECONDS: Final = 3000


@dataclass(frozen=True, slots=True)
class Services:
    """What the transports work with; app.py puts it together."""

    settings: Settings
    store: RedisStore
    hub: Hub
    admission: Admission
    expirations: Expirations
    revocations: RevocationWatch
    renewals: Renewals
    writer: RunWriter
    deadlines: Deadlines
    quotas: Quotas
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    counters: Counters = field(default_factory=Counters)
    #: Where requests that come again are answered without a task.
    desk: FrontDesk = field(default_factory=FrontDesk)
    #: Reads keys and origins again when it is called; never raises.
    reload: Reloading = field(default_factory=Reloading)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """What works in the background does so for exactly as long as the block lasts."""
        async with asyncio.TaskGroup() as tasks:
            working = [
                tasks.create_task(self.hub.run(), name="hub"),
                tasks.create_task(self.expirations.run(), name="expirations"),
                tasks.create_task(self.revocations.run(), name="revocations"),
                tasks.create_task(self.deadlines.run(), name="deadlines"),
            ]
            try:
                await self.revocations.read_once(seconds=_START_SECONDS)
                yield
            finally:
                for task in working:
                    task.cancel()
                await self.renewals.close()
        await self.store.close()
        await self.writer.close()


class Patience:
    """
    Watches a viewer whose sink is full: as long as it takes something it may take its time.

    Calls the sink's `abort` when nothing was taken for *seconds*.
    """

    __slots__ = ("_seconds", "_sink", "_timer", "_unsent", "gave_up")

    def __init__(self, sink: ViewerSink, seconds: float) -> None:
        self._sink = sink
        self._seconds = seconds
        self._unsent = sink.unsent
        #: Whether nothing was taken for too long.
        self.gave_up = False
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        unsent = self._sink.unsent
        if unsent >= self._unsent:
            self.gave_up = True
            self._sink.abort()
            return
        self._unsent = unsent
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._look)

    def end(self) -> None:
        self._timer.cancel()


def welcome(admitted: Admitted, connection: str, heartbeat_seconds: float) -> bytes:
    """The first message to a viewer that was let in, and the answer to a renewed token."""
    message: dict[str, object] = {
        "type": "welcome",
        "environment": admitted.environment,
        "connection": connection,
        "heartbeatSeconds": heartbeat_seconds,
    }
    if admitted.expires_at is not None:
        message["expiresAt"] = rfc3339(int(admitted.expires_at * 1000))
        # Who renews it needs no clock that is right.
        message["expiresInSeconds"] = round(max(0.0, admitted.expires_at - time.time()), 3)
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

    __slots__ = (
        *("_admitted", "_began", "_connection", "_ending", "_leaving", "_name", "_patience", "_renewing", "_services"),
        *("_sink", "_why", "framing"),
    )
    transport: ClassVar[str]
    #: Of the line that each connection has at its end.
    log_level: ClassVar[int] = logging.INFO

    def __init__(self, services: Services, framing: Framing) -> None:
        self.framing = framing
        self._services = services
        self._sink: ViewerSink | None = None
        self._connection: Connection | None = None
        self._admitted: Admitted | None = None
        self._patience: Patience | None = None
        #: By what it can be given another token from the side, once it was let in (transports/renewing.py).
        self._name = ""
        self._renewing: asyncio.Lock | None = None
        self._began = time.monotonic()
        self._leaving = False
        #: The close code that we sent it away with, and why.
        self._ending: int | None = None
        self._why = "the viewer left"

    def connected(self, sink: ViewerSink) -> None:
        self._sink = sink
        self._services.counters.connections[self.transport] += 1

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

    @property
    def admitted(self) -> Admitted | None:
        """What it may see; None before it was let in, and after it has gone."""
        return self._admitted

    def expired(self) -> None:
        """Its token's time is over."""
        if self._admitted is not None and self._admitted.expires_at is not None and not self._leaving:
            self._services.counters.token_ended("expired", time.time() - self._admitted.expires_at)
        self.refuse(TokenExpired())

    def revoked(self, revocation: Revocation) -> None:
        """Its token was taken back."""
        if not self._leaving:
            self._services.counters.token_ended("revoked", time.time() - revocation.said_at / 1000)
        self.refuse(TokenRevoked())

    def keys_changed(self) -> None:
        """Other secret keys count now: without its own its time is over, and with a retired one it has an end."""
        admitted = self._admitted
        if admitted is not None:
            ends = self._services.admission.end_of(admitted)
            if ends != (math.inf if admitted.expires_at is None else admitted.expires_at):
                self._let_expire(replace(admitted, expires_at=ends or time.time()))

    def going_away(self) -> None:
        self._services.counters.reconnects_told["stopping"] += 1
        self.tell("reconnect", come_back("the server is stopping"))
        self.close(refusals.GOING_AWAY, "the server is stopping")

    def refuse(self, error: GatewayError) -> None:
        """Say why, and close."""
        self.complain(error)
        self.close(refusals.close_code(error) or refusals.INTERNAL_ERROR, error.code)

    def close(self, code: int, reason: str) -> None:
        if self._sink is not None and not self._leaving:
            self._leaving, self._ending, self._why = True, code, reason
            self._sink.close(code, reason)

    def closed(self) -> None:
        if self._patience is not None:
            self._patience.end()
        self._let_expire(None)
        self._services.renewals.remove(self._name)
        if self._patience is not None and self._patience.gave_up:
            self._ending, self._why = refusals.STUCK, "it took nothing for too long"
        self._note_end()
        if self._connection is not None:
            self._services.hub.close(self._connection)
        self._connection = self._sink = None

    def _note_end(self) -> None:
        """One line for each connection, at its end. It never has a query or a token in it."""
        seconds = time.monotonic() - self._began
        reason = "viewer_left" if self._ending is None else refusals.ENDINGS.get(self._ending, "other")
        counters, connection = self._services.counters, self._connection
        counters.closed[self.transport, reason] += 1
        if connection is not None:
            counters.viewers[self.transport] -= 1
        environment = connection.environment if connection is not None else "nobody"
        facts = {
            "transport": self.transport,
            "environment": environment,
            "feeds": len(connection.followers) if connection is not None else 0,
            "seconds": round(seconds, 3),
            "reason": reason,
            "code": self._ending,
        }
        told = (self.transport, environment, seconds, self._why)
        log.log(self.log_level, "%s of %s ended after %.1f s: %s", *told, extra=facts)

    def complain(self, error: GatewayError, *, feed: str | None = None) -> None:
        """Say what is wrong with what it asked for."""
        self._services.counters.refusals[error.code] += 1
        self.tell("error", refusals.error_message(error, feed=feed))

    def tell(self, kind: str, body: bytes) -> None:
        """Say something that belongs to no feed."""
        if self._connection is not None:
            self._connection.tell(Message(kind, body, ""))
        elif self._sink is not None:
            self._sink.write(self.framing.wrap(self.framing.frame(kind, body, "")))

    def let_in(self, admitted: Admitted, connection: Connection) -> None:
        """
        It may see what *admitted* allows, until that expires; or longer, with a new token.

        Raises:
            TokenRevoked, Unavailable: When it was revoked since it was admitted. From now on `revoked` would say so.
            TooManyConnections: When there is no place for another one.
        """
        services = self._services
        services.admission.check_revoked(admitted)
        if self._connection is None:
            services.quotas.check_connection(admitted.environment, admitted.token)
        self._let_expire(admitted)
        if self._connection is None:
            self._connection = connection
            self._name = services.renewals.add(self)
            services.hub.open(connection)
            services.counters.viewers[self.transport] += 1
        self.tell("welcome", welcome(admitted, self.public_id, services.hub.heartbeat_seconds))

    @property
    def public_id(self) -> str:
        """By what it can be given another token from the side, once it was let in."""
        return self._services.renewals.public_id(self._name)

    async def renew(self, admitted: Admitted) -> None:
        """
        Another token for the same viewer: its feeds go on, but for those that the new one does not allow.

        Raises:
            TokenInvalid, TokenRevoked, TokenUsed, Unavailable: Then its old token goes on to hold.
            NoSuchConnection: When it has gone.
        """
        if self._renewing is None:
            self._renewing = asyncio.Lock()
        async with self._renewing:  # of two tokens that come together, the second one holds
            before, connection = self._here()
            if admitted.environment != before.environment:
                raise TokenInvalid("the new token is of another environment; open another connection for it")
            refused = await self._refused_feeds(admitted, connection)
            before, connection = self._here()
            self._services.admission.check_revoked(admitted)
            for feed, error in refused.items():
                follower = connection.followers.get(feed)
                if follower is not None:
                    self._services.hub.leave(follower)
                    self.complain(error, feed=str(feed))
            if admitted.hidden is not None and admitted.hidden != before.hidden:
                for follower in list(connection.followers.values()):
                    self._show_differently(follower, admitted.hidden)
            self.let_in(admitted, connection)

    def _here(self) -> tuple[Admitted, Connection]:
        if self._admitted is None or self._connection is None or self._leaving:
            raise NoSuchConnection
        return self._admitted, self._connection

    async def _refused_feeds(self, admitted: Admitted, connection: Connection) -> dict[FeedId, NotAllowed]:
        """What the connection follows and *admitted* does not allow; it is used then, if that can be done only once."""
        verdicts: dict[FeedId, NotAllowed | None] = {}
        used = False
        while True:
            # The viewer may subscribe to more while some are looked at.
            unknown = [feed for feed in connection.followers if feed not in verdicts]
            for feed in unknown:
                try:
                    await self._services.admission.check_feed(admitted, feed)
                except NotAllowed as error:
                    verdicts[feed] = error
                else:
                    verdicts[feed] = None
            if not unknown and not used:
                await self._services.admission.use(admitted)
                used = True
            elif not unknown:
                return {feed: error for feed, error in verdicts.items() if error is not None}

    def _show_differently(self, follower: Follower, hidden: frozenset[str]) -> None:
        """The new token hides other columns: the feed begins anew, as the viewer may see it now."""
        view, connection = follower.group.view, follower.connection
        shown = view.hiding(hidden)
        if shown != view:
            self._services.hub.leave(follower)
            self._services.hub.follow(connection, shown, None)

    def _let_expire(self, admitted: Admitted | None) -> None:
        before, self._admitted = self._admitted, admitted
        if before is not None:
            self._services.expirations.remove(self, before.expires_at)
            self._services.quotas.disconnect(before.environment, before.token)
        if admitted is not None:
            self._services.expirations.add(self, admitted.expires_at)
            self._services.quotas.connect(admitted.environment, admitted.token)
