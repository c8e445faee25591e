"""
The one connection on which a gateway hears changes.

It reads what Redis sends in as large pieces as the socket gives, decodes them with hiredis in bulk, and calls its
listener for each message and once at the end of the piece: no task, future or await per message. Of a large piece
some hundred messages are heard in one loop turn, so that everybody else gets theirs; the rest waits, and what comes
meanwhile waits in the socket. When the connection breaks it says so, connects again for as long as it takes, and joins
every channel anew.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import time
from typing import Any, Final, Protocol, cast

import hiredis
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection, parse_url

from gateway.codec import BETWEEN_EVENTS

_CONNECT_SECONDS: Final = 5.0
#: Pauses between attempts to connect: the first at once, then growing, with full jitter.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 1.0
#: To look for a number in bytes is twenty times faster than to look for bytes.
_BETWEEN: Final = BETWEEN_EVENTS[0]
#: Events that are heard in one loop turn: a few milliseconds with all that follows from them.
PIECE: Final = 256


class Listener(Protocol):
    """Who hears what the subscription hears. None of these may block or raise."""

    def heard(self, channel: bytes, payload: bytes) -> None:
        """A message came, or one of several events that came in one."""

    def turn_ended(self) -> None:
        """What the socket had is heard, or as much of it as is heard in one loop turn; time to write."""

    def joined(self, channel: bytes) -> None:
        """From now on every message of this channel is heard."""

    def lost(self) -> None:
        """The connection broke: messages may have been missed on every channel, until each is joined again."""


class Subscription:
    """
    Hears channels for a listener, for as long as `run` runs.

    Messages of one connection come in the order in which Redis published them, across all channels.
    """

    def __init__(self, url: str, listener: Listener, *, name: str = "runcast-gateway-subscription") -> None:
        self._options = cast("dict[str, Any]", parse_url(url))
        self._name = name
        self._listener = listener
        self._channels: set[bytes] = set()
        self._connection: _Connection | None = None
        #: When the present connection, or the last one, was made (monotonic seconds).
        self.connected_at = 0.0

    @property
    def connected(self) -> bool:
        return self._connection is not None

    def join(self, channel: bytes) -> None:
        """Hear *channel*; the listener is told from when on."""
        self._channels.add(channel)
        if self._connection is not None:
            self._connection.ask(b"SUBSCRIBE", channel)

    def leave(self, channel: bytes) -> None:
        self._channels.discard(channel)
        if self._connection is not None:
            self._connection.ask(b"UNSUBSCRIBE", channel)

    def drop(self) -> None:
        """Give the connection up, because it seems deaf; `run` makes a new one."""
        if self._connection is not None:
            self._connection.abort()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                connection = await self._connect()
            except (OSError, TimeoutError, hiredis.HiredisError):
                pass
            else:
                await self._hear(connection)
                if not connection.refused:
                    pause = _FIRST_PAUSE_SECONDS
                    continue
                # It may not hear some channel, and then the next one may not either.
            await asyncio.sleep(random.uniform(0, pause))
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _hear(self, connection: _Connection) -> None:
        self._connection, self.connected_at = connection, time.monotonic()
        for channel in self._channels:
            connection.ask(b"SUBSCRIBE", channel)
        try:
            await connection.ended
        finally:
            self._connection = None
            connection.abort()
            self._listener.lost()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        options = self._options

        def protocol() -> _Connection:
            return _Connection(self._listener, loop)

        async with asyncio.timeout(_CONNECT_SECONDS):
            connection: _Connection
            if options.get("connection_class") is UnixDomainSocketConnection:
                _, connection = await loop.create_unix_connection(protocol, options["path"])
            else:
                _, connection = await loop.create_connection(
                    protocol, options.get("host", "localhost"), options.get("port", 6379), ssl=tls_of(options)
                )
            for command in greeting(options, self._name):
                connection.ask(*command)
            connection.ask(b"PING")
            # Until Redis let us in there is nothing to hear: a wrong password or a server that is still
            # loading its data is an attempt that failed.
            try:
                await connection.greeted
            except BaseException:
                connection.abort()  # also when it took too long, or nobody waits any more
                raise
        return connection


class _Connection(asyncio.Protocol):
    """One connection in subscriber mode (RESP2: messages are arrays)."""

    def __init__(self, listener: Listener, loop: asyncio.AbstractEventLoop) -> None:
        self._listener = listener
        self._loop = loop
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._commands: list[bytes] = []
        self._joining: dict[bytes, int] = {}  # channel → SUBSCRIBEs that are not answered yet
        self._paused = False
        self._over = False
        self.greeted: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        #: Whether Redis answered something with an error.
        self.refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        connected = transport.get_extra_info("socket")
        if connected is not None and connected.family in (socket.AF_INET, socket.AF_INET6):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, *words: bytes) -> None:
        """Send a command with the others of this loop turn."""
        if not self._commands:
            self._loop.call_soon(self._send)
        if words[0] == b"SUBSCRIBE":
            self._joining[words[1]] = self._joining.get(words[1], 0) + 1
        self._commands.append(packed(words))

    def _send(self) -> None:
        commands, self._commands = self._commands, []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(commands))

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        self._hear()

    def _hear(self) -> None:
        """Hear a piece of what was read; what is left of it in the next loop turn."""
        if self._over:
            return  # what is left is of no use: everybody catches up
        heard, gets = self._listener.heard, self._reader.gets
        reply = None
        several = 0
        try:
            for _ in range(PIECE):
                if several >= PIECE or (reply := gets()) is False:
                    break
                if type(reply) is list and reply[0] == b"message":
                    if _BETWEEN in reply[2]:
                        several += self._hear_each(reply[1], reply[2])
                    else:
                        heard(reply[1], reply[2])
                else:
                    self._answered(reply)
        except hiredis.ProtocolError:
            self.abort()  # not Redis, or a stream that lost its place: only a new connection helps
        self._listener.turn_ended()
        self._pause(reply is not False)

    def _hear_each(self, channel: bytes, payload: bytes) -> int:
        """Hear the events of a message, and return how many they are."""
        events = payload.split(BETWEEN_EVENTS)
        for event in events:
            self._listener.heard(channel, event)
        return len(events)

    def _pause(self, paused: bool) -> None:
        """Read nothing while there is something to hear."""
        if self._over or self._transport is None or self._transport.is_closing():
            return
        if paused:
            self._loop.call_soon(self._hear)
        if paused != self._paused:
            self._paused = paused
            self._transport.pause_reading() if paused else self._transport.resume_reading()

    def _answered(self, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):
            self.refused = True
            if not self.greeted.done():
                self.greeted.set_exception(hiredis.ReplyError(str(reply)))
            self.abort()
        elif type(reply) is list and reply[0] == b"subscribe":
            self._answered_join(reply[1])
        elif reply == b"PONG" and not self.greeted.done():
            self.greeted.set_result(None)

    def _answered_join(self, channel: bytes) -> None:
        # Who left and joined again asked twice. What was published in between is not heard, so that only the last
        # answer says that all of it is.
        unanswered = self._joining.pop(channel, 1) - 1
        if unanswered:
            self._joining[channel] = unanswered
        else:
            self._listener.joined(channel)

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        if not self.greeted.done():
            self.greeted.set_exception(ConnectionResetError("Redis closed the connection"))
            # Nobody may be waiting any more (a time-out was faster); that is no news then.
            self.greeted.exception()
        if not self.ended.done():
            self.ended.set_result(None)

    def abort(self) -> None:
        self._over = True
        if self._transport is not None:
            self._transport.abort()


def packed(words: tuple[bytes, ...]) -> bytes:
    """A command as Redis reads it."""
    data: bytes = hiredis.pack_command(cast("Any", words))  # its types know commands of one word only
    return data


def greeting(options: dict[str, Any], name: str) -> list[tuple[bytes, ...]]:
    """What a connection says first: who it is."""
    commands: list[tuple[bytes, ...]] = []
    password = options.get("password")
    if password:
        user = options.get("username")
        commands.append((b"AUTH", *([user.encode()] if user else []), password.encode()))
    commands.append((b"CLIENT", b"SETNAME", name.encode()))
    return commands


def tls_of(options: dict[str, Any]) -> ssl.SSLContext | None:
    """For `rediss://` URLs, by the same parameters that redis-py takes in them."""
    if options.get("connection_class") is not SSLConnection:
        return None
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"), capath=options.get("ssl_ca_path"))
    if options.get("ssl_certfile"):
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    if str(options.get("ssl_check_hostname", "true")).lower() in ("false", "0", "no"):
        context.check_hostname = False
    if options.get("ssl_cert_reqs") in ("none", "CERT_NONE"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
