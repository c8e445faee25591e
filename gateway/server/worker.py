"""
One of several processes that serve viewers (workers.py), and the few words that it and its parent say to each other.

They share a socket. When the parent is gone, however that came, its end of the socket is closed, and the worker ends
too: nobody else would ever stop it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from typing import TYPE_CHECKING, Final

from gateway.errors import GatewayError
from gateway.server.draining import DrainingServer
from gateway.server.heap import settle_heap

if TYPE_CHECKING:
    import socket

    import uvicorn

_log = logging.getLogger("runcast.server")

# What a parent says.
DRAIN: Final = b"d"
DRAIN_QUICKLY: Final = b"q"
END: Final = b"e"
RELOAD: Final = b"r"

# What a worker says.
STARTED: Final = b"s"
#: The loop still turns; said once a second.
TURNING: Final = b"."
#: From now on nothing more is said.
DRAINING: Final = b"d"

#: The exit status of a worker that could not start.
COULD_NOT_START: Final = 3
_TICKS_PER_SECOND: Final = 10
_WORDS: Final = 64


class WorkerServer(DrainingServer):
    """
    A server that does what its parent says, and stops when that is gone.

    SIGTERM drains it too, for whoever wants to be rid of this one process.
    """

    def __init__(self, config: uvicorn.Config, drain_seconds: float, parent: socket.socket) -> None:
        super().__init__(config, drain_seconds)
        self._parent = parent
        parent.setblocking(False)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        asyncio.get_running_loop().add_reader(self._parent, self._hear)
        self._say(STARTED)

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_PER_SECOND == 0:
            self._say(TURNING)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._say(DRAINING)
        await super().shutdown(sockets)
        asyncio.get_running_loop().remove_reader(self._parent)

    def _say(self, word: bytes) -> None:
        with contextlib.suppress(OSError):  # it is gone, or does not listen; the first is noticed in `_hear`
            self._parent.send(word)

    def _hear(self) -> None:
        try:
            words = self._parent.recv(_WORDS)
        except BlockingIOError:
            return
        except OSError:
            words = b""
        if not words:
            asyncio.get_running_loop().remove_reader(self._parent)
            if not self.should_exit:
                _log.warning("the parent process is gone: this worker stops")
                self.stop()
        for place in range(len(words)):
            self._obey(words[place : place + 1])

    def _obey(self, word: bytes) -> None:
        if word == RELOAD:
            self.reload()
            return
        self.stop(quickly=word == DRAIN_QUICKLY)
        if word == END:
            self.stop()  # again


def work(config: uvicorn.Config, drain_seconds: float, listening: list[socket.socket], parent: socket.socket) -> None:
    """
    What a worker process runs, from its beginning to its end.

    Raises:
        SystemExit: With 0 at the end; with `COULD_NOT_START` otherwise, having said why.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        config.load()
    except Exception as error:
        _log.critical("a worker can't start: %s", error, exc_info=not isinstance(error, GatewayError))
        raise SystemExit(COULD_NOT_START) from None
    server = WorkerServer(config, drain_seconds, parent)
    signal.signal(signal.SIGTERM, server.end)
    settle_heap()
    server.run(listening)
    raise SystemExit(0 if server.started else COULD_NOT_START)
