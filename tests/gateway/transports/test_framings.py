"""How messages are spelled: the same for everybody who spells alike, and readable by whoever knows the protocol."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from gateway.transports.framings import EVENTS, LINES, WEBSOCKET, EventFraming


def _read_frame(data: bytes) -> Frame:
    """As a client's library reads it; there must be one frame, and nothing behind it."""
    reader = StreamReader()
    reader.feed_data(data)
    parsing = Frame.parse(reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as finished:
        next(parsing)
    assert not reader.buffer
    frame: Frame = finished.value.value
    return frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65_535, 65_536, 200_000])
def test_a_message_of_any_size_is_one_text_frame(size: int) -> None:
    """Each of the three ways to write a length is used where it must be."""
    body = b"x" * size

    frame = _read_frame(WEBSOCKET.frame("update", body, "1-1"))

    assert (frame.opcode, frame.fin, bytes(frame.data)) == (Opcode.TEXT, True, body)
    assert (frame.rsv1, frame.rsv2, frame.rsv3) == (False, False, False)


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_frames_need_nothing_between_or_around_them(bodies: list[bytes]) -> None:
    """What goes out together is the frames, one after the other."""
    frames = [WEBSOCKET.frame("update", body, "") for body in bodies]

    assert WEBSOCKET.wrap(b"".join(frames)) == b"".join(frames)
    assert [bytes(_read_frame(frame).data) for frame in frames] == bodies


def test_lines_are_one_message_each() -> None:
    """For servers that frame themselves."""
    assert LINES.wrap(LINES.frame("update", b'{"a":1}', "") + LINES.frame("end", b"{}", "")).splitlines() == [
        b'{"a":1}',
        b"{}",
    ]


def test_an_event_of_the_only_feed_carries_its_cursor() -> None:
    """So a browser comes back with it; what moves nobody has none."""
    framing = EVENTS[False, False]

    assert framing.frame("update", b"{}", "1-2") == b"id: 1-2\nevent: update\ndata: {}\n\n"
    assert framing.frame("error", b"{}", "") == b"event: error\ndata: {}\n\n"


def test_of_several_feeds_only_heartbeats_carry_a_cursor() -> None:
    """One change may be told for two feeds; a cut between the two must not lose the second."""
    framing = EVENTS[True, False]

    assert framing.frame("update", b"{}", "1-2") == b"event: update\ndata: {}\n\n"
    assert framing.frame("heartbeat", b"{}", "1-2") == b"id: 1-2\nevent: heartbeat\ndata: {}\n\n"


@given(st.binary(min_size=1, max_size=5000))
def test_what_goes_out_together_is_one_chunk(data: bytes) -> None:
    """With its length in hexadecimal before it (RFC 9112, section 7.1)."""
    size, _, rest = EVENTS[False, True].wrap(data).partition(b"\r\n")

    assert int(size, 16) == len(data)
    assert rest == data + b"\r\n"
    assert EVENTS[False, False].wrap(data) == data


def test_connections_that_spell_alike_share_one_framing() -> None:
    """What is spelled once serves all of them, so there is one object for each way."""
    assert len({*EVENTS.values(), WEBSOCKET, LINES}) == 6
    assert all(isinstance(framing, EventFraming) for framing in EVENTS.values())
