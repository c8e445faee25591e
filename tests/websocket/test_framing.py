"""Frames (RFC 6455, section 5.2): lengths, masks, reserved bits and opcodes, however they are cut into segments."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.hardening.peers import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from tests.ways import Way
from tests.websocket.cases import (
    LIMIT,
    PROTOCOL_ERROR,
    TOO_LARGE,
    UNSUPPORTED,
    Case,
    announced,
    carry_out,
    echo,
    frame,
    goodbye,
    listen,
    opened,
    words,
)

if TYPE_CHECKING:
    from tests.ways import Entrance

pytestmark = pytest.mark.asyncio(loop_scope="package")

KINDS = {"text": TEXT, "continuation": CONTINUATION, "close": CLOSE, "ping": PING, "pong": PONG}
DATA_OPCODES, CONTROL_OPCODES = range(0x3, 0x8), range(0xB, 0x10)

LENGTHS = [
    Case("a text of no bytes", "5.2", (frame(TEXT),), answers=("bad_message",)),
    *(
        Case(f"a text of {size} bytes", "5.2", (echo("a", size),), answers=("run:a",))
        for size in (64, 125, 126, 127, 128, 255, 256, 65_535)
    ),
    *(Case(f"a ping of {size} bytes", "5.2",
           (frame(PING, bytes(size)),), pongs=(bytes(size),)) for size in (0, 1, 125)),
    # "The minimal number of bytes MUST be used": a server need not look.
    *(
        Case(
            f"a length of {size} in {length - 1} bytes", "5.2", (frame(TEXT, words("a", size), length=length),),
            answers=("run:a",), or_closed=(PROTOCOL_ERROR,),
        )
        for size, length in ((64, 3), (64, 9), (300, 9))
    ),
    Case("a length with its highest bit", "5.2", (announced(TEXT, 1 << 63),), closed=(PROTOCOL_ERROR, TOO_LARGE)),
    Case("a hundred texts in one segment", "5.2", (b"".join(echo(f"{n}") for n in range(100)),),
         answers=tuple(f"run:{n}" for n in range(100))),
    Case("texts and pings in one segment", "5.2", (b"".join(echo(f"{n}") + frame(PING, b"%d" % n) for n in range(20)),),
         answers=tuple(f"run:{n}" for n in range(20)), pongs=tuple(b"%d" % n for n in range(20))),
    Case("a frame in the middle of its length", "5.2", (echo("a", 300)[:3], echo("a", 300)[3:]), answers=("run:a",)),
    Case("a frame in the middle of its mask", "5.2", (echo("a", 300)[:6], echo("a", 300)[6:]), answers=("run:a",)),
]  # fmt: skip

MASKS = [
    Case("a mask of zeros", "5.3", (frame(TEXT, words("a"), mask=bytes(4)),), answers=("run:a",)),
    Case("a mask of ones", "5.3", (frame(TEXT, words("a"), mask=b"\xff" * 4),), answers=("run:a",)),
    Case("another mask for each frame", "5.3",
         tuple(frame(TEXT, words(f"{n}", 60 + n), mask=bytes((n, 255 - n, n * 7 % 256, 3))) for n in range(9)),
         answers=tuple(f"run:{n}" for n in range(9))),
    *(Case(f"a {name} without a mask", "5.1", (frame(opcode, words("a") if opcode == TEXT else b"", mask=None),),
           closed=(PROTOCOL_ERROR,)) for name, opcode in KINDS.items()),
    Case("a good text, and one without a mask", "5.1", (echo("a"), frame(TEXT, words("b"), mask=None)),
         answers=("run:a",), closed=(PROTOCOL_ERROR,)),
]  # fmt: skip

RESERVED = [
    *(Case(f"a {name} with the reserved bits {bits:03b}", "5.2", (frame(opcode, b"", reserved=bits),),
           closed=(PROTOCOL_ERROR,)) for name, opcode in KINDS.items() for bits in range(1, 8)),
    *(Case(f"the opcode {opcode:x}", "5.2", (frame(opcode, b"x"),), closed=(PROTOCOL_ERROR,))
      for opcode in (*DATA_OPCODES, *CONTROL_OPCODES)),
    *(Case(f"the opcode {opcode:x} without a payload", "5.2", (frame(opcode),), closed=(PROTOCOL_ERROR,))
      for opcode in (*DATA_OPCODES, *CONTROL_OPCODES)),
    Case("a good text, a ping, and a reserved bit", "5.2",
         (echo("a"), frame(PING, b"a"), frame(TEXT, words("b"), reserved=4), echo("c"), frame(PING, b"c")),
         answers=("run:a",), pongs=(b"a",), closed=(PROTOCOL_ERROR,)),
    Case("a reserved opcode in a message", "5.2",
         (frame(TEXT, b"{", fin=False), frame(0x3, b"x"), frame(CONTINUATION, b"}")), closed=(PROTOCOL_ERROR,)),
]  # fmt: skip

BINARY_CASES = [
    Case("a binary message", "5.6", (frame(BINARY, b"{}"),), closed=(UNSUPPORTED,)),
    Case("a binary message of no bytes", "5.6", (frame(BINARY),), closed=(UNSUPPORTED,)),
    Case("a binary message that is UTF-8, too", "5.6", (frame(BINARY, words("a")),), closed=(UNSUPPORTED,)),
    Case("a binary message in fragments", "5.6", (frame(BINARY, b"{", fin=False), frame(CONTINUATION, b"}")),
         closed=(UNSUPPORTED,)),
    Case("a good text, and a binary message", "5.6", (echo("a"), frame(BINARY, b"{}")), answers=("run:a",),
         closed=(UNSUPPORTED,)),
]  # fmt: skip

#: Fragments of exactly the limit together, and no end.
LARGE = (frame(TEXT, words("a", 1000), fin=False), *(frame(CONTINUATION, b" " * 8067, fin=False),) * 8)
#: 64 KiB is ours to choose (docs/protocol.md), so of our server alone.
SIZES = [
    Case("a text of exactly the limit", "10.4", (echo("a", LIMIT),), answers=("run:a",)),
    Case("one byte more", "10.4", (echo("a", LIMIT + 1),), closed=(TOO_LARGE,)),
    Case("a mebibyte", "10.4", (echo("a", 1024 * 1024),), closed=(TOO_LARGE,)),
    Case("fragments of exactly the limit", "10.4",
         (*LARGE, frame(CONTINUATION)),
         answers=("run:a",)),
    Case("fragments of one byte more", "10.4",
         (*LARGE, frame(CONTINUATION, b" ")),
         closed=(TOO_LARGE,)),
    Case("two fragments that are too large together", "10.4",
         (frame(TEXT, words("a", 40_000), fin=False), frame(CONTINUATION, b" " * 40_000)), closed=(TOO_LARGE,)),
    Case("the announcement of one byte more", "10.4", (announced(TEXT, LIMIT + 1),), closed=(TOO_LARGE,)),
    Case("the announcement of an exbibyte", "10.4", (announced(TEXT, 1 << 60),), closed=(TOO_LARGE,)),
    Case("the announcement of a fragment that is too large with what came", "10.4",
         (frame(TEXT, words("a", 40_000), fin=False), announced(CONTINUATION, 40_000)), closed=(TOO_LARGE,)),
    Case("many messages of the limit", "10.4", (echo("a", LIMIT) * 5,), answers=("run:a",) * 5),
]  # fmt: skip


@pytest.mark.parametrize("case", [*LENGTHS, *MASKS, *RESERVED, *BINARY_CASES], ids=str)
@pytest.mark.parametrize("way", [Way.OURS, Way.ASGI, Way.PLAIN], ids=lambda way: way.value)
async def test_frames(entrance: Entrance, case: Case) -> None:
    """What is right is understood, and whatever is wrong has its code."""
    await carry_out(case, entrance)


@pytest.mark.parametrize("case", SIZES, ids=str)
async def test_sizes(entrance: Entrance, case: Case) -> None:
    """A message over the limit is refused as soon as it is known to be one."""
    await carry_out(case, entrance)


SAMPLE = (
    echo("first") + frame(PING, b"one") + frame(TEXT, words("second", 126)[:50], fin=False) + frame(PING, b"two")
    + frame(CONTINUATION, b"", fin=False) + frame(CONTINUATION, words("second", 126)[50:]) + frame(PONG, b"unasked")
    + frame(TEXT, words("κόσμε")) + frame(PING)
)  # fmt: skip


@pytest.mark.parametrize("way", [Way.OURS, Way.ASGI, Way.PLAIN], ids=lambda way: way.value)
async def test_a_cut_at_any_byte_is_not_noticed(entrance: Entrance) -> None:
    """The same conversation, in two segments that meet at each place in it, one after the other on one connection."""
    peer = await opened(entrance)
    for place in range(1, len(SAMPLE)):
        await peer.say(SAMPLE[:place])
        await peer.say(SAMPLE[place:] + frame(PING, b"last") + echo("last"))

        heard = await listen(peer, last_word="last")

        assert heard.answers == ["run:first", "run:second", "run:κόσμε"], place
        assert heard.pongs == [b"one", b"two", b""], place


async def test_a_message_that_is_too_large_is_refused_before_it_comes(entrance: Entrance) -> None:
    """Its length is enough: a viewer that goes on sending fills nobody's memory."""
    peer = await opened(entrance)
    socket: Any
    (socket,) = entrance.inside.server.server_state.connections
    await peer.say(announced(TEXT, 1 << 40))

    assert (await listen(peer)).closed == TOO_LARGE
    assert socket.closing


async def test_a_goodbye_says_why_in_words(entrance: Entrance) -> None:
    """The reason of a close frame is for people (section 7.1.6), short enough for a control frame."""
    for wrong in (frame(TEXT, b"{}", mask=None), frame(BINARY), frame(TEXT, b"\xff"), announced(TEXT, 1 << 40)):
        peer = await opened(entrance)
        await peer.say(wrong)

        heard = await listen(peer)

        assert heard.reason
        assert json.dumps(heard.reason).isascii()
        assert len(heard.reason) < 124
        await peer.say(goodbye(1000))
