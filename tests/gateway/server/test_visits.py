"""Requests at an app's desk: answered by one write, held without a task, or handed on to the app as if nothing was."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from uvicorn.server import ServerState

from gateway.server.protocols import HttpProtocol
from gateway.server.run import server_config
from gateway.settings import Settings
from gateway.transports.desk import FrontDesk
from tests.gateway.transports.doubles import FakeTransport, RecordingPeer
from tests.hardening.peers import PING, frame, request, say, upgrade

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.transports.desk import SocketVisit, Visit

SETTINGS = Settings(redis_url="redis://unused")
PORT = 4000


class Clerk:
    """
    Takes whatever asks for /desk, and answers when it is told; what asks for /desk/now at once, and what asks for
    /desk/stream with what goes on.
    """

    def __init__(self) -> None:
        self.visits: list[Visit] = []
        self.shown: list[bytes] = []
        self.peers: list[RecordingPeer] = []
        self.left = 0

    def take(self, visit: Visit) -> bool:
        self.shown.append(visit.path)
        if visit.path == b"/desk/stream":
            self.peers.append(RecordingPeer())
            visit.begin(b"x-by: clerk\r\n", b"first;", self.peers[-1], SETTINGS.socket_limits)
            return True
        if visit.path == b"/desk/now":
            visit.answer(b"x-by: clerk\r\n", b"now")
            return True
        if visit.path != b"/desk":
            return False
        visit.gone = self._gone
        self.visits.append(visit)
        return True

    def forget(self) -> None:
        """It keeps nothing."""

    def _gone(self) -> None:
        self.left += 1


class SocketClerk:
    """Accepts whatever asks for /socket."""

    def __init__(self) -> None:
        self.shown: list[bytes] = []
        self.peers: list[RecordingPeer] = []

    def take(self, visit: SocketVisit) -> bool:
        self.shown.append(visit.path)
        if visit.path != b"/socket":
            return False
        self.peers.append(RecordingPeer())
        visit.accept(b"Sec-WebSocket-Protocol: a\r\n", self.peers[-1], SETTINGS.socket_limits)
        return True


class App:
    """Answers with path and query, and writes down what it was asked and what it was sent."""

    def __init__(self) -> None:
        self.desk = FrontDesk()
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        message = await receive()
        self.asked.append({**scope, "body": message["body"], "more": message["more_body"]})
        body = scope["path"].encode() + b"?" + scope["query_string"]
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Connection:
    """One connection to a server whose app has a desk, and that needs no socket."""

    def __init__(self) -> None:
        self.app, self.clerk, self.socket_clerk = App(), Clerk(), SocketClerk()
        self.app.desk.add(self.clerk)
        self.app.desk.add_for_sockets(self.socket_clerk)
        self.transport, self.state = FakeTransport(), ServerState()
        config = server_config(self.app, SETTINGS)
        config.load()
        self.protocol = HttpProtocol(config=config, server_state=self.state, app_state={})
        self.transport.set_protocol(self.protocol)
        self.protocol.connection_made(self.transport)
        self.protocol.server = ("127.0.0.1", PORT)

    async def receive(self, data: bytes) -> None:
        self.transport.receive(data)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        self.transport.settle()

    @property
    def sent(self) -> bytes:
        return bytes(self.transport.sent)

    def is_busy(self) -> bool:
        return self.protocol.busy

    async def end(self) -> None:
        self.transport.receive_end()
        await self.settle()


async def test_a_visit_is_held_without_a_task_and_answered_as_a_whole() -> None:
    """Nothing is sent before; then the whole answer, with its length; and the connection is ready for another one."""
    connection = Connection()
    connection.state.default_headers = [(b"date", b"today")]

    await connection.receive(request("/desk?a=1", "X-Who: me"))

    (visit,) = connection.clerk.visits
    assert (visit.path, visit.query, visit.port) == (b"/desk", b"a=1", PORT)
    assert (b"x-who", b"me") in visit.headers
    assert connection.sent == b""
    assert connection.state.tasks == set()
    assert connection.is_busy()

    visit.answer(b"x-by: clerk\r\n", b"done")

    assert connection.sent == b"HTTP/1.1 200 OK\r\ndate: today\r\nx-by: clerk\r\ncontent-length: 4\r\n\r\ndone"
    assert not connection.is_busy()
    await connection.receive(request("/desk/now"))
    await connection.receive(request("/other?b=2"))
    assert connection.sent.count(b"HTTP/1.1 200") == 3
    assert connection.sent.endswith(b"/other?b=2")
    await connection.end()
    assert connection.clerk.left == 0


async def test_what_goes_on_reaches_the_app_as_if_it_had_just_come() -> None:
    """With everything that the app looks at, after it was held; and the app's answer is the only one."""
    straight, held = Connection(), Connection()
    wanted = request("/desk?a=%20b", "Authorization: Bearer t")
    straight.app.desk = straight.protocol._desk = None  # type: ignore[assignment]

    await straight.receive(wanted)
    await held.receive(wanted)
    held.clerk.visits[0].go_on()
    held.clerk.visits[0].answer(b"", b"late")
    await held.settle()

    assert held.sent == straight.sent
    assert held.sent.endswith(b"/desk?a=%20b")
    for asked in (straight.app.asked[0], held.app.asked[0]):
        del asked["extensions"], asked["server"]
    assert held.app.asked == straight.app.asked
    for connection in (straight, held):
        await connection.end()


async def test_who_leaves_is_told_to_the_desk() -> None:
    """Once; and what is said to him afterwards does no harm."""
    connection = Connection()
    await connection.receive(request("/desk"))

    await connection.end()
    connection.clerk.visits[0].answer(b"", b"late")
    connection.clerk.visits[0].go_on()
    await connection.settle()

    assert connection.clerk.left == 1
    assert connection.sent == b""
    assert connection.app.asked == []
    assert connection.state.connections == set()


@pytest.mark.parametrize("answered_by", ["clerk", "app"])
async def test_what_comes_behind_a_visit_waits_for_its_answer(answered_by: str) -> None:
    """Answers leave in the order of the requests, whoever gives them."""
    connection = Connection()
    await connection.receive(request("/desk") + request("/desk?second") + request("/third"))
    (visit,) = connection.clerk.visits
    assert connection.sent == b""

    if answered_by == "clerk":
        visit.answer(b"", b"first")
    else:
        visit.go_on()
    await connection.settle()

    first = b"first" if answered_by == "clerk" else b"/desk?"
    bodies = [answer.partition(b"\r\n\r\n")[2] for answer in connection.sent.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [first, b"/desk?second", b"/third?"]
    await connection.end()


async def test_a_visitor_who_leaves_with_others_behind_him_is_told_too() -> None:
    """The newest request is not the one that is held."""
    connection = Connection()
    await connection.receive(request("/desk") + request("/behind"))

    await connection.end()

    assert connection.clerk.left == 1


@pytest.mark.parametrize(
    "asked",
    [
        request("/desk", method="POST"),
        request("/desk", method="HEAD"),
        request("/desk", version="1.0"),
        request("/desk", "Connection: close"),
        request("/desk", "Expect: 100-continue", "Content-Length: 1"),
        upgrade(target="/desk"),
    ],
)
async def test_only_what_needs_nothing_but_an_answer_is_shown(asked: bytes) -> None:
    """All else is the app's alone."""
    connection = Connection()

    await connection.receive(asked)

    assert connection.clerk.shown == []
    connection.transport.close()
    await connection.settle()


async def test_who_does_not_read_is_not_answered_at_the_desk() -> None:
    """There nobody waits until what is unsent has gone: it would grow without end."""
    connection = Connection()
    connection.transport.stuck = True
    connection.protocol.flow.pause_writing()

    await connection.receive(request("/desk/now"))

    assert connection.clerk.shown == []
    connection.transport.abort()
    await connection.settle()


async def test_a_visit_is_the_last_of_its_connection_when_the_server_stops() -> None:
    """It is answered, says so, and closes."""
    connection = Connection()
    await connection.receive(request("/desk"))

    connection.protocol.finish()
    connection.clerk.visits[0].answer(b"", b"bye")
    await connection.settle()

    assert b"connection: close\r\n" in connection.sent
    assert connection.sent.endswith(b"bye")
    assert connection.state.connections == set()


async def test_the_private_port_has_no_desk() -> None:
    """What is asked there is for whoever watches the gateway."""
    connection = Connection()
    connection.app.desk.private_port = PORT

    await connection.receive(request("/desk"))

    assert connection.clerk.shown == []
    assert connection.sent.endswith(b"/desk?")
    await connection.end()


# What goes on.


async def test_a_stream_begins_with_one_write_and_without_a_task() -> None:
    """Then the socket is the peer's, and nothing of the request or its connection is left."""
    connection = Connection()
    connection.state.default_headers = [(b"date", b"today")]

    await connection.receive(request("/desk/stream"))

    (peer,) = connection.clerk.peers
    assert connection.sent == (
        b"HTTP/1.1 200 OK\r\ndate: today\r\nx-by: clerk\r\ntransfer-encoding: chunked\r\n\r\n6\r\nfirst;\r\n"
    )
    assert peer.calls == ["connected"]
    assert connection.state.tasks == set()
    (socket,) = connection.state.connections
    assert id(socket) == id(peer.sink)
    protocol = weakref.ref(connection.protocol)
    del connection.protocol
    gc.disable()
    try:
        assert protocol() is None
    finally:
        gc.enable()
    await connection.end()
    assert peer.calls == ["connected", "closed"]
    assert connection.state.connections == set()


@pytest.mark.parametrize("behind", [request("/other"), request("/desk/stream"), request("/desk") * 3, b"GET /half"])
async def test_what_comes_behind_a_stream_in_the_same_segment_is_nobodys(behind: bytes) -> None:
    """It is never answered; and no limit of time of a request holds for a stream."""
    connection = Connection()

    await connection.receive(request("/desk/stream") + behind)

    (peer,) = connection.clerk.peers
    assert connection.sent.count(b"HTTP/1.1") == 1
    assert connection.app.asked == []
    assert connection.protocol._request_timer is None
    assert connection.transport.is_reading()
    assert peer.calls == ["connected"]
    await connection.end()
    assert peer.calls == ["connected", "closed"]


async def test_what_is_no_request_behind_a_stream_ends_it() -> None:
    """Whether its peer came to know of it or not: nothing is left."""
    connection = Connection()

    await connection.receive(request("/desk/stream") + b"\0")
    await connection.settle()

    assert connection.transport.is_closing()
    assert connection.state.connections == set()
    assert connection.clerk.peers[0].calls in ([], ["connected", "closed"])


async def test_requests_before_a_stream_are_answered_first() -> None:
    """A stream behind an answer that is awaited is the app's: it has its turn later."""
    connection = Connection()

    await connection.receive(request("/desk/now") + request("/desk/stream"))

    assert connection.sent.count(b"HTTP/1.1 200") == 2
    assert connection.sent.endswith(b"6\r\nfirst;\r\n")
    await connection.end()


async def test_a_handshake_is_accepted_with_one_write_and_without_a_task() -> None:
    """With the subprotocol that the clerk chose; messages that came behind it are heard."""
    connection = Connection()
    connection.state.default_headers = [(b"date", b"today")]

    await connection.receive(upgrade(target="/socket") + say("hello") + frame(PING, b"early"))

    (peer,) = connection.socket_clerk.peers
    head, _, frames = connection.sent.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert head.endswith(b"\r\ndate: today\r\nSec-WebSocket-Protocol: a")
    assert frames == b"\x8a\x05early"
    assert peer.texts == ["hello"]
    assert connection.state.tasks == set()
    (socket,) = connection.state.connections
    assert id(socket) == id(peer.sink)
    await connection.end()
    assert peer.calls[-1] == "closed"
    assert connection.state.connections == set()


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (upgrade("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", target="/socket"), b"400"),
        (upgrade(target="/socket").replace(b"Version: 13", b"Version: 8"), b"426"),
        (upgrade(target="/socket").replace(b"GET", b"POST"), b"405"),
        (upgrade("Content-Length: 0", target="/socket"), b""),
    ],
    ids=["two keys", "another version", "a POST", "a body"],
)
async def test_a_handshake_with_which_something_is_the_matter_is_not_shown(asked: bytes, status: bytes) -> None:
    """It is refused with its status, or is the app's."""
    connection = Connection()

    await connection.receive(asked)

    assert connection.socket_clerk.shown == []
    if status:
        assert connection.sent.startswith(b"HTTP/1.1 " + status)
        assert (b"sec-websocket-version: 13" in connection.sent) is (status == b"426")
        assert connection.transport.is_closing()
    connection.transport.close()
    await connection.settle()


async def test_while_the_server_stops_nobody_is_taken() -> None:
    """Whoever comes then is the app's, which sends them away."""
    connection = Connection()
    connection.protocol.server_state.draining = True  # type: ignore[attr-defined]

    await connection.receive(request("/desk/stream"))
    await connection.receive(upgrade(target="/socket"))

    assert connection.clerk.shown == []
    assert connection.socket_clerk.shown == []
    connection.transport.close()
    await connection.settle()
