"""Frames of a client, in any pieces: whole messages, or the one close code that a mistake has."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ProtocolError
from websockets.frames import Close

from gateway.server.frames import Incoming, Opcode, Violation, check_close, close_frame, control_frame
from tests.hardening.peers import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame

LIMIT = 1000


def heard(incoming: Incoming, data: bytes, size: int = 0) -> list[tuple[Opcode, bytes]]:
    """What comes out when *data* comes in pieces of *size*, or at once."""
    pieces = [data[place : place + size] for place in range(0, len(data), size)] if size else [data]
    return [message for piece in pieces for message in incoming.receive(piece)]


MESSAGES = st.lists(
    st.tuples(st.sampled_from([TEXT, PING, PONG]), st.binary(max_size=125)) | st.tuples(st.just(TEXT), st.binary()),
    max_size=6,
)


@given(MESSAGES, st.integers(0, 9))
def test_whole_messages_come_out_in_order_however_they_are_cut(messages: list[tuple[int, bytes]], size: int) -> None:
    """And nothing is kept when all has come."""
    incoming = Incoming(LIMIT)

    assert heard(incoming, b"".join(frame(*message) for message in messages), size) == messages
    assert (incoming._rest, incoming._message) == (b"", None)


@given(st.binary(max_size=LIMIT), st.integers(1, 300), st.integers(0, 50))
def test_fragments_are_one_message_with_control_frames_between_them(text: bytes, part: int, size: int) -> None:
    """Control frames come when they come (section 5.4)."""
    parts = [text[place : place + part] for place in range(0, len(text), part)] or [b""]
    data = b""
    for number, piece in enumerate(parts):
        data += frame(CONTINUATION if number else TEXT, piece, fin=number == len(parts) - 1)
        data += frame(PING, b"%d" % number)

    found = heard(Incoming(LIMIT), data, size)

    assert [payload for opcode, payload in found if opcode is Opcode.TEXT] == [text]
    assert [payload for opcode, payload in found if opcode is Opcode.PING] == [b"%d" % n for n in range(len(parts))]


@pytest.mark.parametrize("length", [0, 125, 126, 127, LIMIT])
def test_lengths_are_read_in_every_spelling(length: int) -> None:
    """Also in a longer one than is needed, which some clients use."""
    payload, mask = bytes(length), bytes(4)
    for size in (struct.pack("!BH", 0xFE, length), struct.pack("!BQ", 0xFF, length)):
        assert heard(Incoming(LIMIT), b"\x81" + size + mask + payload) == [(Opcode.TEXT, payload)]


WRONG: dict[str, tuple[bytes, int]] = {
    "a reserved bit": (frame(TEXT, b"", reserved=1), 1002),
    "an unknown kind of data": (frame(3, b""), 1002),
    "an unknown control frame": (frame(11, b""), 1002),
    "no mask": (frame(TEXT, b"", masked=False), 1002),
    "a fragmented ping": (frame(PING, b"", fin=False), 1002),
    "a long ping": (frame(PING, bytes(126)), 1002),
    "a fragment of nothing": (frame(CONTINUATION, b""), 1002),
    "a second beginning": (frame(TEXT, b"", fin=False) + frame(TEXT, b""), 1002),
    "a binary frame in a text": (frame(TEXT, b"", fin=False) + frame(BINARY, b""), 1002),
    "a long message": (frame(TEXT, bytes(LIMIT + 1)), 1009),
    "a long message in parts": (frame(TEXT, bytes(LIMIT), fin=False) + frame(CONTINUATION, b"1"), 1009),
    "an announcement of more than a length may be": (b"\x81\xff" + b"\xff" * 8, 1009),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("size", [0, 1])
def test_a_mistake_has_its_code_and_what_came_before_it_counts(name: str, size: int) -> None:
    """It is noticed as soon as it can be, however it is cut."""
    data, code = WRONG[name]
    data, incoming = frame(PING, b"before") + data, Incoming(LIMIT)
    before: list[tuple[Opcode, bytes]] = []

    def hear() -> None:
        for place in range(0, len(data), size or len(data)):
            for message in incoming.receive(data[place : place + (size or len(data))]):
                before.append(message)

    with pytest.raises(Violation) as caught:
        hear()

    assert caught.value.code == code
    assert before == [(Opcode.PING, b"before")]


def test_what_is_too_long_is_refused_before_it_comes() -> None:
    """By its announcement: a megabyte is not waited for."""
    with pytest.raises(Violation) as caught:
        list(Incoming(LIMIT).receive(frame(TEXT, bytes(LIMIT + 1))[:4]))

    assert caught.value.code == 1009


@given(st.integers(0, 5500), st.binary(max_size=20))
def test_close_frames_are_those_that_the_websockets_library_takes(code: int, reason: bytes) -> None:
    """Two readings of sections 5.5.1 and 7.4, from different hands."""
    payload = struct.pack("!H", code) + reason
    expected = None
    try:
        Close.parse(payload).check()
    except ProtocolError:
        expected = 1002
    except UnicodeDecodeError:
        try:
            Close.parse(payload[:2]).check()
            expected = 1007
        except ProtocolError:
            expected = 1002

    found = None
    try:
        check_close(payload)
    except Violation as violation:
        found = violation.code

    assert found == expected


@pytest.mark.parametrize(("payload", "wrong"), [(b"", False), (b"\x03", True)])
def test_a_close_frame_may_be_empty_and_not_half(payload: bytes, wrong: bool) -> None:
    """A code has two bytes or is not there."""
    try:
        check_close(payload)
    except Violation:
        assert wrong
    else:
        assert not wrong


def test_our_own_frames_fit() -> None:
    """A reason is cut where a character ends; control frames carry 125 bytes at most."""
    said = close_frame(1012, "é" * 100)

    assert said[:4] == b"\x88\x7c\x03\xf4"
    assert said[4:].decode() == "é" * 61
    assert control_frame(Opcode.PONG, b"x" * 125) == b"\x8a\x7d" + b"x" * 125
    assert CLOSE == Opcode.CLOSE
