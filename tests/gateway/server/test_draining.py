"""A server that stops: what is finished, who is told when, and what is cut."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.server import draining
from gateway.server.draining import DrainingServer
from gateway.server.run import server_config
from gateway.settings import Settings
from gateway.transports.lifecycle import Lifecycle
from gateway.transports.sinks import HANDOVER
from tests.hardening.peers import upgrade
from tests.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.transports.sinks import ViewerSink

PATIENCE_SECONDS = 20.0


class Staying:
    """A viewer that says a word when it is sent away, if it goes at all."""

    def __init__(self, *, goes: bool = True) -> None:
        self.goes = goes
        self.told_at: float | None = None
        self.sink: ViewerSink | None = None

    def connected(self, sink: ViewerSink) -> None:
        self.sink = sink

    def going_away(self) -> None:
        self.told_at = self.told_at or time.monotonic()
        if self.goes and self.sink is not None:
            self.sink.close(1012, "the server is stopping")

    def closed(self) -> None:
        self.sink = None

    def received(self, text: str) -> None: ...
    def received_binary(self) -> None: ...
    def filled(self) -> None: ...
    def drained(self) -> None: ...


class App:
    """Streams at /stream; /slow answers once it may; /held when it is told to; /never not; any other path at once."""

    def __init__(self) -> None:
        self.state = self
        self.services = self
        self.lifecycle = Lifecycle()
        self.reloads = 0
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()
        self.viewers: list[Staying] = []
        self.answered_at: list[float] = []
        self.goes = True

    def reload(self) -> None:
        self.reloads += 1

    async def __call__(self, scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        if scope["type"] == "lifespan":
            return
        self.asked.append(scope["path"])
        if scope["path"] == "/slow":
            await self.may_answer.wait()
        elif scope["path"] == "/held":
            told = asyncio.Event()
            with self.lifecycle.telling(told.set):
                await told.wait()
            self.answered_at.append(time.monotonic())
        elif scope["path"] == "/never":
            await asyncio.Event().wait()
        headers = [] if scope["path"] == "/stream" else [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["path"] == "/stream":
            self.viewers.append(Staying(goes=self.goes))
            scope["extensions"][HANDOVER](self.viewers[-1], Settings(redis_url="redis://unused").socket_limits)
        else:
            await send({"type": "http.response.body", "body": b"done"})


class Serving:
    """A draining server in this loop."""

    def __init__(self, seconds: float) -> None:
        self.app = App()
        self.port = free_port()
        settings = Settings(redis_url="redis://unused", port=self.port)
        self.server = DrainingServer(server_config(self.app, settings), seconds)
        self.ended = asyncio.create_task(self.server.serve())

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not holds():
                await asyncio.sleep(0.005)

    async def ask(self, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Ask on a connection of its own, and return when the app was asked."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        before = len(self.app.asked)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await self.until(lambda: len(self.app.asked) > before)
        return reader, writer


@contextlib.asynccontextmanager
async def serving(seconds: float) -> AsyncIterator[Serving]:
    serving = Serving(seconds)
    await serving.until(lambda: serving.server.started)
    try:
        yield serving
    finally:
        serving.server.stop()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await serving.ended


async def test_what_is_being_answered_is_finished() -> None:
    """It has its answer, which says that this connection takes no other request; and then the server ends."""
    async with serving(60) as it:
        reader, writer = await it.ask("/slow")
        it.server.stop()
        await it.until(lambda: it.app.lifecycle.draining)
        assert not it.ended.done()

        it.app.may_answer.set()

        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"connection: close\r\n" in answer
        assert answer.endswith(b"done")
        async with asyncio.timeout(PATIENCE_SECONDS):
            await it.ended
        writer.close()


async def test_what_never_ends_is_cut_in_time(caplog: pytest.LogCaptureFixture) -> None:
    """Endless requests, half of one, and a viewer that stays: none holds the exit up, or makes noise."""
    async with serving(1) as it:
        it.app.goes = False
        peers = [await it.ask("/never"), await it.ask("/stream")]
        for beginning in (b"GET /half HTTP/1.1\r\nHo", upgrade(target="/never")):
            peers.append(await asyncio.open_connection("127.0.0.1", it.port))
            peers[-1][1].write(beginning)
        await it.until(lambda: it.app.asked.count("/never") == 2)
        began = time.monotonic()
        with caplog.at_level(logging.INFO):
            it.server.stop()
            await it.ended
        assert 0.5 < time.monotonic() - began < PATIENCE_SECONDS
        assert not it.server.server_state.connections
        assert not it.server.server_state.tasks
        for _, writer in peers:
            writer.close()
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    assert "4 connections were cut" in caplog.text


async def test_few_are_told_soon_and_none_twice() -> None:
    """Ten viewers are no crowd, and whoever waits for the exit should not wait for the whole drain time."""
    async with serving(60) as it:
        peers = [await it.ask("/stream") for _ in range(10)]
        began = time.monotonic()
        it.server.stop()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await it.ended
        told = sorted(viewer.told_at - began for viewer in it.app.viewers if viewer.told_at is not None)
        assert len(told) == 10
        assert told[-1] - told[0] > 0.1  # and still not all at once
        for reader, writer in peers:
            assert (await reader.read()).endswith(b"0\r\n\r\n")
            writer.close()


async def test_polls_that_are_held_are_answered_one_after_the_other() -> None:
    """Those who come back arrive so at the next gateway; and none may come back on the connection that it has."""
    async with serving(60) as it:
        peers = [await it.ask("/held") for _ in range(20)] + [await it.ask("/stream")]
        began = time.monotonic()
        it.server.stop()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await it.ended
        told = [moment - began for moment in it.app.answered_at]
        assert len(told) == 20
        assert told[-1] - told[0] > 0.3  # of 0.84 s in which all are told
        for reader, writer in peers[:-1]:
            answer = await reader.read()
            assert answer.endswith(b"done")
            assert b"connection: close\r\n" in answer
            writer.close()
        peers[-1][1].close()


async def test_who_comes_late_is_told_too() -> None:
    """A proxy may bring a viewer on a connection that it has kept, while the others are being sent away."""
    async with serving(4) as it:
        peers = [await it.ask("/stream") for _ in range(30)]
        reader, writer = await it.ask("/any")
        assert (await reader.readuntil(b"done")).endswith(b"done")
        it.server.stop()
        await it.until(lambda: any(viewer.told_at for viewer in it.app.viewers))
        writer.write(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await reader.read()).endswith(b"0\r\n\r\n")
        async with asyncio.timeout(PATIENCE_SECONDS):
            await it.ended
        assert len(it.app.viewers) == 31
        for _, other in [*peers, (reader, writer)]:
            other.close()


async def test_asked_twice_it_ends_at_once() -> None:
    """Whoever asks again does not want to wait for anybody."""
    async with serving(60) as it:
        it.app.goes = False
        _, writer = await it.ask("/stream")
        it.server.stop()
        await it.until(lambda: it.app.viewers[0].told_at)
        it.server.stop()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await it.ended
        writer.close()


async def test_a_signal_is_heard_also_where_raising_comes_to_nothing() -> None:
    """In a finalizer, say, or whatever the garbage collector calls: what is raised there is printed and forgotten."""
    async with serving(1) as it:
        with contextlib.suppress(SystemExit):
            it.server.end(signal.SIGTERM, None)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await it.ended


async def test_a_reload_is_the_apps_affair() -> None:
    """However it is wrapped; and one that has nothing to reload is none the worse for it."""
    async with serving(1) as it:
        it.server.reload()
        await it.until(lambda: it.app.reloads == 1)
        it.server.config.loaded_app = lambda *call: it.app(*call)
        it.server.reload()
        await it.until(lambda: not it.server._reload_asked)
        assert it.app.reloads == 1


@pytest.mark.parametrize(("viewers", "seconds"), [(0, 1.0), (1, 0.01), (10, 0.05), (10, 5.0), (10_000, 7.5), (7, 0.3)])
def test_all_are_told_in_time(viewers: int, seconds: float) -> None:
    """Whatever their number, and each tick about as many as the others."""
    shares: list[int] = []
    left = viewers
    while left:
        shares.append(draining._share(left, seconds - len(shares) * draining._TICK_SECONDS))
        left -= shares[-1]
    assert len(shares) <= max(1, seconds / draining._TICK_SECONDS + 1)
    assert not shares or max(shares) - min(shares[:-1] or shares) <= 2
