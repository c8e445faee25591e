"""Serving on any ASGI server: the same promises as on our own, with nothing but its `receive` and `send`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.transports.sinks import serve_on_asgi
from tests.gateway.transports.doubles import RecordingPeer

LIMIT = 1000


class Server:
    """One connection of an ASGI server: hands out what the viewer sent; takes what it is sent, when told to."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.handed_out = 0
        self.sent = bytearray()
        self.goodbyes: list[tuple[int, str]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.broken = False

    def say(self, *texts: str) -> None:
        for text in texts:
            self.incoming.put_nowait({"type": "websocket.receive", "text": text})

    async def receive(self) -> dict[str, Any]:
        message = await self.incoming.get()
        self.handed_out += 1
        return message

    async def send_piece(self, data: bytes) -> None:
        await self.open.wait()
        if self.broken:
            raise OSError("it went")
        self.sent += data

    async def say_goodbye(self, code: int, reason: str) -> None:
        if self.broken:
            raise RuntimeError("after it went")
        self.goodbyes.append((code, reason))

    def serve(self, peer: RecordingPeer) -> asyncio.Task[None]:
        serving = serve_on_asgi(peer, self.receive, self.send_piece, self.say_goodbye, unsent_limit=LIMIT)
        return asyncio.create_task(serving)


async def _turns() -> None:
    """Let everybody work until they wait."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def peer() -> RecordingPeer:
    return RecordingPeer()


async def test_messages_are_heard_and_answers_are_sent(server: Server) -> None:
    """Until the viewer goes; then the peer is told, last and once."""
    peer = RecordingPeer(b"answer;")
    serving = server.serve(peer)
    server.say("one", "two")
    server.incoming.put_nowait({"type": "websocket.receive", "text": None, "bytes": b"\0"})
    await serving

    assert peer.texts == ["one", "two"]
    assert peer.calls == ["connected", "received", "received", "received_binary", "closed"]
    assert server.sent == b"answer;answer;"
    assert server.goodbyes == [(1003, "only text is spoken here")]


@pytest.mark.parametrize("kind", ["websocket.disconnect", "http.disconnect"])
async def test_a_viewer_that_goes_is_told_to_the_peer(server: Server, peer: RecordingPeer, kind: str) -> None:
    """Without a goodbye, which nobody would hear; and no task is left."""
    before = asyncio.all_tasks()
    serving = server.serve(peer)
    server.incoming.put_nowait({"type": kind})
    await serving

    assert peer.calls == ["connected", "closed"]
    assert server.goodbyes == []
    assert asyncio.all_tasks() == before


async def test_what_is_unsent_goes_out_before_the_goodbye(server: Server, peer: RecordingPeer) -> None:
    """Closing waits for it, and what is written after that is dropped."""
    server.open.clear()
    serving = server.serve(peer)
    await _turns()
    assert peer.sink is not None

    peer.sink.write(b"first;")
    peer.sink.close(4401, "no token")
    peer.sink.write(b"late;")
    peer.sink.close(1000, "again")
    await _turns()
    assert server.goodbyes == []
    server.open.set()
    await serving

    assert server.sent == b"first;"
    assert server.goodbyes == [(4401, "no token")]


async def test_the_peer_is_told_when_too_much_is_unsent_and_when_it_was_taken(
    server: Server, peer: RecordingPeer
) -> None:
    """Once each, however often is written in between."""
    server.open.clear()
    serving = server.serve(peer)
    await _turns()
    assert peer.sink is not None

    peer.sink.write(b"x" * LIMIT)
    assert peer.calls == ["connected"]
    for _ in range(3):
        peer.sink.write(b"x")
    assert peer.calls == ["connected", "filled"]
    assert peer.sink.unsent == LIMIT + 3
    server.open.set()
    await _turns()

    assert peer.calls == ["connected", "filled", "drained"]
    assert peer.sink.unsent == 0
    peer.sink.close(1000, "")
    await serving


async def test_a_peer_that_does_not_want_to_hear_is_not_told(server: Server, peer: RecordingPeer) -> None:
    """The server keeps what comes meanwhile, and so holds the viewer back."""
    serving = server.serve(peer)
    await _turns()
    assert peer.sink is not None
    peer.sink.pause_reading()
    server.say(*(f"{number}" for number in range(100)))
    await _turns()
    assert server.handed_out <= 1  # the one that it was waiting for

    peer.sink.resume_reading()
    server.incoming.put_nowait({"type": "websocket.disconnect"})
    await serving

    assert peer.texts == [f"{number}" for number in range(100)]


async def test_aborting_does_not_wait_for_what_is_unsent(server: Server, peer: RecordingPeer) -> None:
    """A viewer that takes nothing is let go at once."""
    server.open.clear()
    serving = server.serve(peer)
    await _turns()
    assert peer.sink is not None
    peer.sink.write(b"never taken")
    await _turns()

    peer.sink.abort()
    await serving

    assert peer.calls[-1] == "closed"
    assert server.sent == b""


async def test_a_send_that_fails_is_an_end_like_any_other(server: Server, peer: RecordingPeer) -> None:
    """The viewer went while we wrote: the peer is told, and nobody gets an error."""
    server.broken = True
    serving = server.serve(peer)
    await _turns()
    assert peer.sink is not None

    peer.sink.write(b"x")
    peer.sink.close(1000, "")
    await serving

    assert peer.calls == ["connected", "closed"]


async def test_cancelling_ends_the_peer(server: Server, peer: RecordingPeer) -> None:
    """A server that stops cancels its tasks; what the peer has opened is given back."""
    serving = server.serve(peer)
    await _turns()

    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving

    assert peer.calls == ["connected", "closed"]
