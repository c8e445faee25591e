"""
As `subscription.Subscription`, for a thread instead of an event loop: a job that is not written for `asyncio` must not
find a loop running in its process.
"""

from __future__ import annotations

import contextlib
import random
import selectors
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Final, cast

import hiredis
from redis.asyncio.connection import UnixDomainSocketConnection, parse_url

from gateway.store.subscription import greeting, packed, tls_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.store.subscription import Listener

#: To connect, to be greeted, and for what Redis takes of a command, or completes of what it began to send.
_TIMEOUT_SECONDS: Final = 5.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 1.0
_READ_BYTES: Final = 1 << 16


class BlockingSubscription:
    """
    Hears channels for a listener, in the thread that is in `run`; everything else may be called from any thread.

    When the connection breaks, or can't be made, it says so and connects again until it is closed.
    """

    def __init__(self, url: str, listener: Listener, *, name: str) -> None:
        self._options = cast("dict[str, Any]", parse_url(url))
        self._listener, self._name = listener, name
        # Reentrant: a signal handler may use it while its thread is in here.
        self._lock = threading.RLock()
        self._channels: set[bytes] = set()
        self._unsent: list[tuple[bytes, bytes]] = []
        self._joining: dict[bytes, int] = {}  # channel → SUBSCRIBEs that are not answered yet
        self._dropped = self._closed = False
        self._refused = False
        self._woken, self._waking = socket.socketpair()
        for end in (self._woken, self._waking):
            end.setblocking(False)

    def join(self, channel: bytes) -> None:
        """Hear *channel*; the listener is told from when on."""
        with self._lock:
            self._channels.add(channel)
            self._unsent.append((b"SUBSCRIBE", channel))
        self._wake()

    def leave(self, channel: bytes) -> None:
        with self._lock:
            self._channels.discard(channel)
            self._unsent.append((b"UNSUBSCRIBE", channel))
        self._wake()

    def drop(self) -> None:
        """Give the connection up, because it seems deaf; `run` makes a new one."""
        self._dropped = True
        self._wake()

    def close(self) -> None:
        """Let `run` return, soon. Closing twice is harmless."""
        self._closed = True
        self._wake()

    def release(self) -> None:
        """Let go of what it was made with: after `run`, or instead of it."""
        self._closed = True
        for end in (self._woken, self._waking):
            end.close()

    def run(self, tick: Callable[[], None], *, every: float) -> None:
        """Stay connected until closed. *tick* is called here, every so many seconds or oftener."""
        pause = _FIRST_PAUSE_SECONDS
        while not self._closed:
            try:
                with self._connection() as connection:
                    self._hear(connection, tick, every)
                    if not self._refused:
                        pause = _FIRST_PAUSE_SECONDS
                        continue
            except (OSError, hiredis.HiredisError):
                pass
            finally:
                self._dropped = self._refused = False
                self._listener.lost()
            self._sleep(random.uniform(0, pause))
            tick()
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[socket.socket]:
        """A connection on which Redis let us in."""
        options = self._options
        if options.get("connection_class") is UnixDomainSocketConnection:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(_TIMEOUT_SECONDS)
        else:
            address = (options.get("host", "localhost"), options.get("port", 6379))
            connection = socket.create_connection(address, _TIMEOUT_SECONDS)
        with contextlib.ExitStack() as opened:
            opened.enter_context(connection)
            if connection.family == socket.AF_UNIX:
                connection.connect(options["path"])
            else:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tls = tls_of(options)
            if tls is not None:
                connection = tls.wrap_socket(connection, server_hostname=options.get("host", "localhost"))
                opened.enter_context(connection)
            self._greet(connection)
            yield connection

    def _greet(self, connection: socket.socket) -> None:
        commands = [*greeting(self._options, self._name), (b"PING",)]
        connection.sendall(b"".join(map(packed, commands)))
        reader, deadline = hiredis.Reader(), time.monotonic() + _TIMEOUT_SECONDS
        for _ in commands:
            while (reply := reader.gets()) is False:
                if time.monotonic() > deadline:
                    raise TimeoutError("Redis did not greet us in time")
                reader.feed(_received(connection))
            if isinstance(reply, hiredis.ReplyError):
                raise reply

    def _hear(self, connection: socket.socket, tick: Callable[[], None], every: float) -> None:
        with self._lock:
            self._joining.clear()
            self._unsent = [(b"SUBSCRIBE", channel) for channel in self._channels]
        reader = hiredis.Reader()
        with selectors.DefaultSelector() as selector:
            selector.register(connection, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not (self._closed or self._dropped or self._refused):
                self._send(connection)
                # What TLS has deciphered already, no selector knows of.
                ready = [connection] if _pending(connection) else [key.fileobj for key, _ in selector.select(every)]
                if self._woken in ready:
                    self._drain()
                if connection in ready:
                    reader.feed(_received(connection))
                    self._take_in(reader)
                tick()

    def _send(self, connection: socket.socket) -> None:
        with self._lock:
            unsent, self._unsent = self._unsent, []
            for word, channel in unsent:
                if word == b"SUBSCRIBE":
                    self._joining[channel] = self._joining.get(channel, 0) + 1
        if unsent:
            connection.sendall(b"".join(map(packed, unsent)))

    def _take_in(self, reader: hiredis.Reader) -> None:
        while (reply := reader.gets()) is not False:
            if isinstance(reply, hiredis.ReplyError):
                self._refused = True
            elif not isinstance(reply, list):
                raise hiredis.ProtocolError("what came is no message")
            elif reply[0] == b"message":
                self._listener.heard(reply[1], reply[2])
            elif reply[0] == b"subscribe":
                self._answered_join(reply[1])
        self._listener.turn_ended()

    def _answered_join(self, channel: bytes) -> None:
        # As in `subscription`: who left and joined again hears everything from the last answer on.
        with self._lock:
            unanswered = self._joining.pop(channel, 1) - 1
            if unanswered:
                self._joining[channel] = unanswered
                return
        self._listener.joined(channel)

    def _sleep(self, seconds: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            end = time.monotonic() + seconds
            while not self._closed and (left := end - time.monotonic()) > 0:
                if selector.select(left):
                    self._drain()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # so many wake it already; or it has ended
            self._waking.send(b".")

    def _drain(self) -> None:
        with contextlib.suppress(OSError):
            while self._woken.recv(4096):
                pass


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(_READ_BYTES)
    if not data:
        raise ConnectionResetError("Redis closed the connection")
    return data


def _pending(connection: socket.socket) -> bool:
    pending = getattr(connection, "pending", None)  # of a TLS connection
    return pending is not None and pending() > 0
