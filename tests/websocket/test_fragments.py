"""Fragments (RFC 6455, section 5.4): messages in parts, and control frames between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hardening.peers import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from tests.ways import Way
from tests.websocket.cases import (
    PROTOCOL_ERROR,
    UNSUPPORTED,
    Case,
    carry_out,
    echo,
    frame,
    listen,
    next_frame,
    opened,
    words,
)

if TYPE_CHECKING:
    from tests.ways import Entrance

pytestmark = pytest.mark.asyncio(loop_scope="package")

TEXT_A = words("a")


def parts(*payloads: bytes) -> tuple[bytes, ...]:
    """A text in fragments."""
    first, *rest = payloads
    more = [frame(CONTINUATION, part, fin=place == len(rest) - 1) for place, part in enumerate(rest)]
    return (frame(TEXT, first, fin=not rest), *more)


CASES = [
    Case("two fragments", "5.4", parts(TEXT_A[:20], TEXT_A[20:]), answers=("run:a",)),
    Case("a fragment for each byte", "5.4", parts(*(bytes((byte,)) for byte in TEXT_A)), answers=("run:a",)),
    Case("an empty beginning", "5.4", parts(b"", TEXT_A), answers=("run:a",)),
    Case("an empty middle", "5.4", parts(TEXT_A[:20], b"", TEXT_A[20:]), answers=("run:a",)),
    Case("an empty end", "5.4", parts(TEXT_A, b""), answers=("run:a",)),
    Case("nothing but empty fragments", "5.4", parts(b"", b"", b""), answers=("bad_message",)),
    Case("several messages in fragments", "5.4", parts(TEXT_A, b"") + parts(b"", words("b")) + (echo("c"),),
         answers=("run:a", "run:b", "run:c")),
    Case("a ping between two fragments", "5.4", (*parts(TEXT_A[:20], TEXT_A[20:])[:1], frame(PING, b"x"),
         *parts(TEXT_A[:20], TEXT_A[20:])[1:]), answers=("run:a",), pongs=(b"x",)),
    Case("pings between all fragments", "5.4",
         tuple(part for place, one in enumerate(parts(*(bytes((byte,)) for byte in TEXT_A)))
               for part in (one, frame(PING, b"%d" % place))),
         answers=("run:a",), pongs=tuple(b"%d" % place for place in range(len(TEXT_A)))),
    Case("an unsolicited pong between two fragments", "5.4",
         (frame(TEXT, TEXT_A[:20], fin=False), frame(PONG, b"x"), frame(CONTINUATION, TEXT_A[20:])),
         answers=("run:a",)),
    Case("a continuation of nothing", "5.4", (frame(CONTINUATION, TEXT_A),), closed=(PROTOCOL_ERROR,)),
    Case("a continuation of nothing that goes on", "5.4", (frame(CONTINUATION, TEXT_A, fin=False),),
         closed=(PROTOCOL_ERROR,)),
    Case("an empty continuation of nothing", "5.4", (frame(CONTINUATION),), closed=(PROTOCOL_ERROR,)),
    Case("a continuation of a message that has ended", "5.4",
         (*parts(TEXT_A[:20], TEXT_A[20:]), frame(CONTINUATION, b"x")),
         answers=("run:a",), closed=(PROTOCOL_ERROR,)),
    Case("a continuation of a message of one frame", "5.4", (echo("a"), frame(CONTINUATION, b"x", fin=False)),
         answers=("run:a",), closed=(PROTOCOL_ERROR,)),
    Case("a text within a message", "5.4", (frame(TEXT, b"{", fin=False), echo("a")), closed=(PROTOCOL_ERROR,)),
    Case("the beginning of a text within a message", "5.4",
         (frame(TEXT, b"{", fin=False), frame(TEXT, b"}", fin=False)),
         closed=(PROTOCOL_ERROR,)),
    Case("a binary message within a message", "5.4", (frame(TEXT, b"{", fin=False), frame(BINARY, b"}")),
         closed=(PROTOCOL_ERROR, UNSUPPORTED)),
    *(Case(f"a {name} in fragments", "5.5",
           (frame(opcode, b"", fin=False), frame(CONTINUATION)), closed=(PROTOCOL_ERROR,))
      for name, opcode in (("ping", PING), ("pong", PONG), ("goodbye", CLOSE))),
    Case("a ping in fragments within a message", "5.5",
         (frame(TEXT, b"{", fin=False), frame(PING, b"x", fin=False), frame(CONTINUATION, b"}")),
         closed=(PROTOCOL_ERROR,)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("way", [Way.OURS, Way.ASGI, Way.PLAIN], ids=lambda way: way.value)
async def test_fragments(entrance: Entrance, case: Case) -> None:
    """Nobody notices where a message was cut; what is no message ends the connection."""
    await carry_out(case, entrance)


@pytest.mark.parametrize("way", [Way.OURS, Way.ASGI, Way.PLAIN], ids=lambda way: way.value)
async def test_a_ping_is_answered_before_the_message_that_it_interrupts(entrance: Entrance) -> None:
    """Otherwise a long message would look like a dead connection."""
    peer = await opened(entrance)
    await peer.say(frame(TEXT, TEXT_A[:20], fin=False) + frame(PING, b"are you there?"))
    assert await next_frame(peer) == (PONG, b"are you there?")

    await peer.say(frame(CONTINUATION, TEXT_A[20:]) + frame(PING, b"last") + echo("last"))

    assert (await listen(peer, last_word="last")).answers == ["run:a"]


async def test_two_messages_at_once_are_impossible_however_long_the_first_is_open(entrance: Entrance) -> None:
    """Between two segments nothing is forgotten of the message that is open."""
    peer = await opened(entrance)
    await peer.say(frame(TEXT, TEXT_A[:20], fin=False) + frame(PING, b"there"))
    assert await next_frame(peer) == (PONG, b"there")

    await peer.say(echo("b"))

    assert (await listen(peer)).closed == PROTOCOL_ERROR
