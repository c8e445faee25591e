"""A viewer's socket after the handshake: whatever bytes come, in whatever pieces, its peer is told what they are."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.server import handover
from gateway.server.handover import ResponseSocket, WebSocketSocket
from gateway.transports.framings import WEBSOCKET
from gateway.transports.sinks import SocketLimits
from tests.gateway.transports.doubles import FakeTransport, RecordingPeer
from tests.hardening.peers import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame

if TYPE_CHECKING:
    from gateway.transports.sinks import ViewerSink

LIMITS = SocketLimits(unsent_bytes=1000, message_bytes=500)
GOODBYE = frame(CLOSE, struct.pack("!H", 1000))


class Setting:
    """A socket that was just handed over."""

    def __init__(self, kind: type[Any] = WebSocketSocket, *, answer: bytes = b"", **options: Any) -> None:
        self.transport, self.peer = FakeTransport(), RecordingPeer(answer)
        self.connections: set[Any] = set()
        self.socket = kind(self.transport, self.peer, self.connections, LIMITS, **options)
        self.socket.begin()

    def close_code(self) -> int | None:
        """The code of the last frame that was sent, which must be a close frame."""
        opcode, payload = frames(self.transport.sent)[-1]
        assert opcode == CLOSE
        return int.from_bytes(payload[:2], "big") if payload else None


RIGHT = st.one_of(
    st.text(max_size=40).map(lambda text: frame(TEXT, text.encode())),
    st.binary(max_size=125).map(lambda data: frame(PING, data)),
    st.binary(max_size=125).map(lambda data: frame(PONG, data)),
    st.just(frame(TEXT, b"{", fin=False) + frame(PING) + frame(CONTINUATION, b"}")),
    st.just(frame(TEXT, b"\xe2", fin=False) + frame(CONTINUATION, b"\x82\xac")),
)
ANY_FRAME = st.builds(
    frame,
    st.integers(0, 15),
    st.binary(max_size=600),
    fin=st.booleans(),
    reserved=st.sampled_from([0, 0, 0, 0, 1, 2, 4, 7]),
    masked=st.sampled_from([True, True, True, False]),
)
PIECES = st.lists(RIGHT | ANY_FRAME | st.binary(max_size=30) | st.just(GOODBYE), max_size=12)


def frames(sent: bytes | bytearray) -> list[tuple[int, bytes]]:
    """Opcode and payload of each frame that was sent; every one must be whole, unmasked and without reserved bits."""
    found, place = [], 0
    while place < len(sent):
        head, size = sent[place : place + 2]
        assert head & 0xF0 == 0x80
        assert size < 126
        found.append((head & 0xF, bytes(sent[place + 2 : place + 2 + size])))
        place += 2 + size
    assert place == len(sent)
    return found


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """*data* in segments of *sizes*, and the rest."""
    segments, place = [], 0
    for size in sizes:
        segments.append(data[place : place + size])
        place += size
    return [segment for segment in (*segments, data[place:]) if segment]


@settings(max_examples=400)
@given(PIECES, st.lists(st.integers(1, 40), max_size=10), st.sampled_from(["end", "goodbye", "close", "nothing"]))
async def test_any_bytes_in_any_pieces_end_well(pieces: list[bytes], sizes: list[int], then: str) -> None:
    """No error but a documented close code; the peer hears text only, and of its end last and once."""
    setting = Setting(answer=b"\x81\x00")
    for segment in cut(b"".join(pieces), sizes):
        setting.transport.receive(segment)
    if then == "end":
        setting.transport.receive_end()
    elif then == "goodbye":
        setting.socket.shutdown()
    elif then == "close":
        setting.socket.close(4401, "no token")
        setting.socket.close(1011, "again")
        setting.socket.write(b"\x81\x00")
    setting.transport.settle()
    if then != "nothing":
        setting.socket.abort()
        setting.transport.settle()

    calls = setting.peer.calls
    assert calls[0] == "connected"
    assert calls.count("closed") == (1 if setting.transport.is_closing() else 0)
    assert "closed" not in calls[:-1]
    assert (setting.connections == set()) is ("closed" in calls)
    said = [opcode for opcode, _ in frames(setting.transport.sent)]
    assert said.count(CLOSE) <= 1
    if CLOSE in said:
        assert set(said[said.index(CLOSE) + 1 :]) <= {PONG}  # no data follows a goodbye (RFC 6455, section 5.5.1)
    if "closed" in calls:
        assert setting.socket._timer is None or setting.socket._timer.cancelled()


@settings(max_examples=200)
@given(st.lists(st.text(max_size=60), max_size=8), st.lists(st.integers(1, 20), max_size=20), st.integers(1, 7))
async def test_texts_arrive_as_they_were_said_however_they_are_cut(
    texts: list[str], sizes: list[int], fragment: int
) -> None:
    """Segments and fragments are nothing that a peer could notice."""
    setting = Setting()
    data = b""
    for text in texts:
        raw = text.encode()
        parts = [raw[place : place + fragment] for place in range(0, len(raw), fragment)] or [b""]
        for number, part in enumerate(parts):
            data += frame(CONTINUATION if number else TEXT, part, fin=number == len(parts) - 1)

    for segment in cut(data, sizes):
        setting.transport.receive(segment)

    assert setting.peer.texts == texts
    assert not setting.transport.is_closing()


@given(st.lists(RIGHT, max_size=6), ANY_FRAME, st.lists(RIGHT, max_size=3))
async def test_after_a_frame_that_ends_the_socket_nothing_is_heard(
    before: list[bytes], last: bytes, after: list[bytes]
) -> None:
    """What comes behind a mistake, or a goodbye, is not worked on; what came before it was."""
    whole, alone = Setting(), Setting()
    alone.transport.receive(b"".join(before) + last)
    whole.transport.receive(b"".join(before) + last + b"".join(after))

    if alone.transport.is_closing():
        assert whole.peer.texts == alone.peer.texts
        assert whole.transport.sent == alone.transport.sent


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"x" * 501), 1009),
        (frame(BINARY, b"x"), 1003),
        (frame(3, b"x"), 1002),
        (frame(TEXT, b"x", masked=False), 1002),
    ],
    ids=["not UTF-8", "too long", "binary", "unknown kind", "not masked"],  # frames have random bytes in them
)
async def test_a_mistake_is_answered_with_its_code(data: bytes, code: int) -> None:
    """The documented ones, and after what was said before."""
    setting = Setting()
    setting.socket.write(WEBSOCKET.frame("welcome", b"{}", ""))

    setting.transport.receive(data)

    assert setting.close_code() == code
    assert setting.transport.sent.startswith(b"\x81\x02{}")


@pytest.mark.parametrize(
    ("data", "code"), [(frame(TEXT, b"\xff"), 1007), (frame(BINARY, b"x"), 1003)], ids=["not UTF-8", "binary"]
)
async def test_a_mistake_and_a_goodbye_in_one_segment_have_one_answer(data: bytes, code: int) -> None:
    """The mistake came first; with both goodbyes said, the connection ends."""
    setting = Setting()

    setting.transport.receive(data + GOODBYE)

    assert setting.close_code() == code
    assert len(frames(setting.transport.sent)) == 1
    assert setting.transport.is_closing()


async def test_a_viewer_that_left_can_still_be_sent_away() -> None:
    """A token may expire, or the server stop, while what is unsent keeps the socket of one who half-closed it."""
    for leave in ("end", "goodbye"):
        setting = Setting()
        setting.transport.stuck = True
        setting.socket.write(b"x" * 100)
        setting.transport.receive_end() if leave == "end" else setting.transport.receive(GOODBYE)

        setting.socket.close(4410, "token_expired")
        setting.socket.shutdown()
        setting.socket.write(b"more")

        setting.transport.take()
        setting.transport.settle()
        assert setting.peer.calls[-1] == "closed"
        assert b"more" not in setting.transport.sent


@pytest.mark.parametrize("way", ["close", "end", "mistake", "response"])
async def test_who_does_not_take_the_end_is_cut(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing waits for what is unsent, but not for ever."""
    monkeypatch.setattr(handover, "_CLOSE_SECONDS", 0.01)
    setting = Setting(ResponseSocket, chunked=True) if way == "response" else Setting()
    setting.transport.stuck = True
    setting.socket.write(b"x" * 100)

    match way:
        case "end":
            setting.transport.receive_end()
        case "mistake":
            setting.transport.receive(frame(TEXT, b"\xff"))
        case _:
            setting.socket.close(4410, "token_expired")
    setting.transport.settle()
    assert "closed" not in setting.peer.calls
    async with asyncio.timeout(10):
        while setting.socket.unsent:
            await asyncio.sleep(0)
    setting.transport.settle()

    assert setting.peer.calls[-1] == "closed"


async def test_a_viewer_that_went_before_the_handover_is_told_as_one_that_came_and_went() -> None:
    """Whether its loss was told to the protocol before us, or is yet to come: once."""
    transport, peer, connections = FakeTransport(), RecordingPeer(), set[Any]()
    socket = WebSocketSocket(transport, peer, connections, LIMITS)
    transport.close()

    socket.begin()
    transport.settle()

    assert peer.calls == ["connected", "closed"]
    assert connections == set()


class _ClosedTransport(FakeTransport):
    """As uvloop's, which raises when its viewer has left."""

    def is_closing(self) -> bool:
        return True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        raise RuntimeError("the handler is closed")

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        raise RuntimeError("the handler is closed")


class _GreetingPeer(RecordingPeer):
    """Says something as soon as it is connected, as all of ours do."""

    def connected(self, sink: ViewerSink) -> None:
        super().connected(sink)
        sink.write(b"welcome")


async def test_a_viewer_that_left_can_t_hurt_whoever_writes_to_it() -> None:
    """What would raise is dropped; the peer hears that it is over, and nothing of it stays."""
    for kind, options in ((ResponseSocket, {"chunked": True}), (WebSocketSocket, {})):
        peer, connections = _GreetingPeer(), set[Any]()
        socket: Any = kind(_ClosedTransport(), peer, connections, LIMITS, **options)

        socket.begin()
        socket.write(b"more")
        socket.close(1000, "")
        socket.pause_reading()

        assert peer.calls == ["connected", "closed"]
        assert connections == set()


async def test_the_peer_is_told_when_more_is_unsent_than_is_kept_and_when_it_was_taken() -> None:
    """The transport's buffer is the only one, and its limit is the one of the settings."""
    setting = Setting()
    setting.transport.stuck = True

    setting.socket.write(b"x" * 1000)
    assert setting.peer.calls == ["connected"]
    setting.socket.write(b"x")
    assert (setting.peer.calls, setting.socket.unsent) == (["connected", "filled"], 1001)
    setting.transport.take(900)

    assert setting.peer.calls == ["connected", "filled", "drained"]


async def test_reading_is_not_paused_on_a_socket_that_is_closing() -> None:
    """A peer need not know whether its socket still reads."""
    setting = Setting()
    setting.socket.pause_reading()
    assert not setting.transport.is_reading()
    setting.socket.resume_reading()
    assert setting.transport.is_reading()

    setting.socket.close(1000, "bye")
    setting.transport.close()

    setting.socket.pause_reading()
    setting.socket.resume_reading()


async def test_empty_fragments_are_not_kept() -> None:
    """A message that never ends is bounded by its bytes; fragments without any cost nothing."""
    setting = Setting()
    setting.transport.receive(frame(TEXT, b"x", fin=False))

    setting.transport.receive(frame(CONTINUATION, b"", fin=False) * 10_000)
    assert len(setting.socket._incoming._message) == 1
    setting.transport.receive(frame(CONTINUATION, b"x" * 499, fin=False))
    assert not setting.transport.is_closing()
    setting.transport.receive(frame(CONTINUATION, b"x"))

    assert setting.close_code() == 1009
    assert setting.peer.texts == []


@pytest.mark.parametrize(("chunked", "end"), [(True, b"0\r\n\r\n"), (False, b"")])
async def test_a_response_ends_as_it_was_spelled(chunked: bool, end: bytes) -> None:
    """With the last chunk where there are chunks, else with the connection."""
    setting = Setting(ResponseSocket, chunked=chunked)
    setting.socket.write(b"5\r\nhello\r\n")

    setting.transport.receive(b"GET / HTTP/1.1\r\n\r\n")  # nobody hears it
    setting.socket.close(1000, "every run ended")
    setting.socket.write(b"more")
    setting.transport.settle()

    assert setting.transport.sent == b"5\r\nhello\r\n" + end
    assert setting.peer.calls == ["connected", "closed"]


async def test_a_stopping_server_tells_the_peer() -> None:
    """uvicorn calls `shutdown` of what it finds among its connections: there we are."""
    setting = Setting()
    (socket,) = setting.connections

    socket.shutdown()
    setting.transport.receive(frame(CLOSE, struct.pack("!H", 1012)))
    setting.transport.settle()

    assert setting.peer.calls == ["connected", "going_away", "closed"]
    assert setting.close_code() == 1012
    assert setting.connections == set()


@given(st.integers(1000, 4999), st.text(max_size=300))
async def test_any_goodbye_of_ours_ends_the_socket(code: int, reason: str) -> None:
    """Even one that can't be a close frame: then without one."""
    setting = Setting()

    setting.socket.close(code, reason)
    setting.transport.receive(GOODBYE)
    setting.transport.settle()

    assert setting.peer.calls[-1] == "closed"
