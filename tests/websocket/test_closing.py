"""Saying goodbye (RFC 6455, sections 5.5.1 and 7): which codes, by whom, and that the server closes the connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.hardening.peers import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, eventually
from tests.ways import Way
from tests.websocket.cases import (
    NO_CODE,
    NORMAL,
    NOT_UTF8,
    PROTOCOL_ERROR,
    UNSUPPORTED,
    Case,
    carry_out,
    echo,
    frame,
    goodbye,
    listen,
    next_frame,
    opened,
    words,
)

if TYPE_CHECKING:
    from tests.ways import Entrance

pytestmark = pytest.mark.asyncio(loop_scope="package")

#: Section 7.4.1, the registry of IANA, and the ranges of 7.4.2 that libraries and applications may use.
ALLOWED = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)
#: Reserved for what is never sent (1005, 1006, 1015), not given to anybody, or no code at all.
FORBIDDEN = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)

CASES = [
    *(Case(f"{code} is answered with itself", "7.4", (goodbye(code),), closed=(code,)) for code in ALLOWED),
    *(Case(f"{code} is nothing to say", "7.4", (goodbye(code),), closed=(PROTOCOL_ERROR,)) for code in FORBIDDEN),
    *(Case(f"{code} with a reason is nothing to say", "7.4", (goodbye(code, b"bye"),), closed=(PROTOCOL_ERROR,))
      for code in FORBIDDEN),
    Case("without a code", "5.5.1", (frame(CLOSE),), closed=(NO_CODE, NORMAL)),
    Case("with half a code", "5.5.1", (frame(CLOSE, b"\x03"),), closed=(PROTOCOL_ERROR,)),
    Case("with a reason", "5.5.1", (goodbye(NORMAL, b"bye"),), closed=(NORMAL,)),
    Case("with a reason of one byte", "5.5.1", (goodbye(NORMAL, b"x"),), closed=(NORMAL,)),
    Case("with the longest reason", "5.5.1", (goodbye(NORMAL, b"x" * 123),), closed=(NORMAL,)),
    Case("with a reason beyond ASCII", "5.5.1", (goodbye(NORMAL, "κόσμε".encode()),), closed=(NORMAL,)),
    Case("with too long a reason", "5.5", (goodbye(NORMAL, b"x" * 124),), closed=(PROTOCOL_ERROR,)),
    Case("with a reason that is not UTF-8", "7.1.6", (goodbye(NORMAL, b"\xce\xba\xe1\xbd\xed\xa0\x80"),),
         closed=(NOT_UTF8, PROTOCOL_ERROR)),
    Case("with half a character as its reason", "7.1.6",
         (goodbye(NORMAL, b"\xe2\x82"),), closed=(NOT_UTF8, PROTOCOL_ERROR)),
    Case("behind a text", "5.5.1", (echo("a"), goodbye(NORMAL)), answers=("run:a",), closed=(NORMAL,)),
    Case("with a text behind it", "5.5.1", (goodbye(NORMAL), echo("a")), closed=(NORMAL,)),
    Case("with half a text behind it", "5.5.1", (goodbye(NORMAL), echo("a")[:9]), closed=(NORMAL,)),
    Case("with junk behind it", "5.5.1", (goodbye(NORMAL), b"\xff" * 50), closed=(NORMAL,)),
    Case("with a mistake behind it", "5.5.1", (goodbye(4000), frame(3, b"x", mask=None)), closed=(4000,)),
    Case("twice", "5.5.1", (goodbye(4000), goodbye(4001)), closed=(4000,)),
    Case("behind a mistake", "7.1.7", (frame(TEXT, b"x", reserved=4), goodbye(NORMAL)), closed=(PROTOCOL_ERROR,)),
]  # fmt: skip

#: The websockets library, and so uvicorn, takes the open message for a mistake.
OPEN_MESSAGES = [
    Case("within a message", "5.4", (frame(TEXT, words("a")[:20], fin=False), goodbye(NORMAL),
         frame(CONTINUATION, words("a")[20:])), closed=(NORMAL,)),
    Case("within a message that never ends", "5.4", (frame(TEXT, words("a"), fin=False), goodbye(NORMAL)),
         closed=(NORMAL,)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("way", [Way.OURS, Way.ASGI, Way.PLAIN], ids=lambda way: way.value)
async def test_goodbyes(entrance: Entrance, case: Case) -> None:
    """A goodbye has its echo, and the end of the connection; what may not be said is a mistake like any other."""
    await carry_out(case, entrance)


@pytest.mark.parametrize("case", OPEN_MESSAGES, ids=str)
async def test_goodbyes_in_messages(entrance: Entrance, case: Case) -> None:
    """Like all control frames they may come at any time."""
    await carry_out(case, entrance)


@pytest.mark.parametrize("way", [Way.OURS, Way.ASGI, Way.PLAIN], ids=lambda way: way.value)
async def test_the_server_closes_the_connection_first(entrance: Entrance) -> None:
    """Section 7.1.1: the client waits for that, without closing its own side."""
    peer = await opened(entrance)

    await peer.say(goodbye(NORMAL, b"bye"))

    opcode, payload = await next_frame(peer)
    assert (opcode, payload[:2]) == (CLOSE, b"\x03\xe8")
    assert await peer.take_all() == b""


@pytest.mark.parametrize("way", [Way.OURS, Way.ASGI, Way.PLAIN], ids=lambda way: way.value)
async def test_nothing_that_comes_behind_our_goodbye_is_worked_on(entrance: Entrance) -> None:
    """The viewer may not have seen it yet: it goes on, then answers, and the connection ends."""
    peer = await opened(entrance)
    await peer.say(frame(BINARY, b"x"))
    opcode, payload = await next_frame(peer)
    assert (opcode, int.from_bytes(payload[:2], "big")) == (CLOSE, UNSUPPORTED)

    await peer.say(echo("a"), frame(TEXT, b"{", fin=False), frame(PING, b"x"), frame(PONG), goodbye(UNSUPPORTED))

    behind = await peer.take_all()
    assert behind in (b"", b"\x8a\x01x")


async def test_both_say_goodbye_at_the_same_time(entrance: Entrance) -> None:
    """Each is the other's answer (section 7.1.4), and both hear their own words once."""
    peer = await opened(entrance)

    await peer.say(frame(BINARY, b"x") + goodbye(4000))

    heard = await listen(peer)
    assert heard.closed in (UNSUPPORTED, 4000)


async def test_who_does_not_answer_our_goodbye_is_cut(entrance: Entrance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Section 7.1.1: after a time the server closes the connection anyway."""
    monkeypatch.setattr("gateway.server.handover._CLOSE_SECONDS", 0.05)
    peer = await opened(entrance)

    await peer.say(*(frame(TEXT, b"junk"),) * 10)  # each is an error, and the tenth the last (docs/protocol.md)

    for _ in range(10):
        assert (await next_frame(peer))[0] == TEXT
    opcode, payload = await next_frame(peer)
    assert (opcode, int.from_bytes(payload[:2], "big")) == (CLOSE, 4400)
    assert await peer.take_all() == b""


@pytest.mark.parametrize("way", [Way.OURS, Way.ASGI, Way.PLAIN], ids=lambda way: way.value)
@pytest.mark.parametrize("said", [b"", echo("a")[:9], frame(TEXT, b"{", fin=False), echo("a")], ids=len)
async def test_who_goes_without_a_word_leaves_nothing(entrance: Entrance, said: bytes) -> None:
    """By a reset or an end, between two frames or in one: the viewer is gone (section 7.1.5: 1006)."""
    for leave in ("reset", "half_close", "close"):
        peer = await opened(entrance)
        await peer.say(said)
        if leave == "close":
            await peer.close()
        else:
            getattr(peer, leave)()

    async with asyncio.timeout(20):
        await eventually(lambda: entrance.inside.viewers == 0, what="all are forgotten")
