"""
A case of the tables here: what a viewer sends after the handshake, and what any server must answer (RFC 6455).

Whoever sends has said who it is, so that a text that asks to leave a feed which it does not follow is echoed: by the
error that names the feed (`echo`). A connection that has to stay open is asked for one more echo and a pong, so that
nothing is left behind that should not have come.
"""

from __future__ import annotations

import contextlib
import json
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.hardening.peers import CLOSE, PING, PONG, TEXT, upgrade
from tests.ways import Way

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.ways import Caller, Entrance

#: A close frame without a code is reported as this one, which nobody may send (section 7.1.5).
NO_CODE: Final = 1005
NORMAL, PROTOCOL_ERROR, UNSUPPORTED, NOT_UTF8, TOO_LARGE = 1000, 1002, 1003, 1007, 1009
#: What a viewer may say in one message (docs/protocol.md).
LIMIT: Final = 64 * 1024
MASK: Final = b"\x37\xfa\x21\x3d"  # that of the examples in section 5.7

_LAST: Final = "the-last-word"
#: So many bytes are sent one by one, too.
_SHORT: Final = 300


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    mask: bytes | None = MASK,
    length: int | None = None,
) -> bytes:
    """
    A frame (section 5.2), right or wrong.

    Args:
        length: Bytes of the length: 1, 3 or 9; by default as few as possible.
    """
    size, bit = len(payload), 0 if mask is None else 0x80
    length = length or (1 if size < 126 else 3 if size < 65536 else 9)
    head = bytes((fin << 7 | reserved << 4 | opcode,))
    match length:
        case 1:
            head += bytes((bit | size,))
        case 3:
            head += struct.pack("!BH", bit | 126, size)
        case _:
            head += struct.pack("!BQ", bit | 127, size)
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


def announced(opcode: int, size: int) -> bytes:
    """The beginning of a frame whose payload never comes."""
    return struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size) + MASK


def words(name: str, size: int = 0) -> bytes:
    """The text that is echoed as `run:NAME`, filled up to *size* bytes."""
    return json.dumps({"type": "unsubscribe", "feed": f"run:{name}"}, ensure_ascii=False).encode().ljust(size)


def echo(name: str, size: int = 0) -> bytes:
    return frame(TEXT, words(name, size))


def goodbye(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason)


def byte_by_byte(data: bytes) -> tuple[bytes, ...]:
    return tuple(bytes((byte,)) for byte in data)


@dataclass(frozen=True)
class Case:
    name: str
    #: Of RFC 6455.
    section: str
    #: One segment each.
    sends: tuple[bytes, ...]
    #: What is answered to texts, in order: the feed that is echoed, or the code of another error.
    answers: tuple[str, ...] = ()
    pongs: tuple[bytes, ...] = ()
    #: How it may end; empty: it must stay open.
    closed: tuple[int, ...] = ()
    #: Where a server may as well close, by the RFC.
    or_closed: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.section} {self.name}"


@dataclass
class Heard:
    """Everything that a server said, sorted."""

    answers: list[str] = field(default_factory=list)
    pongs: list[bytes] = field(default_factory=list)
    closed: int | None = None
    reason: str = ""


async def next_frame(peer: Caller) -> tuple[int, bytes]:
    """What the server says next, other than a heartbeat: those may come at any time."""
    while True:
        opcode, payload = await _any_frame(peer)
        if opcode != TEXT or json.loads(payload)["type"] != "heartbeat":
            return opcode, payload


async def _any_frame(peer: Caller) -> tuple[int, bytes]:
    """Opcode and payload of the next frame of the server, which must be one whole message, spelled as it has to be."""
    head, size = await peer.take(2)
    assert head & 0x70 == 0, "reserved bits (section 5.2)"
    assert head & 0x80, "a server of ours has no reason for fragments"
    assert size < 128, "a server must not mask (section 5.1)"
    if size == 126:
        (size,) = struct.unpack("!H", await peer.take(2))
        assert size > 125, "not the shortest length (section 5.2)"
    elif size == 127:
        (size,) = struct.unpack("!Q", await peer.take(8))
        assert size > 65535, "not the shortest length (section 5.2)"
    return head & 0xF, await peer.take(size)


async def opened(entrance: Entrance) -> Caller:
    """A viewer that was let in."""
    peer = await entrance.call()
    await peer.say(upgrade(entrance.bearer))
    await peer.opened()
    opcode, payload = await next_frame(peer)
    assert (opcode, json.loads(payload)["type"]) == (TEXT, "welcome")
    return peer


async def listen(peer: Caller, *, last_pong: bytes = b"last", last_word: str = _LAST) -> Heard:
    """
    All that comes until both of the last ones came, or the server's goodbye, which is answered (section 5.5.1).

    Raises:
        EOFError: When the connection ended without a goodbye.
    """
    heard, missing = Heard(), {last_pong, f"run:{last_word}"}
    while missing:
        opcode, payload = await next_frame(peer)
        match opcode:
            case _ if opcode == CLOSE:
                heard.closed = struct.unpack("!H", payload[:2])[0] if payload else NO_CODE
                heard.reason = payload[2:].decode()
                await peer.say(frame(CLOSE, payload))
                await _hear_the_end(peer)
                return heard
            case _ if opcode == PONG:
                heard.pongs.append(payload)
                missing.discard(payload)
            case _:
                assert opcode == TEXT
                message = json.loads(payload)
                assert message["type"] == "error", message
                answer = message["feed"] if message["code"] == "not_subscribed" else message["code"]
                heard.answers.append(answer)
                missing.discard(answer)
    heard.answers.remove(f"run:{last_word}")
    heard.pongs.remove(last_pong)
    return heard


async def _hear_the_end(peer: Caller) -> None:
    """The server closes the connection, and sends nothing before that but an answer to a ping."""
    with contextlib.suppress(EOFError):
        while True:
            opcode, _ = await _any_frame(peer)
            assert opcode == PONG, "no data follows a goodbye (section 5.5.1)"


async def carry_out(case: Case, entrance: Entrance) -> None:
    """Send what the case sends, in its segments, in one, and byte by byte when it is short: it is all the same."""
    whole = b"".join(case.sends)
    ways: list[tuple[bytes, ...]] = [case.sends]
    if len(case.sends) > 1:
        ways.append((whole,))
    if len(whole) <= _SHORT and entrance.way is Way.OURS:
        ways.append(byte_by_byte(whole))
    for segments in ways:
        await _carry_out(case, entrance, segments)


async def _carry_out(case: Case, entrance: Entrance, segments: Iterable[bytes]) -> None:
    peer = await opened(entrance)
    await peer.say(*segments)
    await peer.say(frame(PING, b"last") + echo(_LAST))

    heard = await listen(peer)

    if heard.closed is None:
        assert not case.closed, f"it stayed open, and should have closed with {case.closed}"
        assert (heard.answers, heard.pongs) == (list(case.answers), list(case.pongs))
        return
    assert heard.closed in (*case.closed, *case.or_closed), heard
    # What came before is answered if there was time for it, in order, and nothing else is. Where it is the app that
    # minds, behind a server that is not ours, pings are answered until it does.
    late = [b"last"] if entrance.way is Way.PLAIN else []
    assert heard.answers == list(case.answers)[: len(heard.answers)]
    assert heard.pongs in [pongs[:size] for pongs in ([*case.pongs, *late],) for size in range(len(pongs) + 1)]
