"""uvicorn's protocol classes with what ours add: whose socket it is at each moment, and the limits of a request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from uvicorn.server import ServerState

from gateway.server import patience
from gateway.server.protocols import HttpProtocol
from gateway.server.run import server_config
from gateway.settings import Settings
from gateway.transports.sinks import HANDOVER
from tests.gateway.transports.doubles import FakeTransport, RecordingPeer
from tests.hardening.peers import PING, frame, request, say, upgrade

if TYPE_CHECKING:
    from collections.abc import Callable

SETTINGS = Settings(redis_url="redis://unused")


class App:
    """
    Streams at /stream, once it may go on; answers at any other path; takes every WebSocket, once it may go on.

    Streams and WebSockets are handed to a peer of their own.
    """

    def __init__(self) -> None:
        self.may_go_on = asyncio.Event()
        self.peers: list[RecordingPeer] = []
        self.paths: list[str] = []
        self.callers: list[tuple[object, str]] = []

    async def __call__(self, scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        if scope["type"] == "lifespan":
            return
        self.paths.append(scope["path"])
        self.callers.append((scope["client"], scope["scheme"]))
        if scope["type"] == "websocket":
            await receive()
            await self.may_go_on.wait()
            await send({"type": "websocket.accept"})
        elif scope["path"] == "/stream":
            await self.may_go_on.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"first;", "more_body": True})
        elif scope["path"] == "/parts":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"first;", "more_body": True})
            await send({"type": "http.response.body", "body": b"last"})
            return
        else:
            headers = [(b"content-length", b"2")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"ok"})
            return
        self.peers.append(RecordingPeer())
        scope["extensions"][HANDOVER](self.peers[-1], SETTINGS.socket_limits)


class Connection:
    """One connection to a server that needs no socket."""

    def __init__(self, *, waits: bool = False) -> None:
        self.app, self.transport, self.state = App(), FakeTransport(), ServerState()
        if not waits:
            self.app.may_go_on.set()
        config = server_config(self.app, SETTINGS)
        config.load()
        protocol = HttpProtocol(config=config, server_state=self.state, app_state={})
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)

    async def settle(self) -> None:
        """Let everybody work until they wait, and tell the loss of a connection that is closed."""
        for _ in range(20):
            await asyncio.sleep(0)
        self.transport.settle()

    async def receive(self, data: bytes) -> None:
        self.transport.receive(data)
        await self.settle()

    async def end(self) -> None:
        """The other side goes."""
        self.transport.receive_end()
        await self.settle()

    @property
    def head(self) -> bytes:
        return bytes(self.transport.sent).partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        return bytes(self.transport.sent).partition(b"\r\n\r\n")[2]


async def test_a_stream_is_handed_over_and_nothing_of_its_request_is_left() -> None:
    """From then on the peer writes, and the server knows the socket as the connection."""
    connection = Connection()
    await connection.receive(request("/stream"))
    (peer,) = connection.app.peers
    assert peer.sink is not None

    peer.sink.write(b"7\r\nsecond;\r\n")

    assert connection.body == b"6\r\nfirst;\r\n7\r\nsecond;\r\n"
    (owner,) = connection.state.connections
    assert id(owner) == id(peer.sink)
    assert connection.state.tasks == set()
    await connection.end()
    assert peer.calls == ["connected", "closed"]
    assert connection.state.connections == set()


@pytest.mark.parametrize("behind", [request("/stream"), request("/other"), request("/other") * 50, b"GET /half", b"\0"])
async def test_what_comes_behind_a_stream_does_not_take_its_place(behind: bytes) -> None:
    """The request that is answered is handed over, not the newest; reading goes on, so that its end is noticed."""
    connection = Connection(waits=True)
    await connection.receive(request("/stream"))
    if connection.transport.is_reading():
        await connection.receive(behind)
    connection.app.may_go_on.set()
    await connection.settle()

    if behind == b"\0":  # what is no request closes the connection, before or after
        assert connection.transport.is_closing()
        assert all(peer.calls == ["connected", "closed"] for peer in connection.app.peers)
        return
    (peer,) = connection.app.peers
    assert connection.app.paths == ["/stream"]
    assert connection.body == b"6\r\nfirst;\r\n"
    assert connection.transport.is_reading()
    await connection.end()
    assert peer.calls == ["connected", "closed"]


async def test_requests_before_a_stream_are_answered_first() -> None:
    """In their order; then the stream begins."""
    connection = Connection()

    await connection.receive(request("/one") + request("/two") + request("/stream") + request("/never"))

    assert connection.app.paths == ["/one", "/two", "/stream"]
    assert bytes(connection.transport.sent).count(b"HTTP/1.1 200") == 3
    assert len(connection.app.peers) == 1
    await connection.end()


async def test_a_handshake_behind_an_answer_that_goes_on_closes_the_connection() -> None:
    """Two would write to one socket, and one of them would never learn of its end."""
    connection = Connection(waits=True)

    await connection.receive(request("/stream") + upgrade())
    connection.app.may_go_on.set()
    await connection.settle()

    assert connection.app.paths == ["/stream"]
    assert all(peer.calls == ["connected", "closed"] for peer in connection.app.peers)
    assert connection.state.connections == set()


async def test_an_old_client_gets_no_chunks(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever says HTTP/1.0 gets the body as it is, up to the end of the connection; plain answers have a length."""
    connection = Connection()
    await connection.receive(request("/stream", version="1.0"))
    (peer,) = connection.app.peers
    assert peer.sink is not None
    peer.sink.close(1000, "every run ended")
    await connection.settle()
    assert (connection.body, b"transfer-encoding" in connection.head) == (b"first;", False)
    assert connection.transport.is_closing()

    parts = Connection()
    await parts.receive(request("/parts", version="1.0"))
    assert (parts.body, b"transfer-encoding" in parts.head) == (b"first;last", False)
    assert parts.transport.is_closing()
    assert not caplog.records

    plain = Connection()
    await plain.receive(request("/plain", version="1.0"))
    assert (plain.body, b"content-length: 2" in plain.head) == (b"ok", True)
    assert plain.transport.is_closing()


async def test_frames_before_our_answer_are_for_the_socket() -> None:
    """In the same segment as the handshake or in later ones: nothing is lost, swapped, or answered too early."""
    connection = Connection(waits=True)

    third = say("three")

    await connection.receive(upgrade() + say("one") + frame(PING, b"early"))
    await connection.receive(say("two") + third[:5])
    assert connection.transport.sent == b""
    connection.app.may_go_on.set()
    await connection.settle()
    await connection.receive(third[5:])

    (peer,) = connection.app.peers
    assert peer.texts == ["one", "two", "three"]
    assert connection.head.startswith(b"HTTP/1.1 101")
    assert connection.body == b"\x8a\x05early"
    await connection.end()
    assert peer.calls[-1] == "closed"


async def test_what_comes_before_our_answer_is_bounded() -> None:
    """A viewer that does not wait is not read beyond a limit, and is read on after the handover."""
    connection = Connection(waits=True)

    await connection.receive(upgrade() + say("x" * 1000) * 200)
    assert not connection.transport.is_reading()
    connection.app.may_go_on.set()
    await connection.settle()

    assert connection.transport.is_reading()
    (peer,) = connection.app.peers
    assert len(peer.texts) == 200
    await connection.end()


@pytest.mark.parametrize("data", [request("/stream"), upgrade()])
async def test_a_viewer_that_goes_before_our_answer_leaves_nothing(data: bytes) -> None:
    """Its loss is told to whoever had the socket then."""
    connection = Connection(waits=True)
    await connection.receive(data)

    await connection.end()
    connection.app.may_go_on.set()
    await connection.settle()

    assert all(peer.calls == ["connected", "closed"] for peer in connection.app.peers)
    assert connection.state.connections == set()
    assert connection.state.tasks == set()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("/" + "x" * 70_000), b"414"),
        (request("/", *["X: " + "y" * 1000] * 140)[:-2], b"431"),
        (upgrade("X: " + "y" * 9000), b"431"),
        (upgrade("Transfer-Encoding: chunked"), b"400"),
        (b"\x16\x03\x01", b"400"),
    ],
)
async def test_a_request_that_can_t_be_read_is_answered_and_closed(data: bytes, status: bytes) -> None:
    """With the status that says why, and not with silence."""
    connection = Connection()

    await connection.receive(data)

    assert connection.head.split(b" ")[1] == status
    assert connection.transport.is_closing()
    assert connection.app.paths == []


HALVES = [b"G", b"\r\n", b"GET / HTTP/1.1\r\nX: y\r\n"]


@pytest.mark.parametrize(
    "segments", [[], *([half] for half in HALVES), *([request("/plain"), half] for half in HALVES)]
)
async def test_a_request_has_its_time(segments: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of a connection, and each that begins behind another."""
    monkeypatch.setattr(patience, "REQUEST_SECONDS", 0.01)
    connection = Connection()
    for segment in segments:
        await connection.receive(segment)

    async with asyncio.timeout(10):
        while not connection.transport.is_closing():
            await asyncio.sleep(0.001)
    await connection.settle()

    assert connection.state.connections == set()


async def test_a_large_body_that_nobody_reads_is_no_large_request() -> None:
    """Only the request line and headers are kept, so only they are counted."""
    connection = Connection()
    await connection.receive(request("/plain", "Content-Length: 1000000", method="POST"))
    for _ in range(100):
        await connection.receive(b"x" * 10_000)
    await connection.receive(request("/plain"))

    assert bytes(connection.transport.sent).count(b"HTTP/1.1 200") == 2
    assert not connection.transport.is_closing()
    connection.transport.close()
    await connection.settle()


async def test_a_stream_and_a_socket_are_not_bound_to_the_time_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even when half a request stands behind them."""
    stream, socket = Connection(), Connection()
    monkeypatch.setattr(patience, "REQUEST_SECONDS", 0.3)
    await stream.receive(request("/stream") + b"GET /ha")
    await socket.receive(upgrade())
    other = Connection()  # its time begins later, and so ends later

    async with asyncio.timeout(10):
        while not other.transport.is_closing():
            await asyncio.sleep(0.02)

    assert not stream.transport.is_closing()
    assert not socket.transport.is_closing()
    for connection in (stream, socket):
        await connection.end()


async def test_a_client_is_who_connected_and_not_who_it_says() -> None:
    """Nobody is believed about addresses: not a proxy, and not a viewer that pretends to be one."""
    connection = Connection()

    await connection.receive(request("/any", "X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https"))

    assert connection.head.startswith(b"HTTP/1.1 200")
    ((client, scheme),) = connection.app.callers
    assert client is None  # there is no network here, and so nobody to name
    assert scheme == "http"
