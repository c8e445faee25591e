"""
Stopping so that viewers hardly notice: a server that sends them away one after the other.

On SIGTERM it takes no new connections and says so in `/readyz`. Each viewer is told `reconnect`, and each poll that is
held is answered, at a moment of its own, spread over the drain time; until then they are served like any other day. So
those who come back arrive at the other gateways one after the other too. Requests that are being answered are finished.
Whoever has not gone when the time is nearly up is cut, because an orchestrator that loses its patience would cut
everybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

import uvicorn
from uvicorn.server import ServerState

from gateway.server.handover import HandedOver
from gateway.server.protocols import HttpProtocol

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from types import FrameType

    from gateway.transports.lifecycle import Lifecycle

_log = logging.getLogger("runcast.server")

#: Of the drain time this is left, and at least so many seconds (but at most half of it), for closing what we have open
#: ourselves: whoever is still there before that is cut.
_REST, _REST_SECONDS = 0.1, 1.0
#: Of the time before the cut: until when the last viewer is told. It needs a moment to go.
_TELL: Final = 0.8
#: Few viewers are no crowd, and need not wait for the end of the drain time: at least so many a second are told.
_TOLD_PER_SECOND: Final = 25
_TICK_SECONDS: Final = 0.05
#: Connections that are accepted in one turn of the loop, at each address. Should they wait long, and be more than the
#: kernel keeps places for, it resets some of them.
_ACCEPTED_PER_TURN: Final = 16
#: Ctrl-C: somebody sits there and waits.
_QUICK_SECONDS: Final = 1.0
#: What requests that were cut get to notice it, and what the app gets at least to close what it has open.
_LAST_SECONDS, _APP_SECONDS = 0.1, 0.5


class DrainingState(ServerState):
    """What uvicorn's protocols share with their server, and whether that is stopping."""

    def __init__(self) -> None:
        super().__init__()
        self.draining = False


class DrainingServer(uvicorn.Server):
    """
    Serves until SIGTERM or SIGINT, then drains for *drain_seconds* at the most; a second signal ends it at once.

    SIGINT is from a person at a terminal: it drains within a second.
    """

    def __init__(self, config: uvicorn.Config, drain_seconds: float) -> None:
        super().__init__(config)
        self.server_state: DrainingState = DrainingState()
        self._drain_seconds = drain_seconds
        self._asked_at: float | None = None
        self._reload_asked = False

    # Asked from outside. These only set a mark, so that a signal handler may call them.

    def stop(self, *, quickly: bool = False) -> None:
        """Begin to drain; asked again, end at once."""
        if self.should_exit:
            self.force_exit = True
        if quickly:
            self._drain_seconds = min(self._drain_seconds, _QUICK_SECONDS)
        self._asked_at = self._asked_at or time.monotonic()
        self.should_exit = True

    def end(self, number: int, frame: FrameType | None) -> NoReturn:
        """Handle a signal while uvicorn does not: before it serves, and after."""
        self.stop()  # raising alone may come to nothing: in a finalizer it is ignored
        raise SystemExit(0)

    def reload(self) -> None:
        """Have the app read anew what can change while it runs; nobody is disturbed by it."""
        self._reload_asked = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._captured_signals.append(sig)
        self.stop(quickly=sig == signal.SIGINT)

    # What uvicorn calls.

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            await self._accept_more(sockets or [])

    async def _accept_more(self, sockets: list[socket.socket]) -> None:
        """
        Take more than one viewer of those who wait in each turn of the loop.

        libuv accepts one for each listening file and turn, and a turn in which many are told much is long: ten thousand
        who come together would wait for one another. With all of them at once it would be too long for those who are
        here.
        """

        def make_protocol() -> HttpProtocol:
            return HttpProtocol(self.config, self.server_state, self.lifespan.state)

        loop = asyncio.get_running_loop()
        for listening in sockets:
            for _ in range(_ACCEPTED_PER_TURN - 1):
                self.servers.append(
                    await loop.create_server(make_protocol, sock=listening.dup(), backlog=self.config.backlog)
                )

    async def on_tick(self, counter: int) -> bool:
        if self._reload_asked:
            self._reload_asked = False
            services = self._services()
            if services is not None:
                services.reload()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        began, seconds = self._asked_at or time.monotonic(), self._drain_seconds
        rest = min(max(seconds * _REST, _REST_SECONDS), seconds / 2)
        self._stop_accepting(sockets or [])
        await self._drain(began, seconds - rest)
        with _silent_about_cut_requests():
            cut = await self._cut()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(rest, _APP_SECONDS)):
                await self.lifespan.shutdown()
        _log.info("stopped after %.1f s; %d connections were cut", time.monotonic() - began, cut)

    def _stop_accepting(self, sockets: list[socket.socket]) -> None:
        self.server_state.draining = True
        services = self._services()
        if services is not None:
            services.lifecycle.drain()
        for server in self.servers:
            server.close()
        for listening in sockets:
            listening.close()
        # What is being answered is finished. Connections that wait for a next request are left alone as long as
        # there are others to wait for: a proxy that sends one now should have an answer, and not an end.
        for connection in self._connections():
            if isinstance(connection, HttpProtocol):
                connection.finish()

    async def _drain(self, began: float, seconds: float) -> None:
        """Tell viewers to go, in their turns, until all are gone or *seconds* are over."""
        viewers = len(self._goodbyes())
        tell_until = began + min(seconds * _TELL, viewers / _TOLD_PER_SECOND)
        if viewers:
            _log.info("stopping: %d viewers are sent away within %.1f s", viewers, tell_until - began)
        while self._busy() and time.monotonic() < began + seconds and not self.force_exit:
            goodbyes = self._goodbyes()
            for say_goodbye in random.sample(goodbyes, _share(len(goodbyes), tell_until - time.monotonic())):
                say_goodbye()
            await asyncio.sleep(_TICK_SECONDS)

    async def _cut(self) -> int:
        """End what has not ended by itself, and return how many that were."""
        late = 0
        for connection in self._connections():
            if _is_busy(connection):
                late += 1
                connection.abort()
            else:
                connection.shutdown()
        tasks = set(self.server_state.tasks)
        if tasks:
            _, waiting = await asyncio.wait(tasks, timeout=_LAST_SECONDS)
            for task in waiting:
                task.cancel()
        await asyncio.sleep(0)  # for the loss of what was cut to be told
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_LAST_SECONDS)
        return late

    # What there is.

    def _connections(self) -> list[Any]:
        return list(self.server_state.connections)

    def _goodbyes(self) -> list[Callable[[], object]]:
        """What tells a viewer to go, for each that was not told yet; polls are told by their answer."""
        connections = [found for found in self._connections() if isinstance(found, HandedOver) and not found.closing]
        services = self._services()
        if services is None:
            return [connection.shutdown for connection in connections]
        lifecycle: Lifecycle = services.lifecycle
        polls = [partial(lifecycle.send_away, poll) for poll in lifecycle.waiting]
        return [*(connection.shutdown for connection in connections), *polls]

    def _busy(self) -> bool:
        return bool(self.server_state.tasks) or any(map(_is_busy, self.server_state.connections))

    def _services(self) -> Any:
        """What our app works with (gateway/app.py); None of any other app. Middleware has what it wraps as `app`."""
        app: Any = self.config.loaded_app
        while app is not None:
            services = getattr(getattr(app, "state", None), "services", None)
            if services is not None:
                return services
            app = getattr(app, "app", None)
        return None


def _share(viewers: int, seconds_left: float) -> int:
    """How many of *viewers* are told in this tick, so that all are in time."""
    if seconds_left <= _TICK_SECONDS:
        return viewers
    return math.ceil(viewers * _TICK_SECONDS / seconds_left)


def _is_busy(connection: Any) -> bool:
    """Whether there is somebody to wait for; everything is, but a connection between two requests."""
    return connection.busy if isinstance(connection, HttpProtocol) else True


@contextlib.contextmanager
def _silent_about_cut_requests() -> Iterator[None]:
    """uvicorn calls it an error of the app when its task is cancelled."""

    def is_news(record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))

    logs = [logging.getLogger(name) for name in ("uvicorn.error", "runcast.handshakes")]
    for log in logs:
        log.addFilter(is_news)
    try:
        yield
    finally:
        for log in logs:
            log.removeFilter(is_news)
