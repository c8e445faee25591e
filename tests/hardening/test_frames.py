"""WebSocket frames that no client would send: each has its close code, and nobody else notices."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, cast

import pytest

from tests.hardening.peers import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Closed, eventually, frame, say, upgrade

if TYPE_CHECKING:
    from gateway.server.handover import WebSocketSocket
    from tests.hardening.gateways import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBSCRIBE = say({"type": "subscribe", "run": "run_1"})
PROTOCOL_ERROR, UNSUPPORTED, NOT_UTF8, TOO_LARGE = 1002, 1003, 1007, 1009

FATAL = {
    "an unmasked frame": (frame(TEXT, b"{}", masked=False), PROTOCOL_ERROR),
    "the first reserved bit": (frame(TEXT, b"{}", reserved=4), PROTOCOL_ERROR),
    "the other reserved bits": (frame(TEXT, b"{}", reserved=3), PROTOCOL_ERROR),
    "a reserved data opcode": (frame(0x3, b"{}"), PROTOCOL_ERROR),
    "a reserved control opcode": (frame(0xF, b""), PROTOCOL_ERROR),
    "a continuation of nothing": (frame(CONTINUATION, b"{}"), PROTOCOL_ERROR),
    "a second beginning": (frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"), PROTOCOL_ERROR),
    "a fragmented ping": (frame(PING, b"", fin=False), PROTOCOL_ERROR),
    "a ping of 126 bytes": (frame(PING, bytes(126)), PROTOCOL_ERROR),
    "a close frame of one byte": (frame(CLOSE, b"\x03"), PROTOCOL_ERROR),
    "a close code that nobody may send": (frame(CLOSE, struct.pack("!H", 1005)), PROTOCOL_ERROR),
    "a close code that means nothing": (frame(CLOSE, struct.pack("!H", 42)), PROTOCOL_ERROR),
    "a close reason that is not UTF-8": (frame(CLOSE, struct.pack("!H", 1000) + b"\xff"), NOT_UTF8),
    "a binary frame": (frame(BINARY, b"{}"), UNSUPPORTED),
    "the beginning of a binary message": (frame(BINARY, b"{", fin=False), UNSUPPORTED),
    "text that is not UTF-8": (frame(TEXT, b"\xc3\x28"), NOT_UTF8),
    "a surrogate as UTF-8": (frame(TEXT, b'"\xed\xa0\x80"'), NOT_UTF8),
    "half a character at the end": (frame(TEXT, b"\xe2\x82"), NOT_UTF8),
    "one byte over the limit": (frame(TEXT, b" " * (64 * 1024 + 1)), TOO_LARGE),
    "a mebibyte": (frame(TEXT, b" " * 1024 * 1024), TOO_LARGE),
    "the announcement of an exbibyte": (b"\x81\xff" + struct.pack("!Q", 1 << 60), TOO_LARGE),
    "a length with its highest bit": (b"\x81\xff" + struct.pack("!Q", 1 << 63), TOO_LARGE),
    "fragments over the limit together": (
        frame(TEXT, b" " * 40_000, fin=False) + frame(CONTINUATION, b" " * 40_000),
        TOO_LARGE,
    ),
}


@pytest.mark.parametrize("name", FATAL)
async def test_a_frame_that_is_wrong_ends_its_socket_with_the_code_for_it(gateway: Gateway, name: str) -> None:
    """What can't be read, or is not spoken here, is answered with the close code of docs/protocol.md."""
    data, code = FATAL[name]
    peer = await gateway.viewer()

    peer.send(data)

    assert (await peer.end()).code == code


@pytest.mark.parametrize("name", FATAL)
async def test_a_wrong_frame_and_a_goodbye_in_one_segment_end_the_socket(gateway: Gateway, name: str) -> None:
    """Whoever sends something wrong and closes at once gets one answer, to either of the two or to both together."""
    data, code = FATAL[name]
    peer = await gateway.viewer()

    peer.send(data + frame(CLOSE, struct.pack("!H", 1000)))

    assert (await peer.end()).code in (code, 1000, PROTOCOL_ERROR)


@pytest.mark.parametrize("name", FATAL)
async def test_a_wrong_frame_right_behind_the_handshake_ends_the_socket(gateway: Gateway, name: str) -> None:
    """Even a peer that does not wait for our answer learns what was wrong."""
    data, code = FATAL[name]
    peer = await gateway.websocket()

    peer.send(upgrade(gateway.bearer()) + data)
    await peer.opened()

    assert (await peer.end()).code == code


async def test_a_message_right_behind_the_handshake_is_worked_on(gateway: Gateway) -> None:
    """Messages in the same segment as the handshake are not lost."""
    peer = await gateway.websocket()
    token = gateway.token()

    peer.send(upgrade() + say({"type": "authenticate", "token": token}) + SUBSCRIBE + frame(PING, b"early"))
    await peer.opened()

    await peer.message("welcome")
    assert (await peer.message("snapshot"))["feed"] == "run:run_1"
    assert peer.pongs == 1


async def test_a_message_in_two_segments_around_the_handshake_is_worked_on(gateway: Gateway) -> None:
    """A frame of which the beginning came with the handshake is read whole."""
    peer = await gateway.websocket()

    peer.send(upgrade(gateway.bearer()) + SUBSCRIBE[:9])
    await peer.opened()
    await peer.message("welcome")
    peer.send(SUBSCRIBE[9:])

    await peer.message("snapshot")


async def test_many_messages_right_behind_the_handshake_are_worked_on_in_order(gateway: Gateway) -> None:
    """However much comes with the handshake, nothing of it is lost or swapped."""
    peer = await gateway.websocket()
    names = [f"run:unknown_{number}" for number in range(3000)]

    peer.send(upgrade(gateway.bearer()) + b"".join(say({"type": "unsubscribe", "feed": name}) for name in names))
    await peer.opened()
    await peer.message("welcome")

    assert [(await peer.error())["feed"] for _ in names] == names


async def test_a_message_that_comes_byte_by_byte_is_worked_on(gateway: Gateway) -> None:
    """A slow link is no offence."""
    peer = await gateway.viewer()

    for byte in SUBSCRIBE:
        peer.send(bytes((byte,)))
        await peer.sent()

    await peer.message("snapshot")


async def test_a_message_of_exactly_the_limit_is_worked_on(gateway: Gateway) -> None:
    """64 KiB are allowed, in one frame or in many, with pings between them."""
    peer = await gateway.viewer()
    text = b'{"type": "subscribe", "run": "run_1"}'.ljust(64 * 1024)

    peer.send(frame(TEXT, text[:1], fin=False) + frame(PING, b""))
    for start in range(1, len(text) - 1, 1000):
        peer.send(frame(CONTINUATION, text[start : start + 1000], fin=False))
    peer.send(frame(CONTINUATION, b""))

    await peer.message("snapshot")
    assert peer.pongs == 1


async def test_empty_fragments_without_end_cost_no_memory(gateway: Gateway) -> None:
    """A message that is never finished is bounded by its bytes, and fragments without any are not kept."""
    peer = await gateway.viewer()
    (socket,) = gateway.server.server_state.connections

    peer.send(frame(TEXT, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * 20_000 + frame(PING, b"heard"))
    assert await peer.take(7) == b"\x8a\x05heard"
    assert len(cast("WebSocketSocket", socket)._incoming._message or b"") == 0
    peer.send(frame(CONTINUATION, b""))

    assert (await peer.error())["code"] == "bad_message"


async def test_every_ping_of_a_flood_is_answered_to_who_reads_the_answers(gateway: Gateway) -> None:
    """Pings are answered in order, and do not keep messages from being heard."""
    peer = await gateway.viewer()

    peer.send(frame(PING, bytes(125)) * 5000 + frame(PONG, b"nobody asked") + SUBSCRIBE)

    await peer.message("snapshot")
    assert peer.pongs == 5000


async def test_a_flood_whose_answers_are_taken_is_answered_whole(gateway: Gateway) -> None:
    """Backpressure loses nothing: every one of thousands of messages at once is answered, in order."""
    peer = await gateway.viewer()
    names = [f"run:{'x' * 150}{number}" for number in range(6_000)]

    peer.send(b"".join(say({"type": "unsubscribe", "feed": name}) for name in names))

    assert [(await peer.error())["feed"] for _ in names] == names


async def test_thousands_of_wishes_at_once_do_not_hold_up_others(gateway: Gateway) -> None:
    """While one viewer asks for the same again and again, another is told what happens."""
    greedy, modest = await gateway.viewer(), await gateway.viewer()
    modest.send(say({"type": "subscribe", "run": "run_2"}))
    await modest.message("snapshot")

    greedy.send(say({"type": "subscribe", "run": "run_2"}) * 6_000)
    gateway.publish("run_2", attempt=next(gateway._attempts))

    await modest.message("update")
    for _ in range(5_999):
        heard = await greedy.hear()
        assert isinstance(heard, dict)


async def test_a_goodbye_is_answered_with_the_same_code(gateway: Gateway) -> None:
    """The close handshake is completed by us, and then by closing the connection."""
    peer = await gateway.viewer()

    peer.send(SUBSCRIBE + frame(CLOSE, struct.pack("!H", 1000) + b"bye") + SUBSCRIBE + b"\x00junk")

    assert await peer.end() == Closed(1000, "bye")
    assert await peer.take_all() == b""


async def test_a_goodbye_without_a_code_is_answered(gateway: Gateway) -> None:
    """An empty close frame is a good one."""
    peer = await gateway.viewer()

    peer.send(frame(CLOSE))

    assert (await peer.end()).code is None
    assert await peer.take_all() == b""


async def test_a_reset_in_the_middle_of_a_message_leaves_nothing(gateway: Gateway) -> None:
    """Peers that vanish between two frames, or in one, are forgotten."""
    before = [await gateway.viewer() for _ in range(4)]
    for peer, data in zip(before, (SUBSCRIBE, SUBSCRIBE[:5], frame(TEXT, b"{", fin=False), b""), strict=True):
        peer.send(data)
        await peer.sent()
        peer.reset()

    await eventually(lambda: not gateway.server.server_state.connections, what="all are forgotten")


async def test_a_half_closed_socket_is_closed(gateway: Gateway) -> None:
    """Who says that it will say nothing more is let go: nobody speaks our protocols that way."""
    peer = await gateway.viewer()

    peer.half_close()

    await peer.end()
    await eventually(lambda: not gateway.server.server_state.connections, what="it is forgotten")
